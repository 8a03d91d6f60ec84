"""Tests the conversation with pam_sshaft: who gets in, who does not, and what the person reads."""

import asyncio
import gc
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fakes import public_keys
from fakes.openid_provider import CLIENT_ID, OpenIdProvider

from sshaft import messages
from sshaft.errors import ConfigurationError
from sshaft_agent import sockets
from sshaft_agent.host_login import texts
from sshaft_agent.host_login.accounts import Account
from sshaft_agent.host_login.host_login import HostLogin
from sshaft_agent.host_login.settings import HostLoginSettings
from sshaft_agent.host_login.sshd import Sshd
from sshaft_agent.host_login.waiting import Waiting
from sshaft_agent.server import Endpoint, Server

ALICE = {"user": "alice", "service": "sshd", "rhost": "192.0.2.7", "tty": "ssh", "timeout": "100"}


class Module:
    """Speaks as pam_sshaft does."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self.probes = 0

    def send(self, kind: str, **fields: str) -> None:
        self.writer.write(messages.encode(kind, fields))

    async def read(self) -> tuple[str, dict[str, str]]:
        """Returns the next message that is not `wait` and no probe."""
        while True:
            async with asyncio.timeout(10):
                kind, fields = messages.decode(await self._reader.readuntil(messages.END))
            if (kind, fields) == ("info", {"text": ""}):
                self.probes += 1
            elif kind != "wait":
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
    host_login = new_host_login(provider, directory, **changes)
    run_at(host_login, directory, *logins)
    return host_login


def run_at(host_login: HostLogin, directory: Path, *logins: Login) -> None:
    async def serve() -> None:
        async with serving(host_login, directory):
            for login in logins:
                async with connected(directory) as module:
                    await login(module)

    asyncio.run(serve())


def new_host_login(provider: OpenIdProvider, directory: Path, **changes: Any) -> HostLogin:
    """Returns host login of a host whose only account is alice, and whose sshd is `sshd` in the directory, if any."""
    find = {"alice": Account("alice", 1000)}.get
    return HostLogin(settings_of(provider, directory, **changes), "web1", find, sshd=Sshd(directory / "sshd"))


def settings_of(provider: OpenIdProvider, directory: Path, **changes: Any) -> HostLoginSettings:
    configured = {"issuer": provider.issuer, "client_id": CLIENT_ID, "allow": {"everyone": True},
                  "state_directory": str(directory)} | changes  # fmt: skip
    return HostLoginSettings.model_validate_json(json.dumps(configured))


@asynccontextmanager
async def serving(host_login: HostLogin, directory: Path) -> AsyncIterator[Server]:
    server = Server([Endpoint(sockets.host_path(directory), sockets.account(None), host_login.handle)])
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
        host_login.close()


@asynccontextmanager
async def connected(directory: Path) -> AsyncIterator[Module]:
    module = Module(*await asyncio.open_unix_connection(sockets.host_path(directory)))
    try:
        yield module
    finally:
        module.writer.close()


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


def test_reload_leaves_no_connection_behind(provider: OpenIdProvider, tmp_path: Path) -> None:
    """A login goes on with the configuration that it began with, and its connections end with it."""
    changes = {"pending_per_source": 100, "pending_per_user": 100}
    host_login = new_host_login(provider, tmp_path, **changes)

    async def begin_and_reload(module: Module, **fields: str) -> None:
        await begun(module, **fields)
        host_login.replace_settings(settings_of(provider, tmp_path, **changes))
        module.send("answer", text="")

    async def login(module: Module) -> None:
        await begin_and_reload(module)
        assert await module.result() == "success"

    async def refused(module: Module) -> None:
        await begin_and_reload(module, user="bob")
        await module.prompt()

    async def leave(module: Module) -> None:
        await begin_and_reload(module)

    provider.is_approved, provider.bend_metadata = True, {"revocation_endpoint": f"{provider.issuer}/revoke"}
    run_at(host_login, tmp_path, *[login, refused, leave] * 4)
    gc.collect()
    deadline = time.monotonic() + 10
    while provider.connections and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (host_login.outcomes["accepted"], provider.connections) == (4, 0)


def test_person_who_leaves_before_enter_leaves_no_token(provider: OpenIdProvider, tmp_path: Path) -> None:
    async def leave(module: Module) -> None:
        await begun(module)
        async with asyncio.timeout(10):
            while "token" not in provider.forms[-1]:  # noqa: ASYNC110 - the provider runs in a thread
                await asyncio.sleep(0.01)

    provider.is_approved, provider.bend_metadata = True, {"revocation_endpoint": f"{provider.issuer}/revoke"}
    assert run(provider, tmp_path, leave).outcomes == {"gone": 1}


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
        assert fields["text"].splitlines()[-1] == "If you did not start this ssh, close that page."
        kind, fields = await module.read()
        assert (kind, fields["text"].isascii()) == ("info", False)
        provider.is_approved = True
        assert await module.result() == "success"
        assert module.probes == 1

    run(provider, tmp_path, login, enter="never")


@pytest.mark.parametrize(
    ("version", "enter", "kind"),
    [
        ("10.3", "auto", "info"), ("10.2", "auto", "prompt"),
        ("10.3", "always", "prompt"), ("10.2", "never", "info"),
    ],
)  # fmt: skip
def test_enter_is_needed_where_sshd_shows_no_text_at_once(
    provider: OpenIdProvider, tmp_path: Path, version: str, enter: str, kind: str
) -> None:
    (tmp_path / "sshd").write_text(f"#!/bin/sh\necho OpenSSH_{version} >&2\n")
    (tmp_path / "sshd").chmod(0o755)

    async def login(module: Module) -> None:
        module.send("login", **ALICE)
        said, fields = await module.read()
        assert said == kind
        assert ("Scan the QR code" in fields["text"]) is (version != "10.3" or enter != "auto")

    run(provider, tmp_path, login, enter=enter)


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
        assert text.startswith("\nThis login was not accepted. If you think it should be, give your\nadministrator")
        assert user not in text.partition("Reference: ")[0]
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
        shown = await module.prompt()
        assert shown.startswith(f"\n{text}")
        reference = re.search(r"^Reference: ([0-9a-f]{8})$", shown, re.MULTILINE)
        assert reference
        module.send("answer", text="")
        assert await module.read() == (
            "result", {"result": "denied", "reason": f"refused, reference {reference[1]}"}
        )  # fmt: skip

    run(provider, tmp_path, login)


def test_every_end_has_a_reference() -> None:
    for text in (texts.REFUSED, texts.DENIED, texts.EXPIRED, texts.TOO_MANY, texts.TOO_OFTEN, texts.UNAVAILABLE):
        assert text.format(reference="0a1b").endswith("\nReference: 0a1b\nPress Enter to go on.")
        assert text.startswith("\n")


def test_provider_that_is_down_gives_no_access(provider: OpenIdProvider, tmp_path: Path) -> None:
    async def login(module: Module) -> None:
        module.send("login", **ALICE)
        assert "The sign-in of your organisation cannot be used now." in await module.prompt()
        module.send("answer", text="")
        assert await module.result() == "unavailable"

    provider.status["/device_authorization"] = 500
    run(provider, tmp_path, login)


def test_login_ends_with_the_time_of_the_module(provider: OpenIdProvider, tmp_path: Path) -> None:
    """The module cannot end its own call while sshd waits for a person."""

    async def wait(module: Module) -> None:
        await begun(module, timeout="1")
        with pytest.raises(asyncio.IncompleteReadError):
            await module.read()

    assert run(provider, tmp_path, wait).outcomes == {"gone": 1}


def test_login_without_the_demanded_key_never_reaches_the_provider(provider: OpenIdProvider, tmp_path: Path) -> None:
    async def refused(module: Module) -> None:
        module.send("login", **ALICE, ssh_auth_info="password\n")
        assert "This login was not accepted." in await module.prompt()
        assert provider.calls == []

    async def login(module: Module) -> None:
        module.send("login", **ALICE, ssh_auth_info=f"publickey {public_keys.ed25519()}\n")
        await module.prompt()
        module.send("answer", text="")
        assert await module.result() == "success"

    provider.is_approved = True
    allow = {"everyone": True, "publickey": True}
    assert run(provider, tmp_path, refused, login, allow=allow).outcomes["accepted"] == 1


FIRST = "\nPress Enter to log in with your browser: "


def test_provider_is_asked_only_after_the_first_enter(provider: OpenIdProvider, tmp_path: Path) -> None:
    async def login(module: Module) -> None:
        assert await begun(module) == FIRST
        module.send("answer", text="hunter2")
        assert await module.prompt() == FIRST
        assert provider.calls == []
        module.send("answer", text="")
        assert "    WDJB-MJHT" in (await module.prompt()).splitlines()
        module.send("answer", text="")
        assert await module.result() == "success"

    provider.is_approved = True
    run(provider, tmp_path, login, ask_first=True)


def test_scanner_costs_the_provider_nothing(provider: OpenIdProvider, tmp_path: Path) -> None:
    async def leave(module: Module) -> None:
        assert await begun(module) == FIRST

    async def guess(module: Module) -> None:
        await begun(module)
        module.send("answer", text="hunter2")
        while "This login was not accepted." not in await module.prompt():
            module.send("answer", text="hunter2")
        module.send("answer", text="hunter2")
        assert await module.result() == "denied"

    async def fail(module: Module) -> None:
        """Sends what the module sends where sshd has a password only."""
        await begun(module)
        module.send("failed", code="19")

    assert run(provider, tmp_path, leave, guess, fail, ask_first=True).outcomes == {"gone": 2, "refused": 1}
    assert provider.calls == []


def test_person_with_a_key_is_not_asked_first(provider: OpenIdProvider, tmp_path: Path) -> None:
    async def login(module: Module) -> None:
        text = await begun(module, ssh_auth_info=f"publickey {public_keys.ed25519()}\n")
        assert "    WDJB-MJHT" in text.splitlines()

    run(provider, tmp_path, login, ask_first=True)


def test_person_who_leaves_ends_the_poll_and_frees_the_place(provider: OpenIdProvider, tmp_path: Path) -> None:
    async def leave(module: Module) -> None:
        await begun(module)
        module.writer.close()
        await module.writer.wait_closed()
        await asyncio.sleep(0.1)
        asked = len(provider.calls)
        await asyncio.sleep(0.2)  # twenty intervals
        assert len(provider.calls) <= asked + 1  # one may have been on its way

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


def test_login_begins_while_a_slow_provider_holds_the_polls_of_others(provider: OpenIdProvider, tmp_path: Path) -> None:
    """Strangers, who never approve, must not make a person wait for the threads that their polls use."""

    async def login(module: Module) -> None:
        async with AsyncExitStack() as stack:
            for number in range(30):
                await begun(await stack.enter_async_context(connected(tmp_path)), rhost=f"203.0.113.{number}")
            async with asyncio.timeout(10):
                while provider.calls.count("/token") < 30:  # noqa: ASYNC110 - the provider runs in threads
                    await asyncio.sleep(0.01)
            await begun(module)
            provider.may_answer.set()

    provider.may_answer.clear()
    run(provider, tmp_path, login)


def test_account_is_open_from_its_first_approval_on(provider: OpenIdProvider, tmp_path: Path) -> None:
    async def account(module: Module) -> tuple[str, dict[str, str]]:
        module.send("account", **ALICE)
        return await module.read()

    async def refused(module: Module) -> None:
        kind, fields = await account(module)
        assert (kind, fields["text"][:47]) == ("info", "\nNobody has been approved for this account yet.")
        assert await module.result() == "denied"
        assert provider.calls == []

    async def login(module: Module) -> None:
        await begun(module)
        module.send("answer", text="")
        assert await module.result() == "success"
        provider.calls.clear()

    async def accepted(module: Module) -> None:
        assert (await account(module))[1]["result"] == "success"
        assert provider.calls == []

    async def broken(module: Module) -> None:
        (tmp_path / "host-login.sqlite").write_bytes(b"no database" * 100)
        assert (await account(module))[1]["result"] == "unavailable"

    provider.is_approved = True
    outcomes = run(provider, tmp_path, refused, login, accepted, broken).account_phase.outcomes
    assert outcomes == {"refused": 1, "accepted": 1, "unavailable": 1}


def test_each_call_of_the_provider_is_measured(provider: OpenIdProvider, tmp_path: Path) -> None:
    calls: list[str] = []
    settings = settings_of(provider, tmp_path)
    find = {"alice": Account("alice", 1000)}.get
    host_login = HostLogin(settings, "web1", find, lambda call, seconds: calls.append(call) if seconds > 0 else None)
    provider.is_approved = True

    async def log_in() -> None:
        async with serving(host_login, tmp_path), connected(tmp_path) as module:
            await begun(module)
            module.send("answer", text="")
            assert await module.result() == "success"

    asyncio.run(log_in())
    assert calls[:3] == ["begin", "poll", "identify"]
    assert host_login.status() == {
        "host_logins_waiting": 0, "host_logins_accepted": 1, "host_logins_refused": 0, "host_logins_unavailable": 0,
        "host_logins_gone": 0, "host_logins_fault": 0, "host_accounts_refused": 0,
        "host_names_reserved": 0, "host_names_full": 0,
        "host_rechecks_good": 0, "host_rechecks_refused": 0, "host_rechecks_failed": 0,
        "host_api_answered": 0, "host_api_unauthenticated": 0, "host_api_forbidden": 0, "host_api_busy": 0,
        "host_api_failed": 0, "host_reports_succeeded": 0, "host_reports_failed": 0, "host_remembered": 0,
    }  # fmt: skip


RESTARTS = "\nThe login service of this host restarts. Run ssh again.\n"


@pytest.mark.parametrize("changes", [{}, {"enter": "never"}, {"pending_per_source": 1}], ids=str)
def test_agent_that_stops_waits_for_no_person(
    provider: OpenIdProvider, tmp_path: Path, changes: dict[str, Any]
) -> None:
    """One person waits for the approval, another one reads why a login was refused."""
    host_login = new_host_login(provider, tmp_path, **changes)

    async def stop() -> None:
        async with (
            serving(host_login, tmp_path) as server, connected(tmp_path) as waiting, connected(tmp_path) as refused
        ):  # fmt: skip
            waiting.send("login", **ALICE)
            await waiting.read()
            refused.send("login", **ALICE)
            assert "Logins wait already" in await refused.prompt()
            host_login.stop()
            async with asyncio.timeout(5):
                await server.stop()
            said = [await waiting.read() for _ in range(3 if changes.get("enter") else 2)]
            assert said[-2:] == [
                ("info", {"text": RESTARTS}), ("result", {"result": "unavailable", "reason": "the agent stops"})
            ]  # fmt: skip
            assert await refused.result() == "denied"

    asyncio.run(stop())
    assert host_login.outcomes == {"unavailable": 1, "refused": 1}
    assert host_login.waiting.count == 0


def test_reload_changes_only_logins_that_begin_later(provider: OpenIdProvider, tmp_path: Path) -> None:
    host_login = new_host_login(provider, tmp_path, pending_per_user=2)
    provider.is_approved = True

    async def log_in() -> None:
        async with serving(host_login, tmp_path), connected(tmp_path) as old, connected(tmp_path) as new:
            await begun(old)
            changed = {"messages": {"prompt_enter": "Now: "}, "allow": {"users": ["bob"]}, "pending_per_user": 2}
            host_login.replace_settings(settings_of(provider, tmp_path, **changed))
            assert (await begun(new)).endswith("Now: ")
            for module in (old, new):
                module.send("answer", text="")
            assert await old.result() == "success"
            assert "was not accepted" in await new.prompt()

    asyncio.run(log_in())


def test_reload_with_another_database_is_refused(provider: OpenIdProvider, tmp_path: Path) -> None:
    """The identities of the accounts would be forgotten otherwise."""
    host_login = new_host_login(provider, tmp_path)
    with pytest.raises(ConfigurationError, match="restart the agent"):
        host_login.replace_settings(settings_of(provider, tmp_path / "other"))
    host_login.close()


@pytest.mark.parametrize(
    "data", [b"garbage\n\n", b"sshaft/2 answer\n\n", b"x" * 70_000], ids=["garbage", "version", "long"]
)
def test_module_that_breaks_the_rules_is_no_fault_of_the_agent(
    provider: OpenIdProvider, tmp_path: Path, data: bytes
) -> None:
    async def break_rules(module: Module) -> None:
        await begun(module)
        module.writer.write(data)
        with pytest.raises(asyncio.IncompleteReadError):
            await module.read()

    assert run(provider, tmp_path, break_rules).outcomes == {"gone": 1}


def test_source_that_begins_logins_and_leaves_them_soon_gets_no_more_codes(
    provider: OpenIdProvider, tmp_path: Path
) -> None:
    """A stranger can begin forty a second. The provider may then refuse this client, and so everybody."""

    async def log_in() -> None:
        host_login = new_host_login(provider, tmp_path, pending_per_source=2)
        now = 0.0
        host_login.waiting = Waiting(lambda: now)
        async with serving(host_login, tmp_path):

            async def text(number: int, **changes: str) -> str:
                async with connected(tmp_path) as module:
                    said = await begun(module, user=f"user{number}", **changes)
                while host_login.waiting.count:  # noqa: ASYNC110 - nothing else tells of it
                    await asyncio.sleep(0.01)
                return said

            said = [await text(number) for number in range(21)]
            assert ["WDJB-MJHT" in each for each in said] == [True] * 20 + [False]
            assert "Wait a minute" in said[-1]
            assert "WDJB-MJHT" in await text(0, rhost="203.0.113.9")
            now = 60.0
            assert "WDJB-MJHT" in await text(0)

    asyncio.run(log_in())
    assert provider.calls.count("/device_authorization") == 22


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


def test_account_is_looked_up_only_after_an_approval(provider: OpenIdProvider, tmp_path: Path) -> None:
    """A look-up takes longer for some names than for others. A stranger must not see that before the code comes."""
    asked: list[str] = []

    def find(name: str) -> Account:
        asked.append(name)
        return Account(name, 1000)

    async def log_in() -> None:
        host_login = HostLogin(settings_of(provider, tmp_path), "web1", find, sshd=Sshd(tmp_path / "sshd"))
        async with serving(host_login, tmp_path), connected(tmp_path) as module:
            await begun(module)
            assert asked == []
            provider.is_approved = True
            module.send("answer", text="")
            assert await module.result() == "success"

    asyncio.run(log_in())
    assert asked == ["alice"]
