"""Tests that an access token makes the account of its person, as a login with a browser does."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.openid_provider import AUDIENCE, OpenIdProvider
from fakes.unix_server import UnixServer
from unit.agent.host_login.test_first_login import PLACEHOLDER, Host, account, bound
from unit.agent.host_login.test_host_login import Login, Module, begun, provider  # noqa: F401 - a fixture


@pytest.fixture
def host(provider: OpenIdProvider, tmp_path: Path) -> Iterator[Host]:  # noqa: F811 - the fixture
    tokens = [{"issuer": provider.issuer, "audience": AUDIENCE, "allow": {"everyone": True}}]
    host = Host(tmp_path, provider, settings={"tokens": tokens})
    with UnixServer(host.socket, host.make):
        yield host
    host.login.close()


def by_token(token: str, result: str = "success", text: str = "") -> Login:
    async def login(module: Module) -> None:
        await begun(module, user="newbie")
        module.send("answer", text=token)
        if text:
            kind, fields = await module.read()
            assert (kind, text in fields["text"]) == ("info", True), fields
        assert await module.result() == result

    return login


def test_first_login_with_a_token_makes_the_account(host: Host) -> None:
    assert host.ask() == ("name", PLACEHOLDER)
    host.run(by_token(host.provider.access_token()), account("success"))
    assert host.asked == [("create", {"user": "newbie", "uid": "70000", "gecos": "New Bie", "home": "/home/newbie"})]
    assert bound(host) == [("newbie", "subject-1")]


def test_token_of_another_person_makes_no_account(host: Host) -> None:
    host.ask()
    host.run(by_token(host.provider.access_token(preferred_username="mallory"), "final", "was not accepted"))
    assert (host.asked, bound(host)) == ([], [])


def test_account_that_an_operator_must_approve_ends_the_login_with_the_reason(host: Host) -> None:
    host.login.close()
    host.login = host.new(approve=True)
    host.ask()
    host.run(by_token(host.provider.access_token(), "final", "An administrator must approve your account"))
    assert (host.asked, bound(host)) == ([], [])
