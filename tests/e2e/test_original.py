"""Tests a server with the original contract only: form token requests, bearer lists and bearer accepts."""

from collections.abc import Callable

import pytest
from e2e.conftest import Keys, MakeFakeSite
from fakes.identity_server import IdentityServer, hang

from sshaft_demo.parts import Sshd

Standalone = Callable[..., Sshd]


def test_login_with_the_agent_passes_without_a_code(fake_site: MakeFakeSite, keys: Keys) -> None:
    site = fake_site()
    site.server.entries = [{"user": "alice", "authorized_key": keys.text("alice")}]
    done = site.sshd.ssh(keys("alice"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "Passed for alice. Your login goes on in the browser.\n"
    assert site.server.accepted == ["alice"]
    accept = next(call for call in site.server.calls if call.path == "/accept")
    assert accept.body == b'{"user": "alice"}'
    assert [site.server.count(path) for path in ("/token", "/keys", "/accept")] == [1, 1, 1]


def test_code_that_nobody_asked_for_does_no_harm(fake_site: MakeFakeSite, keys: Keys) -> None:
    site = fake_site()
    site.server.entries = [{"user": "alice", "authorized_key": keys.text("alice")}]
    assert site.sshd.ssh(keys("alice"), "482913").returncode == 0


def test_user_who_is_not_waiting_is_refused(fake_site: MakeFakeSite, keys: Keys) -> None:
    site = fake_site()
    site.server.entries = [{"user": "bob", "authorized_key": keys.text("bob")}]
    assert site.sshd.ssh(keys("alice")).returncode == 255
    assert site.server.accepted == []


def test_denial_is_not_possible_and_says_so(fake_site: MakeFakeSite, keys: Keys) -> None:
    site = fake_site()
    site.server.entries = [{"user": "alice", "authorized_key": keys.text("alice")}]
    done = site.sshd.ssh(keys("alice"), "deny")
    assert done.returncode == 78
    assert done.stderr.startswith("Denying is not possible here.")
    assert site.server.accepted == []


@pytest.fixture
def server() -> "IdentityServer":
    return IdentityServer()


def test_login_passes_stand_alone(server: IdentityServer, standalone: Standalone, keys: Keys) -> None:
    with server:
        server.entries = [{"user": "alice", "authorized_key": keys.text("alice")}]
        sshd = standalone(server)
        done = sshd.ssh(keys("alice"))
        assert (done.returncode, done.stdout) == (0, "Passed for alice. Your login goes on in the browser.\n"), done
        assert server.accepted == ["alice"]
        assert sshd.ssh(keys("bob")).returncode == 255


def test_stand_alone_without_auth_info_as_the_original_had_it(
    server: IdentityServer, standalone: Standalone, keys: Keys
) -> None:
    with server:
        server.entries = [{"user": "alice", "authorized_key": keys.text("alice")}]
        assert standalone(server, ExposeAuthInfo="no").ssh(keys("alice")).returncode == 0
        assert server.accepted == ["alice"]


@pytest.mark.parametrize("name", ["alice; touch /tmp/x", "-x", "$(id)", 'x" y', "a b", "a\nb", "ünïcödé", "x" * 65])
def test_stand_alone_leaves_out_a_name_that_is_not_plain(
    server: IdentityServer, standalone: Standalone, keys: Keys, name: str
) -> None:
    with server:
        server.entries = [{"user": name, "authorized_key": keys.text("alice")}]
        sshd = standalone(server)
        assert sshd.ssh(keys("alice")).returncode == 255
        assert server.accepted == []
        assert "entry.left_out" in sshd.log()


def test_stand_alone_ends_within_its_deadline(server: IdentityServer, standalone: Standalone, keys: Keys) -> None:
    with server:
        server.replies["/token"] = hang()
        sshd = standalone(server)
        assert sshd.ssh(keys("alice"), timeout=10).returncode == 255
        assert '"event": "keys.failed"' in sshd.log()
