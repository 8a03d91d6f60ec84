"""Tests our clients with the real motley_cue, and `sshaft host-api` with what asks motley_cue in a PAM stack."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from e2e.hosts import NO_BROWSER, host_in
from fakes.motley_cue import TokenPrompts, VerifyUser
from fakes.unix_server import UnixServer

from bench.load.motley_cue import motley_cue
from bench.load.token_trial import AUDIENCE, TokenProvider
from sshaft_demo.host import MODULE, DemoProvider, HostSshd, Terminal
from sshaft_demo.parts import HostApi, free_port
from sshaft_demo.place import CHECKOUT, Place, StartError

pytestmark = [pytest.mark.root, pytest.mark.timeout(900)]  # the first run installs motley_cue
SETTINGS = "PubkeyAuthentication yes\nSubsystem sftp internal-sftp\n"


@contextmanager
def asking_sshd(place: Place, url: str) -> Iterator[HostSshd]:
    """Yields an sshd whose PAM stack shows each token to the service at `url`."""
    if not MODULE.exists():
        pytest.skip("native/pam_sshaft.so is not built: ./dev setup host")
    path = place.directory / "module.sock"
    with UnixServer(path, TokenPrompts(VerifyUser(url), takes_parts=False)):
        path.chmod(0o666)
        yield HostSshd(place, path, free_port(), SETTINGS)


@dataclass
class Site:
    """A host whose PAM stack asks a running motley_cue. `folder` is open to the person there."""

    provider: TokenProvider
    url: str
    sshd: HostSshd
    folder: Path

    def sshaft(
        self, program: str, *words: str, padding: int = 0, stdin: str = ""
    ) -> "subprocess.CompletedProcess[str]":
        """Runs `sshaft ssh`, `scp` or `sftp` with a new token and the options that find this sshd."""
        (token,) = self.provider.tokens(1, padding)
        assert (len(token) > 1023) == bool(padding)
        (self.folder / "token").write_text(token)
        options = self.sshd.command("")[1:-1]
        if program != "ssh":
            options = ["-P" if word == "-p" else word for word in options]
        own = [sys.executable, "-P", "-m", "sshaft", program, "--token-file", str(self.folder / "token")]
        command = ["setsid", "-w", *own, "--endpoint", self.url, *options, *words]
        environment = {"PATH": os.defpath, "PYTHONPATH": str(CHECKOUT), "HOME": str(self.folder)}
        return subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=120, check=False, env=environment
        )


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Place() as place:
        provider, folder = TokenProvider(place, free_port()), place.directory / "motley_cue"
        folder.mkdir()
        people = place.directory / "person"
        people.mkdir()
        people.chmod(0o777)
        try:
            with (
                motley_cue(folder, provider.issuer, provider.authorities) as service,
                asking_sshd(place, service.url) as sshd,
            ):
                assert len(service.workers()) == 2  # both know a one-time password that one of them has made
                yield Site(provider, service.url, sshd, people)
        except StartError as error:
            if "installed" in str(error):
                pytest.skip(str(error))
            raise


@pytest.mark.parametrize("padding", [0, 3000])
def test_person_logs_in_by_sshaft_ssh_at_a_host_with_motley_cue(site: Site, padding: int) -> None:
    """A long token becomes a one-time password."""
    done = site.sshaft("ssh", "127.0.0.1", "echo in; exit 7", padding=padding)
    assert (done.stdout, done.returncode) == ("in\n", 7), done.stderr


@pytest.mark.parametrize("padding", [0, 3000])
def test_sshaft_scp_copies_both_ways_at_a_host_with_motley_cue(site: Site, padding: int) -> None:
    here, there, back = (site.folder / f"{name}-{padding}" for name in ("scp-here", "scp-there", "scp-back"))
    here.write_text("content")
    done = site.sshaft("scp", str(here), f"127.0.0.1:{there}", padding=padding)
    assert (done.returncode, there.read_text()) == (0, "content"), done.stderr
    assert there.stat().st_uid != os.geteuid()
    done = site.sshaft("scp", f"127.0.0.1:{there}", str(back), padding=padding)
    assert (done.returncode, back.read_text()) == (0, "content"), done.stderr


@pytest.mark.parametrize("padding", [0, 3000])
def test_sshaft_sftp_transfers_both_ways_at_a_host_with_motley_cue(site: Site, padding: int) -> None:
    here, there, back = (site.folder / f"{name}-{padding}" for name in ("sftp-here", "sftp-there", "sftp-back"))
    here.write_text("content")
    batch = f"put {here} {there}\nget {there} {back}\n"
    done = site.sshaft("sftp", "-b", "-", "127.0.0.1", padding=padding, stdin=batch)
    assert (done.returncode, there.read_text(), back.read_text()) == (0, "content", "content"), done.stderr
    assert there.stat().st_uid != os.geteuid()


def test_pam_module_of_motley_cue_asks_our_service() -> None:
    """A token opens the account of its person alone. A one-time password opens it once."""
    with Place() as place, host_in(place, **NO_BROWSER, tokens=tokens) as host:
        api = HostApi(place, host.agent.runtime)
        with asking_sshd(place, api.url) as sshd:
            token = host.token(audience=AUDIENCE)
            deployed = requests.get(f"{api.url}/user/deploy", headers={"Authorization": f"Bearer {token}"}, timeout=30)
            assert deployed.json()["state"] == "deployed", deployed.text
            assert typed(sshd, token) == ("\r\nin\r\n", 0)
            assert typed(sshd, host.token("mallory", AUDIENCE))[1] == 255
            password = hashlib.sha512(token.encode()).hexdigest()
            assert typed(sshd, password)[1] == 255
            made = requests.get(
                f"{api.url}/user/generate_otp", headers={"Authorization": f"Bearer {token}"}, timeout=30
            )
            assert made.json() == {"supported": True, "successful": True}
            assert typed(sshd, password) == ("\r\nin\r\n", 0)
            assert typed(sshd, password)[1] == 255


def tokens(provider: DemoProvider) -> list[dict[str, Any]]:
    return [{"issuer": provider.issuer, "audience": AUDIENCE, "allow": {"everyone": True}}]


def typed(sshd: HostSshd, secret: str) -> tuple[str, int]:
    """Returns what ssh writes when a person types the secret at its prompt, and its exit status."""
    command = sshd.command(sshd.place.person, "echo in")
    terminal = Terminal([command[0], "-o", "NumberOfPasswordPrompts=1", *command[1:]])
    terminal.wait_for("Access Token:", 60)
    terminal.type(secret + "\n")
    return terminal.end(60)
