"""Tests our own login: in a browser by the code flow, by a code, and by the refresh token of an earlier login."""

import json
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from fakes.openid_provider import CLIENT_ID, OpenIdProvider

from sshaft.errors import ConfigurationError
from sshaft.host_api.service import Service, Wish
from sshaft_client import browser_login, own_login
from sshaft_client.options import Options
from sshaft_client.tokens import TokenError
from sshaft_demo.parts import free_port

keyring = pytest.importorskip("keyring")
SERVICE, WISH = Service("https://web1.example/motley_cue", None), Wish(("email",), "https://web1.example")


class Keyring(keyring.backend.KeyringBackend):  # type: ignore[misc, name-defined]
    """A keyring in memory."""

    priority = 1  # type: ignore[assignment]

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    def get_password(self, service: str, username: str) -> str | None:  # noqa: ARG002 - of the library
        return self.kept.get(username)

    def set_password(self, service: str, username: str, password: str) -> None:  # noqa: ARG002
        self.kept[username] = password

    def delete_password(self, service: str, username: str) -> None:  # noqa: ARG002
        del self.kept[username]


@dataclass
class Desk:
    """A person with a browser, at a provider that knows our client."""

    provider: OpenIdProvider
    settings: Path
    keyring: Keyring
    opened: Path
    """Has the addresses that our program opened."""
    acts: Callable[[str], object] = lambda address: requests.get(address, timeout=10)
    """What happens in the browser."""
    seen: int = 0
    is_over: threading.Event = field(default_factory=threading.Event)

    def browse(self) -> None:
        """Waits for an address, and uses the browser."""
        while not self.is_over.wait(0.02):
            if len(lines := self.opened.read_text().split()) > self.seen:
                self.seen += 1
                self.acts(lines[-1])

    def log_in(self, service: Service = SERVICE, wish: Wish = WISH) -> str:
        return own_login.obtain(self.provider.issuer, wish, service, Options())

    def configure(self, **more: Any) -> None:
        entry = {"issuer": self.provider.issuer, "client_id": CLIENT_ID} | more
        self.settings.write_text(json.dumps({"providers": [entry]}))


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Desk]:
    port = free_port()
    with OpenIdProvider(lambda: datetime.now(UTC), f"http://127.0.0.1:{port}/callback", public=True) as provider:
        (tmp_path / "sshaft").mkdir()
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
        browser, opened = tmp_path / "browser", tmp_path / "opened"
        browser.write_text(f'#!/bin/sh\necho "$1" >> {opened}\n')
        browser.chmod(0o755)
        opened.write_text("")
        monkeypatch.setenv("BROWSER", str(browser))
        monkeypatch.setattr(browser_login, "SECONDS", 20.0)
        before = keyring.get_keyring()
        desk = Desk(provider, tmp_path / "sshaft" / "client.json", Keyring(), opened)
        keyring.set_keyring(desk.keyring)
        desk.configure(redirect_port=port)
        thread = threading.Thread(target=desk.browse)
        thread.start()
        yield desk
        desk.is_over.set()
        thread.join()
        keyring.set_keyring(before)


def test_person_logs_in_with_the_browser(desk: Desk) -> None:
    assert desk.log_in() == "access"
    assert desk.provider.forms[0]["grant_type"] == "authorization_code"


def test_address_that_the_browser_gets_says_nothing_about_the_login(desk: Desk) -> None:
    """Other accounts of this computer read the arguments of a browser."""
    desk.log_in()
    parts = urlsplit(desk.opened.read_text().strip())
    assert (parts.hostname, parts.query) == ("127.0.0.1", "")


@pytest.mark.slow
def test_provider_is_asked_for_what_the_service_wants(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, list[str]]] = []

    def look(address: str) -> None:
        goal = requests.get(address, allow_redirects=False, timeout=10).headers["Location"]
        asked.append(parse_qs(urlsplit(goal).query))

    desk.acts = look
    monkeypatch.setattr(browser_login, "SECONDS", 3.0)
    with pytest.raises(TokenError, match="in time"):
        desk.log_in()
    assert asked[0]["scope"] == ["openid email offline_access"]
    assert asked[0]["audience"] == asked[0]["resource"] == ["https://web1.example"]


def test_provider_that_nobody_described_sees_no_browser(desk: Desk) -> None:
    """A hostile service names any provider."""
    with pytest.raises(TokenError, match=r"describe https://evil.example in .*client\.json"):
        own_login.obtain("https://evil.example", WISH, SERVICE, Options())
    assert desk.opened.read_text() == ""


def test_client_may_be_named_in_the_command(desk: Desk) -> None:
    desk.settings.unlink()
    desk.provider.bend_metadata["authorization_endpoint"] = None
    with pytest.raises(TokenError, match="authorization_endpoint"):
        own_login.obtain(desk.provider.issuer, WISH, SERVICE, Options(issuer=desk.provider.issuer, client_id="me"))


def test_provider_that_the_person_names_is_spelled_by_the_person(desk: Desk) -> None:
    """A service compares providers without `https` and `www.`: its own spelling could be another host."""
    named = Options(issuer="http://op.example", client_id="me")
    with pytest.raises(TokenError, match="--iss and --client-id: issuer: "):
        own_login.obtain("https://www.op.example", WISH, SERVICE, named)
    assert desk.seen == 0


@pytest.mark.parametrize(
    "bend",
    [{"iss": "https://other.example"}, {"iss": None}, {"code": None, "error": "access_denied"}],
    ids=["another provider", "no provider", "denied"],
)
def test_answer_that_is_no_login_gives_no_token(desk: Desk, bend: dict[str, Any]) -> None:
    desk.provider.bend_answer = bend
    with pytest.raises(TokenError):
        desk.log_in()
    assert desk.provider.forms == []


@pytest.mark.slow
@pytest.mark.parametrize("how", ["state", "cookie", "second"])
def test_other_account_of_this_computer_cannot_put_its_login_in_the_place(
    desk: Desk, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads the address in the list of processes, and logs in at the provider as somebody else."""
    said: list[int] = []

    def attack(address: str) -> None:
        browser, stranger = requests.Session(), requests.Session()
        goal = browser.get(address, allow_redirects=False, timeout=10).headers["Location"]
        back = browser.get(goal, allow_redirects=False, timeout=10).headers["Location"]
        match how:
            case "state":
                said.append(browser.get(back.replace("state=", "state=x"), timeout=10).status_code)
            case "cookie":
                said.append(stranger.get(back, timeout=10).status_code)
            case "second":
                said.append(stranger.get(address, allow_redirects=False, timeout=10).status_code)

    desk.acts = attack
    monkeypatch.setattr(browser_login, "SECONDS", 3.0)
    with pytest.raises(TokenError, match="in time"):
        desk.log_in()
    assert said == [404]


def test_refresh_token_of_an_earlier_login_spares_the_browser(desk: Desk) -> None:
    desk.log_in()
    desk.keyring.kept = {_key(desk): desk.provider.new_refresh_token(1)}
    assert desk.log_in() == "access"
    assert desk.seen == 1
    assert desk.keyring.kept[_key(desk)] in desk.provider.refresh_tokens


def test_other_service_cannot_use_the_login_without_the_person(desk: Desk) -> None:
    """A hostile service would get a token of another one by naming its audience."""
    desk.keyring.kept = {_key(desk): desk.provider.new_refresh_token(1)}
    desk.log_in(Service("https://evil.example", None))
    assert desk.seen == 1


def test_refresh_token_that_has_ended_leads_to_the_browser(desk: Desk) -> None:
    desk.keyring.kept = {_key(desk): "ended"}
    assert desk.log_in() == "access"
    assert desk.keyring.kept == {}


def _key(desk: Desk) -> str:
    scopes = "openid email offline_access"
    return f"{desk.provider.issuer} {CLIENT_ID} {SERVICE.url} https://web1.example {scopes}"


def test_person_without_a_browser_gets_a_code(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    desk.provider.is_approved = True
    desk.provider.gives_refresh_tokens = True
    assert desk.log_in() == "access"
    assert f"Open {desk.provider.issuer}/device and log in. The code is WDJB-MJHT" in capsys.readouterr().err
    assert desk.provider.forms[0]["audience"] == "https://web1.example"
    assert list(desk.keyring.kept) == [_key(desk)]


def test_person_who_can_see_no_code_is_told(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(TokenError, match="no terminal or browser"):
        desk.log_in()


@pytest.mark.parametrize("text", ["{", "[]", '{"providers": [{"issuer": "x"}]}', '{"other": 1}'])
def test_wrong_settings_are_named_with_their_file(desk: Desk, text: str) -> None:
    desk.settings.write_text(text)
    with pytest.raises(Exception, match=r"client\.json: "):
        desk.log_in()


def test_file_of_authorities_that_openssl_would_read_in_part_is_refused(desk: Desk, tmp_path: Path) -> None:
    """With a byte order mark, OpenSSL overlooks the first certificate."""
    (tmp_path / "ca.pem").write_bytes(b"\xef\xbb\xbf-----BEGIN CERTIFICATE-----\n")
    desk.configure(ca_file=str(tmp_path / "ca.pem"))
    with pytest.raises(ConfigurationError, match=r"ca\.pem: begins with a byte order mark"):
        desk.log_in()
    assert desk.provider.calls == []
