"""Tests that the unmodified mccli logs people in at our agent and `sshaft host-api`, with sshd, ssh and PAM."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from e2e.hosts import AUDIENCE, NO_BROWSER, Host, host_in
from providers import glewlwyd
from providers.glewlwyd import CLIENT, SECRET
from providers.mccli import Mccli

from sshaft_demo.host import DemoProvider
from sshaft_demo.parts import HostApi
from sshaft_demo.place import Place

pytestmark = pytest.mark.timeout(600)  # the first run installs mccli
SETTINGS = "PubkeyAuthentication yes\nSubsystem sftp internal-sftp\n"
"""ssh would ask on and on if no method were left after a refusal."""


def tokens(provider: DemoProvider, **changes: Any) -> list[dict[str, Any]]:
    advertise = {"scopes": ["openid", "profile"], "audience": AUDIENCE}
    one = {"issuer": provider.issuer, "audience": AUDIENCE, "allow": {"everyone": True}, "advertise": advertise}
    return [one | changes]


@dataclass
class Site:
    host: Host
    mccli: Mccli

    def options(self) -> list[str]:
        """Returns the options of ssh, without the account: mccli gets it from the service."""
        return self.host.sshd.command("")[1:-1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("person")
    with Place() as place, host_in(place, SETTINGS, **NO_BROWSER, tokens=tokens) as host:
        yield Site(host, Mccli(home, HostApi(place, host.agent.runtime).url))


def test_mccli_without_a_terminal_runs_a_command(site: Site) -> None:
    """mccli has the exit status 0, whatever the command has."""
    done = site.mccli.run("ssh", "--token", site.host.token(), *site.options(), "127.0.0.1", "echo in")
    assert (done.stdout.split(), done.returncode) == (["in"], 0), done.stdout + done.stderr


def test_mccli_in_a_terminal_gets_a_shell_with_a_terminal(site: Site) -> None:
    terminal = site.mccli.terminal("ssh", "--token", site.host.token(), *site.options(), "-t", "127.0.0.1")
    terminal.wait_for("$ ", 120)
    terminal.type("echo $((6 * 7)) on $SSH_TTY; exit\n")
    said, _status = terminal.end(60)
    assert "42 on /dev/pts/" in said, said + site.host.place.log("agent")


def test_mccli_uses_the_token_where_the_browser_is_the_other_way(tmp_path: Path) -> None:
    """The one prompt of both ways is one line, which ends as mccli expects."""
    with Place() as place, host_in(place, SETTINGS, tokens=tokens) as host:
        site = Site(host, Mccli(tmp_path, HostApi(place, host.agent.runtime).url))
        done = site.mccli.run("ssh", "--token", host.token(), *site.options(), "127.0.0.1", "echo in")
        assert done.stdout.split() == ["in"], done.stdout + done.stderr
        terminal = site.mccli.terminal("ssh", "--token", host.token(), *site.options(), "127.0.0.1", "echo in")
        assert "in\r\n" in terminal.end(120)[0]


def test_mccli_copies_files_both_ways(site: Site, tmp_path: Path) -> None:
    """mccli copies only in a terminal."""
    folder = site.host.place.directory / tmp_path.name
    folder.mkdir()
    folder.chmod(0o777)
    (tmp_path / "up").write_text("from here")
    options = [("-P" if word == "-p" else word) for word in site.options()]

    def copy(source: str | Path, target: str | Path) -> str:
        return site.mccli.terminal("scp", "--token", site.host.token(), *options, source, target).end(120)[0]

    said = copy(tmp_path / "up", f"127.0.0.1:{folder}/there")
    assert (folder / "there").read_text() == "from here", said
    said = copy(f"127.0.0.1:{folder}/there", tmp_path / "back")
    assert (tmp_path / "back").read_text() == "from here", said


def test_mccli_shows_what_the_service_says_of_itself(site: Site) -> None:
    done = site.mccli.run("info", "127.0.0.1")
    assert site.host.provider.issuer in done.stdout, done.stdout + done.stderr


def test_mccli_shows_what_the_person_is(tmp_path: Path) -> None:
    """With a JWT of a provider that is not in its own list, mccli ends with an exception: so this token is opaque."""
    changes = {"form": "userinfo", "audience": None, "any_audience": True, "advertise": {}}
    with Place() as place, host_in(place, SETTINGS, **NO_BROWSER, tokens=lambda each: tokens(each, **changes)) as host:
        site = Site(host, Mccli(tmp_path, HostApi(place, host.agent.runtime).url))
        token = host.token(audience="")
        for state in ("is not deployed", "is deployed"):
            done = site.mccli.run("info", "--token", token, "127.0.0.1")
            assert done.returncode == 0, done.stdout + done.stderr
            assert "All users from this OP are authorised." in done.stdout, done.stdout + done.stderr
            assert state in done.stdout, done.stdout + done.stderr
            done = site.mccli.run("ssh", "--token", token, *site.options(), "127.0.0.1", "echo in")
            assert done.stdout.split() == ["in"], done.stdout + done.stderr


def test_mccli_says_that_a_person_may_not_log_in(site: Site) -> None:
    """The account does not exist for mallory, and nothing makes one."""
    done = site.mccli.run("ssh", "--token", site.host.token("mallory"), *site.options(), "127.0.0.1", "echo in")
    assert done.returncode != 0
    assert "does not meet requirements" in done.stdout + done.stderr
    assert "in" not in done.stdout.split()


def test_mccli_logs_in_with_a_one_time_password_for_a_long_token(tmp_path: Path) -> None:
    """The tokens of Glewlwyd do not fit into an answer of ssh."""
    with glewlwyd.running(tmp_path) as server, Place() as place:
        issuer = server.set_up_provider(place.person, CLIENT, SECRET, full_name="Alice of " + "the long names " * 15)
        provider = {"issuer": issuer, "audience": "openid", "claim": "username", "allow": {"everyone": True}}
        with host_in(place, SETTINGS, **NO_BROWSER, tokens=[provider]) as host:
            token = server.tokens(place.person, CLIENT, SECRET)["access_token"]
            assert len(token) > 1023
            home = tmp_path / "home"
            home.mkdir()
            site = Site(host, Mccli(home, HostApi(place, host.agent.runtime).url))
            for _ in range(2):
                done = site.mccli.run("ssh", "--token", token, *site.options(), "127.0.0.1", "echo in")
                assert done.stdout.split() == ["in"], done.stdout + done.stderr + place.log("agent")
            assert "This access token was not accepted." in password_twice(site, token)


def password_twice(site: Site, token: str) -> str:
    """Returns what ssh says when the one-time password of a login comes again."""
    terminal = site.host.ssh("echo in")
    terminal.wait_for("Access Token:")
    terminal.type(hashlib.sha512(token.encode()).hexdigest() + "\n")
    return terminal.end()[0]
