"""Tests logins by an approval on a page of the identity service: who gets in, and what the page hears."""

import asyncio
import io
import json
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from fakes import identity_server, public_keys
from fakes.approval_server import TRIES, ApprovalServer
from fakes.openid_provider import CLIENT_ID, OpenIdProvider
from unit.agent.host_login.test_host_login import ALICE, Login, Module, begun, connected, run_at, serving

from sshaft_agent.host_login.accounts import Account
from sshaft_agent.host_login.host_login import HostLogin
from sshaft_agent.host_login.settings import HostLoginSettings, HostSettings
from sshaft_agent.host_login.sshd import Sshd
from sshaft_agent.observe import Observe, observe_nothing

ASKS = "Type the six digits that the page shows: "


@pytest.fixture
def service() -> Iterator[ApprovalServer]:
    with ApprovalServer() as service:
        yield service


def new_host_login(
    directory: Path, observe: Observe = observe_nothing, **members: Any
) -> HostLogin:  # fmt: skip
    """Returns host login of a host whose only account is alice."""
    kind = HostLoginSettings if "issuer" in members else HostSettings
    configured = {"state_directory": str(directory)} | members
    settings = kind.model_validate_json(json.dumps(configured))
    find = {"alice": Account("alice", 1000)}.get
    return HostLogin(settings, "web1", find, sshd=Sshd(directory / "sshd"), observe=observe)


def run(service: ApprovalServer, directory: Path, *logins: Login, **members: Any) -> HostLogin:
    host_login = new_host_login(directory, **{"approval": service.settings()} | members)
    run_at(host_login, directory, *logins)
    return host_login


async def passes(module: Module, digits: str) -> None:
    module.send("answer", text=digits)
    assert await module.result() == "success"


async def is_told(module: Module, text: str) -> None:
    """Reads why the login has ended, presses Enter, and reads the result."""
    assert text in await module.prompt()
    module.send("answer", text="")
    assert await module.result() == "denied"


async def is_told_at_once(module: Module, text: str) -> None:
    """Reads why the login has ended while the prompt for digits waits."""
    kind, fields = await module.read()
    assert kind == "info"
    assert text in fields["text"]
    assert await module.result() == "denied"


def test_digits_of_the_page_open_the_account(service: ApprovalServer, tmp_path: Path) -> None:
    async def login(module: Module) -> None:
        text = await begun(module)
        assert text.startswith("\nThis is a login to web1 as alice from 192.0.2.7.\n")
        assert f"    {service.url}/approve/{service.approvals[-1].secret}" in text.splitlines()
        assert "\u2588" in text
        assert text.endswith(f"If you did not start this ssh, close that page.\n{ASKS}")
        digits = service.approve()
        await passes(module, f" {digits[:3]} {digits[3:]}\n")

    host_login = run(service, tmp_path, login)
    assert host_login.outcomes == {"accepted": 1}
    assert service.wait_for_outcome() == "passed"
    assert service.approvals[0].wish == {
        "host": "web1", "service": "sshd", "account": "alice", "user": "alice", "client_ip": "192.0.2.7", "seconds": 95,
    }  # fmt: skip


def test_service_hears_the_key_and_the_owner_of_the_account(service: ApprovalServer, tmp_path: Path) -> None:
    key = public_keys.ed25519()

    async def login(module: Module) -> None:
        await begun(module, ssh_auth_info=f"publickey {key}")
        await passes(module, service.approve())

    run(service, tmp_path, login, login)
    first, second = (each.wish for each in service.approvals)
    assert first["key_fingerprint"] == second["key_fingerprint"]
    assert first["key_fingerprint"].startswith("SHA256:")
    assert "subject" not in first
    assert second["subject"] == "id-of-alice"


def test_service_hears_for_how_long_the_approval_is_remembered(service: ApprovalServer, tmp_path: Path) -> None:
    key = public_keys.ed25519()

    async def with_a_key(module: Module) -> None:
        await begun(module, ssh_auth_info=f"publickey {key}")
        await passes(module, service.approve())

    async def without(module: Module) -> None:
        await begun(module)
        await passes(module, service.approve())

    run(service, tmp_path, without, with_a_key, approval=service.settings() | {"remember": "12h"})
    assert [each.wish.get("remember") for each in service.approvals] == [None, 43200]


def test_wrong_digits_have_few_tries(service: ApprovalServer, tmp_path: Path) -> None:
    async def login(module: Module) -> None:
        await begun(module)
        digits = service.approve()
        wrong = f"{(int(digits) + 1) % 10**6:06}"
        for left in range(TRIES - 1, 0, -1):
            module.send("answer", text=wrong)
            said = await module.prompt()
            assert said.endswith(ASKS)
            assert ("One try is left." if left == 1 else f"{left} tries are left.") in said
        module.send("answer", text=wrong)
        await is_told(module, "The digits were wrong too often.")

    assert run(service, tmp_path, login).outcomes == {"refused": 1}
    assert service.approvals[0].outcome == "gone"


def test_digits_of_another_approval_open_nothing(service: ApprovalServer, tmp_path: Path) -> None:
    async def login(module: Module) -> None:
        async with connected(tmp_path) as other:
            await begun(other, rhost="192.0.2.8")
            digits_of_other = service.approve()
            await begun(module)
            service.approve()
            module.send("answer", text=digits_of_other)
            assert "These are not the digits of the page." in await module.prompt()

    assert run(service, tmp_path, login).outcomes["accepted"] == 0


def test_guesses_before_the_approval_open_nothing(service: ApprovalServer, tmp_path: Path) -> None:
    async def login(module: Module) -> None:
        await begun(module)
        module.send("answer", text=service.approvals[0].digits)
        assert "Approve the login on this page. It then shows six digits:" in await module.prompt()
        module.send("answer", text="")
        assert "Approve the login on this page. It then shows six digits:" in await module.prompt()
        await passes(module, service.approve())

    run(service, tmp_path, login)
    assert service.approvals[0].tries_left == TRIES


def test_answer_that_sshd_hides_takes_the_way_of_any_other(service: ApprovalServer, tmp_path: Path) -> None:
    """sshd replaces the answer of a person whose account it does not know."""
    said: dict[str, tuple[str, list[str]]] = {}

    def guesses(answer: str) -> Login:
        async def login(module: Module) -> None:
            await begun(module)
            before = len(service.calls)
            module.send("answer", text=answer)
            text = (await module.prompt()).replace(service.approvals[-1].secret, "SECRET")
            calls = [call for call in service.calls[before:] if "wait" not in call.query]
            paths = [call.path.replace(service.approvals[-1].id, "ID") for call in calls]
            said[answer] = text, [path for path in paths if "ID" in path]

        return login

    hidden = "\b\n\r\x7fIN"
    run(service, tmp_path, guesses("123456"), guesses(hidden), guesses(""), pending_per_user=10)
    assert said["123456"] == said[hidden] == said[""]

    async def approved(module: Module) -> None:
        await begun(module)
        service.approve()
        module.send("answer", text=hidden)
        await is_told(module, "This login was not accepted.")

    run(service, tmp_path, approved)


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ("denied", "denied in the browser"),
        ("reported", "denied in the browser"),
        ("expired", "Nobody approved this login in time."),
        ("ended", "The approval of this login has ended."),
    ],
)
def test_end_on_the_page_ends_the_login_while_its_prompt_is_open(
    service: ApprovalServer, tmp_path: Path, state: str, text: str
) -> None:
    async def login(module: Module) -> None:
        await begun(module)
        service.set_state(state)
        await is_told_at_once(module, text)

    host_login = run(service, tmp_path, login)
    assert host_login.outcomes == {"refused": 1}
    assert host_login.waiting.count == 0
    assert service.approvals[0].outcome == "gone"


def test_page_that_is_denied_after_its_approval_opens_nothing(service: ApprovalServer, tmp_path: Path) -> None:
    async def login(module: Module) -> None:
        await begun(module)
        digits = service.approve()
        service.set_state("denied")
        module.send("answer", text=digits)
        kind, fields = await module.read()
        assert kind in ("prompt", "info")
        assert "denied in the browser" in fields["text"]

    assert run(service, tmp_path, login).outcomes["accepted"] == 0


@pytest.mark.slow
def test_login_ends_with_its_time(service: ApprovalServer, tmp_path: Path) -> None:
    async def login(module: Module) -> None:
        await begun(module, timeout="6")
        await is_told_at_once(module, "Nobody approved this login in time.")

    assert run(service, tmp_path, login).outcomes == {"refused": 1}


def test_person_who_leaves_is_told_to_the_page(service: ApprovalServer, tmp_path: Path) -> None:
    async def leave(module: Module) -> None:
        await begun(module)

    assert run(service, tmp_path, leave).outcomes == {"gone": 1}
    assert service.wait_for_outcome() == "gone"


def test_person_who_leaves_before_the_page_is_shown_is_told_to_it(service: ApprovalServer, tmp_path: Path) -> None:
    opening = threading.Event()

    async def leave(module: Module) -> None:
        module.send("login", **ALICE)
        while not service.count("/api/v1/approvals"):  # noqa: ASYNC110 - the service runs in a thread
            await asyncio.sleep(0.01)

    service.open_slowly(opening)
    host_login = new_host_login(tmp_path, approval=service.settings())

    async def serve() -> None:
        async with serving(host_login, tmp_path):
            async with connected(tmp_path) as module:
                await leave(module)
            while not host_login.outcomes["gone"]:  # noqa: ASYNC110 - another task sets it
                await asyncio.sleep(0.01)
            opening.set()
            assert await asyncio.to_thread(service.wait_for_outcome) == "gone"

    asyncio.run(serve())


def test_agent_that_stops_tells_the_person_and_the_page(service: ApprovalServer, tmp_path: Path) -> None:
    host_login = new_host_login(tmp_path, approval=service.settings())

    async def serve() -> None:
        async with serving(host_login, tmp_path), connected(tmp_path) as module:
            await begun(module)
            service.approve()
            host_login.stop()
            kind, fields = await module.read()
            assert (kind, "restarts" in fields["text"]) == ("info", True)
            assert await module.result() == "unavailable"

    asyncio.run(serve())
    assert service.approvals[0].outcome == "gone"


def test_approval_of_another_person_opens_nothing(service: ApprovalServer, tmp_path: Path) -> None:
    """A service that errs about the person is not believed: the rules of the host decide, too."""
    service.verified = {"user": "mallory", "sub": "id-of-mallory"}

    async def login(module: Module) -> None:
        await begun(module)
        module.send("answer", text=service.approve())
        await is_told(module, "This login was not accepted.")

    assert run(service, tmp_path, login).outcomes == {"refused": 1}
    assert service.wait_for_outcome() == "gone"


def test_approval_and_device_login_of_the_same_account_at_the_provider_open_the_same_account(
    service: ApprovalServer, provider: OpenIdProvider, tmp_path: Path
) -> None:
    service.verified = {"linked": {"iss": provider.issuer, "sub": "subject-1"}}

    async def by_approval(module: Module) -> None:
        await begun(module)
        await passes(module, service.approve())

    async def by_device(module: Module) -> None:
        service.replies["/api/v1/approvals"] = identity_server.ERROR
        provider.is_approved = True
        assert f"{provider.issuer}/device" in await begun(module)
        await passes(module, "")

    approval = service.settings(identity="linked")
    host_login = run(service, tmp_path, by_approval, by_device, approval=approval, when_away="next", **device(provider))
    assert host_login.outcomes == {"accepted": 2}


@pytest.mark.parametrize(
    "linked", [None, {"iss": "https://other.example", "sub": "subject-1"}, {"iss": 1}, "no object"]
)
def test_user_without_an_account_at_a_provider_of_the_host_is_refused(
    service: ApprovalServer, provider: OpenIdProvider, tmp_path: Path, linked: Any
) -> None:
    """The identity service speaks for no provider that the host does not know."""
    service.verified = {"linked": linked}

    async def login(module: Module) -> None:
        await begun(module)
        module.send("answer", text=service.approve())
        await is_told(module, "This login was not accepted.")

    run(service, tmp_path, login, approval=service.settings(identity="linked"), **device(provider))


def test_account_at_the_provider_counts_for_nothing_unless_the_operator_wants_that(
    service: ApprovalServer, provider: OpenIdProvider, tmp_path: Path
) -> None:
    """The account belongs to a person of the provider. The identity service may not open it."""
    service.verified = {"linked": {"iss": provider.issuer, "sub": "subject-1"}}

    async def by_device(module: Module) -> None:
        provider.is_approved = True
        await begun(module)
        await passes(module, "")

    async def by_approval(module: Module) -> None:
        await begun(module)
        module.send("answer", text=service.approve())
        await is_told(module, "This login was not accepted.")

    run(service, tmp_path, by_device, methods=["device"], **device(provider))
    run(service, tmp_path, by_approval, **device(provider))


def test_account_stays_with_its_first_person(service: ApprovalServer, tmp_path: Path) -> None:
    async def login(module: Module) -> None:
        await begun(module)
        await passes(module, service.approve())

    async def refused(module: Module) -> None:
        service.verified = {"sub": "somebody-new"}
        await begun(module)
        module.send("answer", text=service.approve())
        await is_told(module, "This login was not accepted.")

    assert run(service, tmp_path, login, refused).outcomes == {"accepted": 1, "refused": 1}


def test_service_of_another_name_is_not_believed(service: ApprovalServer, tmp_path: Path) -> None:
    service.verified = {"iss": "https://op.example"}

    async def login(module: Module) -> None:
        await begun(module)
        module.send("answer", text=service.approve())
        assert "cannot be used now" in await module.prompt()
        module.send("answer", text="")
        assert await module.result() == "unavailable"

    assert run(service, tmp_path, login).outcomes == {"unavailable": 1}


@pytest.mark.parametrize(
    ("allow", "is_in"),
    [
        ({"users": ["bob"], "everyone": True}, False),
        ({"subjects": ["id-of-alice"]}, True),
        ({"subjects": ["id-of-bob"]}, False),
        ({"everyone": True, "amr": ["hwk"]}, False),
        ({"everyone": True, "amr": ["pwd"]}, True),
    ],
)
def test_policy_of_the_host_decides_too(
    service: ApprovalServer, tmp_path: Path, allow: dict[str, Any], is_in: bool
) -> None:
    async def login(module: Module) -> None:
        await begun(module)
        module.send("answer", text=service.approve())
        await module.read()

    assert run(service, tmp_path, login, approval=service.settings(allow=allow)).outcomes["accepted"] == is_in


def test_login_without_the_demanded_key_never_reaches_the_service(service: ApprovalServer, tmp_path: Path) -> None:
    async def login(module: Module) -> None:
        module.send("login", **ALICE)
        await is_told(module, "This login was not accepted.")

    allow = {"everyone": True, "publickey": True}
    run(service, tmp_path, login, approval=service.settings(allow=allow))
    assert service.calls == []


def test_user_of_the_service_is_made_from_the_account(service: ApprovalServer, tmp_path: Path) -> None:
    async def login(module: Module) -> None:
        await begun(module)
        assert service.approvals[0].wish["user"] == "alice@example.org"
        await passes(module, service.approve())

    run(service, tmp_path, login, approval=service.settings(user="{account}@example.org"))


@pytest.mark.parametrize("name", ["a" * 65, "-alice", "alice\x1b[2J", "../alice"])
def test_name_that_no_account_can_have_never_reaches_the_service(
    service: ApprovalServer, tmp_path: Path, name: str
) -> None:
    async def login(module: Module) -> None:
        module.send("login", **ALICE | {"user": name})
        await is_told(module, "This login was not accepted.")

    run(service, tmp_path, login)
    assert service.calls == []


def test_name_that_nobody_has_looks_like_any_other(service: ApprovalServer, tmp_path: Path) -> None:
    async def login(module: Module) -> None:
        assert (await begun(module, user="nobody-here")).endswith(ASKS)
        module.send("answer", text=service.approve())
        await is_told(module, "This login was not accepted.")

    run(service, tmp_path, login)


def test_program_that_answers_at_once_is_no_person(service: ApprovalServer, tmp_path: Path) -> None:
    async def login(module: Module) -> None:
        await begun(module)
        for _ in range(2):
            module.send("answer", text="")
            await module.prompt()
        module.send("answer", text="")
        await is_told(module, "This login was not accepted.")

    assert run(service, tmp_path, login).outcomes == {"refused": 1}


@pytest.mark.parametrize(
    "changes",
    [
        {"page": "https://mfa.example.org/\x1b[2J"},
        {"page": "https://mfa.example.org/ two"},
        {"page": "http://mfa.example.org/approve/x"},
        {"page": "https://mfa.example.org/" + "x" * 2000},
        {"id": "../challenges/x"},
        {"id": ""},
        {"expires_in": "soon"},
        {"expires_in": -1},
        {"interval": 0},
    ],
)
def test_answer_that_is_no_approval_is_not_shown(
    service: ApprovalServer, tmp_path: Path, changes: dict[str, Any]
) -> None:
    opened = {"id": "x", "page": f"{service.url}/approve/x", "expires_in": 300, "interval": 2} | changes
    service.replies["/api/v1/approvals"] = identity_server.reply_json(opened, 201)

    async def login(module: Module) -> None:
        module.send("login", **ALICE)
        assert "cannot be used now" in await module.prompt()

    run(service, tmp_path, login)


def test_limit_of_the_service_is_told(service: ApprovalServer, tmp_path: Path) -> None:
    service.replies["/api/v1/approvals"] = identity_server.reply_json({"error": "too_many_approvals"}, 429)

    async def login(module: Module) -> None:
        module.send("login", **ALICE)
        await is_told(module, "Too many logins have begun")

    assert run(service, tmp_path, login).outcomes == {"refused": 1}


def test_service_that_is_away_gives_no_access(service: ApprovalServer, tmp_path: Path) -> None:
    async def login(module: Module) -> None:
        module.send("login", **ALICE)
        assert "cannot be used now" in await module.prompt()
        module.send("answer", text="")
        assert await module.result() == "unavailable"

    service.replies["/api/v1/approvals"] = identity_server.ERROR
    assert run(service, tmp_path, login).outcomes == {"unavailable": 1}


def test_watch_goes_on_while_the_service_restarts(service: ApprovalServer, tmp_path: Path) -> None:
    async def login(module: Module) -> None:
        await begun(module)
        path = f"/api/v1/approvals/{service.approvals[0].id}"
        service.replies[path] = identity_server.ERROR
        service.set_state("approved")
        while service.count(path) < 3:  # noqa: ASYNC110 - the service runs in a thread
            await asyncio.sleep(0.01)
        del service.replies[path]
        await passes(module, service.approvals[0].digits)

    assert run(service, tmp_path, login).outcomes == {"accepted": 1}


def device(provider: OpenIdProvider) -> dict[str, Any]:
    provider.public = True
    return {"issuer": provider.issuer, "client_id": CLIENT_ID, "allow": {"everyone": True}, "enter": "always"}


@pytest.mark.slow
@pytest.mark.parametrize("reply", [identity_server.ERROR, identity_server.BUSY, identity_server.hang(8)])
def test_next_method_follows_if_the_operator_wants_that(
    service: ApprovalServer,
    provider: OpenIdProvider,
    tmp_path: Path,
    events: io.StringIO,
    reply: identity_server.Reply,
) -> None:
    async def login(module: Module) -> None:
        provider.is_approved = True
        assert f"{provider.issuer}/device" in await begun(module)
        await passes(module, "")

    service.replies["/api/v1/approvals"] = reply
    run(service, tmp_path, login, when_away="next", **device(provider))
    logged = [json.loads(line) for line in events.getvalue().splitlines()]
    away = next(each for each in logged if each["event"] == "host_login.method_away")
    assert (away["method"], away["next"]) == ("approval", "device")
    accepted = next(each for each in logged if each["event"] == "host_login.accepted")
    assert (accepted["by"], accepted["instead_of"]) == ("browser", "approval")


def test_service_that_is_down_is_not_waited_for_again_and_again(service: ApprovalServer, tmp_path: Path) -> None:
    async def login(module: Module) -> None:
        module.send("login", **ALICE)
        assert "cannot be used now" in await module.prompt()
        module.send("answer", text="")
        assert await module.result() == "unavailable"

    service.replies["/api/v1/approvals"] = identity_server.ERROR
    run(service, tmp_path, *[login] * 6)
    assert service.count("/api/v1/approvals") == 3


@pytest.mark.parametrize(
    "reply",
    [
        identity_server.reply_json({"error": "insufficient_scope"}, 403),
        identity_server.reply_json({"error": "too_many_approvals"}, 429),
        identity_server.reply_json({"error": "invalid_request"}, 400),
        identity_server.HTML,
    ],
)
def test_service_that_refuses_the_host_is_not_away(
    service: ApprovalServer, provider: OpenIdProvider, tmp_path: Path, reply: identity_server.Reply
) -> None:
    """Otherwise a stranger who is refused there would reach the weaker method."""

    async def login(module: Module) -> None:
        module.send("login", **ALICE)
        text = await module.prompt()
        assert provider.issuer not in text
        assert "Enter to go on" in text

    service.replies["/api/v1/approvals"] = reply
    run(service, tmp_path, login, when_away="next", **device(provider))


def test_page_that_is_shown_is_not_left_for_another_method(
    service: ApprovalServer, provider: OpenIdProvider, tmp_path: Path
) -> None:
    async def login(module: Module) -> None:
        await begun(module)
        digits = service.approve()
        service.replies["verify"] = identity_server.ERROR
        module.send("answer", text=digits)
        assert "cannot be used now" in await module.prompt()

    run(service, tmp_path, login, when_away="next", **device(provider))


def test_methods_follow_their_order(service: ApprovalServer, provider: OpenIdProvider, tmp_path: Path) -> None:
    async def login(module: Module) -> None:
        assert f"{provider.issuer}/device" in await begun(module)

    run(service, tmp_path, login, methods=["device", "approval"], **device(provider))
    assert service.calls == []


def test_method_that_is_left_out_is_off(service: ApprovalServer, provider: OpenIdProvider, tmp_path: Path) -> None:
    async def login(module: Module) -> None:
        module.send("login", **ALICE)
        assert "cannot be used now" in await module.prompt()

    service.replies["/api/v1/approvals"] = identity_server.ERROR
    run(service, tmp_path, login, methods=["approval"], when_away="next", **device(provider))


def test_enter_at_the_prompt_for_a_token_leads_to_the_page(service: ApprovalServer, tmp_path: Path) -> None:
    async def login(module: Module) -> None:
        assert (await begun(module)).endswith("Access Token:")
        module.send("answer", text="")
        assert (await module.prompt()).endswith(ASKS)
        await passes(module, service.approve())

    tokens = [{"issuer": "https://op.example", "audience": "web1", "allow": {"everyone": True}}]
    run(service, tmp_path, login, tokens=tokens)


def test_login_beyond_those_that_the_service_holds_back_hears_of_its_denial(
    service: ApprovalServer, tmp_path: Path
) -> None:
    """Each login has a request that waits at the service, but for those there are 64 threads."""
    crowd = 66

    async def login(last: Module) -> None:
        async with AsyncExitStack() as stack:
            for number in range(crowd):
                module = await stack.enter_async_context(connected(tmp_path))
                await begun(module, rhost=f"192.0.2.{number}")
            async with asyncio.timeout(10):
                while sum("wait" in call.query for call in service.calls) < 64:  # noqa: ASYNC110 - it runs in a thread
                    await asyncio.sleep(0.01)
            await begun(last, rhost="198.51.100.1")
            service.set_state("denied")
            await is_told_at_once(last, "denied in the browser")
            for number in range(crowd):
                service.set_state("ended", number)

    host_login = run(service, tmp_path, login, pending_per_user=100, pending_per_source=100)
    assert host_login.outcomes["refused"] >= 1


def test_calls_of_the_service_are_measured(service: ApprovalServer, tmp_path: Path) -> None:
    calls: list[str] = []

    async def login(module: Module) -> None:
        await begun(module)
        await passes(module, service.approve())

    host_login = new_host_login(tmp_path, lambda call, _seconds: calls.append(call), approval=service.settings())
    run_at(host_login, tmp_path, login)
    assert service.wait_for_outcome() == "passed"
    assert calls[:3] == ["approval_open", "approval_state", "approval_verify"]
