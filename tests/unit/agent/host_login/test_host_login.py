"""Tests the conversation with pam_sshaft: who gets in, who does not, and what the person reads."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fakes.openid_provider import CLIENT_ID, OpenIdProvider

from sshaft import messages
from sshaft_agent import sockets
from sshaft_agent.host_login.accounts import Account
from sshaft_agent.host_login.host_login import HostLogin
from sshaft_agent.host_login.settings import HostLoginSettings
from sshaft_agent.server import Endpoint, Server

ALICE = {"user": "alice", "service": "sshd", "rhost": "192.0.2.7", "tty": "ssh", "timeout": "100"}


class Module:
    """Speaks as pam_sshaft does."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    def send(self, kind: str, **fields: str) -> None:
        self.writer.write(messages.encode(kind, fields))

    async def read(self) -> tuple[str, dict[str, str]]:
        """Returns the next message that is not `wait`."""
        while True:
            async with asyncio.timeout(10):
                kind, fields = messages.decode(await self._reader.readuntil(messages.END))
            if kind != "wait":
                return kind, fields

    async def prompt(self) -> str:
        kind, fields = await self.read()
        assert kind == "prompt", fields
        return fields["text"]

    async def result(self) -> str:
        kind, fields = await self.read()
        assert kind == "result", fields
        return fields["result"]


Login = Callable[[Module], Awaitable[None]]


@pytest.fixture
def provider() -> Iterator[OpenIdProvider]:
    with OpenIdProvider(lambda: datetime.now(UTC), "") as provider:
        provider.public = True
        yield provider


def run(provider: OpenIdProvider, directory: Path, *logins: Login, **changes: Any) -> HostLogin:
    """Runs the logins one after the other at an agent for the provider. Returns its host login."""
    configured = {"issuer": provider.issuer, "client_id": CLIENT_ID, "allow": {"everyone": True},
                  "state_directory": str(directory)} | changes  # fmt: skip
    settings = HostLoginSettings.model_validate_json(json.dumps(configured))
    host_login = HostLogin(settings, "web1", {"alice": Account("alice", 1000)}.get)

    async def serve() -> None:
        path = sockets.host_path(directory)
        server = Server([Endpoint(path, sockets.account(None), host_login.handle)])
        await server.start()
        for login in logins:
            module = Module(*await asyncio.open_unix_connection(path))
            try:
                await login(module)
            finally:
                module.writer.close()
        await server.stop()

    asyncio.run(serve())
    host_login.close()
    return host_login


async def begun(module: Module, **changes: str) -> str:
    module.send("login", **(ALICE | changes))
    return await module.prompt()


def test_person_who_approves_and_presses_enter_is_in(provider: OpenIdProvider, tmp_path: Path) -> None:
    async def login(module: Module) -> None:
        text = await begun(module)
        assert text.startswith("\nThis is a login to web1 as alice from 192.0.2.7.\n")
        assert f"    {provider.issuer}/device" in text.splitlines()
        assert "    WDJB-MJHT" in text.splitlines()
        provider.is_approved = True
        module.send("answer", text="")
        assert await module.result() == "success"

    assert run(provider, tmp_path, login).outcomes == {"accepted": 1}


def test_access_token_is_revoked_after_its_use(provider: OpenIdProvider, tmp_path: Path) -> None:
    async def login(module: Module) -> None:
        await begun(module)
        module.send("answer", text="")
        assert await module.result() == "success"
        async with asyncio.timeout(10):  # nobody waits for it
            while "token" not in provider.forms[-1]:  # noqa: ASYNC110 - the provider runs in a thread
                await asyncio.sleep(0.01)

    provider.is_approved, provider.bend_metadata = True, {"revocation_endpoint": f"{provider.issuer}/revoke"}
    provider.status["/revoke"] = 503
    run(provider, tmp_path, login)
    assert provider.forms[-1] == {"token": "access", "token_type_hint": "access_token", "client_id": CLIENT_ID}


def test_account_stays_with_its_first_identity(provider: OpenIdProvider, tmp_path: Path) -> None:
    """The provider gives the name alice to another person: the first one keeps the account."""

    async def login(module: Module) -> None:
        await begun(module)
        module.send("answer", text="")
        assert await module.result() == "success"

    async def refused(module: Module) -> None:
        provider.bend_claims = {"sub": "somebody-new"}
        await begun(module)
        module.send("answer", text="")
        assert "This login was not accepted." in await module.prompt()
        module.send("answer", text="")
        assert await module.result() == "denied"

    provider.is_approved = True
    assert run(provider, tmp_path, login, refused).outcomes == {"accepted": 1, "refused": 1}


def test_login_without_enter_goes_on_by_itself(provider: OpenIdProvider, tmp_path: Path) -> None:
    async def login(module: Module) -> None:
        module.send("login", **ALICE)
        kind, fields = await module.read()
        assert kind == "info"
        assert "    WDJB-MJHT" in fields["text"].splitlines()
        assert "Enter" not in fields["text"]
        assert fields["text"].isascii()
        kind, fields = await module.read()
        assert (kind, fields["text"].splitlines()[-1]) == ("info", "If you did not start this ssh, close that page.")
        provider.is_approved = True
        assert await module.result() == "success"

    run(provider, tmp_path, login, enter="never")


def test_person_who_leaves_a_login_without_enter_ends_it(provider: OpenIdProvider, tmp_path: Path) -> None:
    async def leave(module: Module) -> None:
        module.send("login", **ALICE)
        await module.read()
        module.writer.close()
        await module.writer.wait_closed()
        await asyncio.sleep(0.1)

    assert run(provider, tmp_path, leave, enter="never").outcomes == {"gone": 1}


def test_enter_before_the_approval_asks_again(provider: OpenIdProvider, tmp_path: Path) -> None:
    """The poll that brings the approval is at most an interval away, so Enter waits a little before it asks again."""

    async def login(module: Module) -> None:
        provider.errors = ["authorization_pending"] * 3
        provider.is_approved = True
        await begun(module)
        module.send("answer", text="anything")
        assert await module.result() == "success"

    run(provider, tmp_path, login)


@pytest.mark.parametrize(
    ("claims", "changes", "user"),
    [
        ({"preferred_username": "mallory"}, {}, "alice"),
        ({"preferred_username": None}, {}, "alice"),
        ({"preferred_username": "bob"}, {}, "bob"),
        ({}, {"allow": {"groups": ["admins"]}}, "alice"),
        ({}, {"allow": {"users": ["bob"]}}, "alice"),
    ],
    ids=["another person approved", "no name", "no such account", "no groups", "not allowed"],
)
def test_refusal_reads_the_same_whatever_its_reason(
    provider: OpenIdProvider, tmp_path: Path, claims: dict[str, Any], changes: dict[str, Any], user: str
) -> None:
    async def login(module: Module) -> None:
        await begun(module, user=user)
        module.send("answer", text="")
        text = await module.prompt()
        assert text.startswith("\nThis login was not accepted. If you think it should be, give your administrator\n")
        assert user not in text
        module.send("answer", text="")
        assert await module.result() == "denied"

    provider.bend_claims, provider.is_approved = claims, True
    assert run(provider, tmp_path, login, **changes).outcomes == {"refused": 1}


@pytest.mark.parametrize(
    ("error", "text"),
    [
        ("access_denied", "The login was denied in the browser."),
        ("expired_token", "Nobody approved this login in time."),
        ("invalid_grant", "The sign-in of your organisation cannot be used now."),
    ],
)
def test_end_at_the_provider_is_told(provider: OpenIdProvider, tmp_path: Path, error: str, text: str) -> None:
    async def login(module: Module) -> None:
        provider.errors = [error]
        await begun(module)
        module.send("answer", text="")
        assert text in await module.prompt()
        module.send("answer", text="")
        assert await module.result() == "denied"

    run(provider, tmp_path, login)


def test_provider_that_is_down_gives_no_access(provider: OpenIdProvider, tmp_path: Path) -> None:
    async def login(module: Module) -> None:
        module.send("login", **ALICE)
        assert "The sign-in of your organisation cannot be used now." in await module.prompt()
        module.send("answer", text="")
        assert await module.result() == "unavailable"

    provider.status["/device_authorization"] = 500
    run(provider, tmp_path, login)


def test_person_who_leaves_ends_the_poll_and_frees_the_place(provider: OpenIdProvider, tmp_path: Path) -> None:
    async def leave(module: Module) -> None:
        await begun(module)
        module.writer.close()
        await module.writer.wait_closed()
        await asyncio.sleep(0.1)

    async def fail(module: Module) -> None:
        await begun(module)
        module.send("failed", code="19")
        await asyncio.sleep(0.1)

    async def login(module: Module) -> None:
        await begun(module)
        provider.is_approved = True
        module.send("answer", text="")
        assert await module.result() == "success"

    assert run(provider, tmp_path, leave, fail, login).outcomes == {"gone": 2, "accepted": 1}


@pytest.mark.parametrize(
    ("user", "source", "is_refused"),
    [
        ("alice", "192.0.2.7", True),
        ("carol", "192.0.2.7", False),
        ("alice", "203.0.113.9", False),
        ("alice", "", False),
    ],
)
def test_pending_logins_are_bounded_for_a_source(
    provider: OpenIdProvider, tmp_path: Path, user: str, source: str, *, is_refused: bool
) -> None:
    """A stranger elsewhere, who knows only the name, must not keep its owner out."""

    async def login(module: Module) -> None:
        await begun(module)
        more = Module(*await asyncio.open_unix_connection(sockets.host_path(tmp_path)))
        assert ("Logins wait already" in await begun(more, user=user, rhost=source)) is is_refused
        more.writer.close()

    run(provider, tmp_path, login, pending_per_source=2)


def test_source_may_begin_only_some_logins(provider: OpenIdProvider, tmp_path: Path) -> None:
    async def login(module: Module) -> None:
        await begun(module, rhost="2001:db8::1")
        more = Module(*await asyncio.open_unix_connection(sockets.host_path(tmp_path)))
        assert "Logins wait already" in await begun(more, user="carol", rhost="2001:db8::2")
        more.writer.close()

    run(provider, tmp_path, login, pending_per_source=1)


@pytest.mark.parametrize("data", [b"sshaft/1 answer\ntext x\n\n", b"sshaft/1 status\n\n"])
def test_module_begins_with_a_login(provider: OpenIdProvider, tmp_path: Path, data: bytes) -> None:
    async def login(module: Module) -> None:
        module.writer.write(data)
        assert await module.read() == ("error", {"reason": "bad_message"})

    run(provider, tmp_path, login)
    assert provider.calls == []


def test_hostile_name_reaches_the_terminal_escaped(provider: OpenIdProvider, tmp_path: Path) -> None:
    async def login(module: Module) -> None:
        text = await begun(module, user="\x1b[2Jeve\u202e", rhost="host\nname")
        assert "\x1b" not in text
        assert "as \\x1b[2Jeve\\u202e from host\\x0aname." in text

    run(provider, tmp_path, login)
