"""Tests that logins of sshaft's own are kept in the keyring of a real desktop: GNOME's, by the Secret Service."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fakes.motley_cue import MotleyCue
from fakes.openid_provider import CLIENT_ID, OpenIdProvider

from sshaft_demo.parts import free_port
from sshaft_demo.place import CHECKOUT

pytest.importorskip("keyring")
UNLOCK = "printf password | gnome-keyring-daemon --unlock --components=secrets >/dev/null;"
_BROWSER = """#!{python}
import requests, sys
with open({opened!r}, "a") as opened:
    opened.write(sys.argv[1] + "\\n")
requests.Session().get(sys.argv[1], timeout=10)
"""


@dataclass
class Desk:
    """A person with a desktop, at a provider that knows our client. The host has a service, and no sshd."""

    provider: OpenIdProvider
    service: MotleyCue
    home: Path

    def log_in(self, before: str = "") -> int:
        """Runs `sshaft ssh` in a new session of the desktop. Returns how often the browser has opened until now."""
        self.service.calls.clear()
        own = [sys.executable, "-P", "-m", "sshaft", "ssh", "--endpoint", self.service.url, "-p", "1", "127.0.0.1"]
        session = ["dbus-run-session", "--", "sh", "-c", f'{before} "$@"', "sh"]
        environment = {"PATH": os.defpath, "PYTHONPATH": str(CHECKOUT), "HOME": str(self.home),
                       "XDG_RUNTIME_DIR": str(self.home / "run"), "BROWSER": str(self.home / "browser")}  # fmt: skip
        done = subprocess.run(
            [*session, *own], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert ("/user/deploy", "access") in self.service.calls, done.stderr
        return len((self.home / "opened").read_text().split())


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    for each in ("dbus-run-session", "gnome-keyring-daemon"):
        if not shutil.which(each):
            pytest.skip(f"{each} is not installed: apt-get install dbus gnome-keyring")
    port = free_port()
    with ExitStack() as stack:
        redirect = f"http://127.0.0.1:{port}/callback"
        provider = stack.enter_context(OpenIdProvider(lambda: datetime.now(UTC), redirect, public=True))
        provider.gives_refresh_tokens = True
        wanted = {"scopes": ["openid"], "audience": ""}
        service = stack.enter_context(MotleyCue({"access": "alice"}, {provider.issuer: wanted}))
        (tmp_path / "opened").touch()
        (tmp_path / "run").mkdir(mode=0o700)
        (tmp_path / "browser").write_text(_BROWSER.format(python=sys.executable, opened=str(tmp_path / "opened")))
        (tmp_path / "browser").chmod(0o755)
        settings = tmp_path / ".config" / "sshaft" / "client.json"
        settings.parent.mkdir(parents=True)
        entry = {"issuer": provider.issuer, "client_id": CLIENT_ID, "redirect_port": port}
        settings.write_text(json.dumps({"providers": [entry]}))
        yield Desk(provider, service, tmp_path)


def test_login_is_kept_in_the_keyring_until_the_next_session(desk: Desk) -> None:
    assert desk.log_in(UNLOCK) == 1
    assert desk.provider.forms[-1]["grant_type"] == "authorization_code"
    assert desk.log_in(UNLOCK) == 1
    assert desk.provider.forms[-1]["grant_type"] == "refresh_token"


def test_locked_keyring_leads_to_the_browser(desk: Desk) -> None:
    assert desk.log_in(UNLOCK) == 1
    assert desk.log_in() == 2


def test_desktop_without_a_keyring_keeps_nothing(desk: Desk) -> None:
    assert desk.log_in("export DBUS_SESSION_BUS_ADDRESS=unix:path=/nonexistent;") == 1
    assert desk.log_in(UNLOCK) == 2
