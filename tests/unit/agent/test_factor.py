"""What the agent answers: key lines for sshd, and what became of a login. The identity service is a real server."""

import asyncio
import io
import json
import re
from collections.abc import Callable, Coroutine, Iterator
from datetime import timedelta
from typing import Any

import pytest
from fakes import public_keys
from fakes.identity_server import ERROR, Call, IdentityServer, Reply, hang, reply_json
from unit.agent.agent import ID, SOCKET, Agent, agent_of

from sshaft import public_key
from sshaft.errors import RemoteServiceError

KEY = public_keys.ed25519("alice")
OTHER_KEY = public_keys.ed25519("other")
SK_KEY = public_keys.sk_ed25519("alice")


@pytest.fixture
def agent(identity: IdentityServer, clock: Any) -> Iterator[Agent]:
    identity.filters = True
    made = agent_of(identity, clock, KEY, mfa_reject_endpoint=f"{identity.url}/reject")
    yield made
    made.close()


@pytest.fixture
def pending(identity: IdentityServer, clock: Any) -> Callable[..., dict[str, Any]]:
    """A function that makes and lists a pending challenge."""

    def make(user: str = "alice", key: str = KEY, **more: Any) -> dict[str, Any]:
        entry = {
            "user": user,
            "authorized_key": key,
            "challenge": "c1",
            "expires_at": clock.later(300),
            "binding": "code_in",
        } | more
        identity.entries.append(entry)
        identity.replies.setdefault("/accept", reply_json({"state": "accepted"}))
        identity.replies.setdefault("/reject", reply_json({"state": "rejected"}))
        return entry

    return make


def run(steps: Coroutine[Any, Any, None]) -> None:
    asyncio.run(steps)


def logged(events: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in events.getvalue().splitlines()]


def last(identity: IdentityServer, path: str) -> Call:
    return [call for call in identity.calls if call.path == path][-1]


# --- keys


def test_line_carries_a_ticket_and_ends_with_it(agent: Agent, pending: Any, clock: Any) -> None:
    pending(expires_at=clock.later(90))

    async def steps() -> None:
        line = await agent.line()
        ticket = await agent.ticket()
        assert line == (
            f'restrict,command="/sshaft/login --agent {SOCKET} --ticket {ticket}",expiry-time="20261122120130Z" {KEY}\n'
        )

    run(steps())


def test_line_of_a_long_challenge_ends_after_two_minutes(agent: Agent, pending: Any) -> None:
    pending()

    async def steps() -> None:
        assert 'expiry-time="20261122120200Z"' in await agent.line()

    run(steps())


@pytest.mark.parametrize("hours", [1, -1])
def test_line_is_by_the_hosts_clock_where_the_services_is_another(
    identity: IdentityServer, pending: Any, clock: Any, events: io.StringIO, hours: int
) -> None:
    identity.filters = True
    pending(expires_at=clock.later(90), context={"app": "Webmail", "started_at": clock.later(-40)})
    agent = agent_of(identity, clock, KEY, ahead=timedelta(hours=hours))

    async def steps() -> None:
        ticket = await agent.ticket()
        assert f'expiry-time="20261122{12 + hours}0130Z"' in await agent.line()
        assert (await agent.report(ticket))["age"] == "40"
        refused = {"status": 409, "error": "confirm_required", "context": {"started_at": clock.later(-40)}}
        identity.replies["/accept"] = reply_json(refused, 409)
        assert (await agent.report(ticket, code="482913"))["age"] == "40"
        clock.move(90)
        assert await agent.line() == ""

    try:
        run(steps())
    finally:
        agent.close()
    told = [event for event in logged(events) if event["event"] == "clocks.differ"]
    assert [event["ahead_of_identity_service"] for event in told] == [hours * 3600]


def test_second_question_of_sshd_gets_the_same_line(agent: Agent, pending: Any, clock: Any) -> None:
    pending()

    async def steps() -> None:
        first = await agent.line()
        clock.move(5)
        assert await agent.line(request_id="f" * 32) == first

    run(steps())
    assert len(agent.factor.tickets) == 1


def test_nothing_of_the_identity_service_but_the_key_stands_in_a_line(agent: Agent, pending: Any) -> None:
    hostile = 'x" ssh-ed25519 AAAA; $(id)'
    pending(user=hostile, key=f"{KEY} {hostile}", challenge=hostile, context={"app": hostile})

    async def steps() -> None:
        line = await agent.line()
        assert re.fullmatch(r'restrict,command="[A-Za-z0-9._/ -]+",expiry-time="\d{14}Z" ssh-ed25519 \S+\n', line)
        assert await agent.report(await agent.ticket(), code="1") == {"state": "accepted", "reference": ID}

    run(steps())


def test_verify_required_reaches_sshd_and_only_for_security_keys(agent: Agent, pending: Any) -> None:
    pending(key=SK_KEY, verify_required=True)
    pending(key=KEY, verify_required=True)

    async def steps() -> None:
        assert ",verify-required sk-ssh-ed25519@openssh.com " in await agent.line(SK_KEY)
        assert await agent.line(KEY) == ""

    run(steps())


@pytest.mark.parametrize(
    "change",
    [
        {"fingerprint": "SHA256:" + "A" * 43},
        {"fingerprint": ""},
        {"fingerprint": "MD5:00"},
        {"key": public_keys.of(OTHER_KEY)[1]},
        {"key": ""},
        {"key": "AAAA"},
        {"key": public_keys.of(KEY)[1] + "\n"},
        {"type": "ssh-rsa"},
        {"type": "ssh-ed25519-cert-v01@openssh.com"},
        {"type": ""},
    ],
    ids=str,
)
def test_question_whose_parts_do_not_fit_together_asks_nobody(
    agent: Agent, pending: Any, identity: IdentityServer, change: dict[str, str]
) -> None:
    pending()

    async def steps() -> None:
        assert await agent.line(**change) == ""
        assert await agent.factor.keys({}, ID) == ""

    run(steps())
    assert identity.calls == []


def test_wrong_fingerprint_hash_of_sshd_is_told_to_the_operator(agent: Agent, events: io.StringIO) -> None:
    async def steps() -> None:
        assert await agent.line(fingerprint="MD5:00:11") == ""

    run(steps())
    (event,) = logged(events)
    assert (event["level"], event["event"]) == ("error", "keys.none")


def test_unknown_key_gets_nothing(agent: Agent, pending: Any) -> None:
    pending()

    async def steps() -> None:
        assert await agent.line(OTHER_KEY) == ""

    run(steps())
    assert len(agent.factor.tickets) == 0


def test_key_of_two_waiting_users_opens_nothing_and_is_told(agent: Agent, pending: Any, events: io.StringIO) -> None:
    pending("alice")
    pending("mallory", challenge="c2")

    async def steps() -> None:
        assert await agent.line() == ""

    run(steps())
    (event,) = [event for event in logged(events) if event["event"] == "key.opens_nothing"]
    assert (event["reason"], event["level"], event["request_id"]) == ("ambiguous", "warning", ID)
    assert len(agent.factor.tickets) == 0


def test_expired_challenge_yields_no_keys(agent: Agent, pending: Any, clock: Any) -> None:
    pending(expires_at=clock.later(0))

    async def steps() -> None:
        assert await agent.line() == ""

    run(steps())


def test_service_that_is_down_is_a_failure_and_no_no(agent: Agent, identity: IdentityServer) -> None:
    identity.replies["/keys"] = ERROR

    async def steps() -> None:
        with pytest.raises(RemoteServiceError):
            await agent.line()

    run(steps())


def test_entry_of_another_key_is_never_used(agent: Agent, identity: IdentityServer, pending: Any) -> None:
    identity.filters = False  # and answers with everybody's
    pending("bob", OTHER_KEY)

    async def steps() -> None:
        assert await agent.line(KEY) == ""

    run(steps())


# --- accept


def test_pass_is_reported_with_the_key_that_signed(
    agent: Agent, pending: Any, identity: IdentityServer, events: io.StringIO
) -> None:
    pending()

    async def steps() -> None:
        answer = await agent.report(await agent.ticket(), code="482913")
        assert answer == {"state": "accepted", "reference": ID}

    run(steps())
    call = last(identity, "/accept")
    assert call.json == {
        "user": "alice",
        "challenge": "c1",
        "code": "482913",
        "fingerprint": public_key.parse(KEY).fingerprint,
        "key_type": "ssh-ed25519",
        "client_ip": "192.0.2.7",
    }
    assert call.headers["idempotency-key"] == call.headers["x-request-id"] == ID
    assert agent.factor.accepted == 1
    (event,) = [event for event in logged(events) if event["event"] == "login.accepted"]
    assert (event["user"], event["client_ip"], event["key_type"]) == ("alice", "192.0.2.7", "ssh-ed25519")
    assert "482913" not in events.getvalue()


def test_base_server_gets_the_user_and_nothing_else(agent: Agent, identity: IdentityServer) -> None:
    identity.entries = [{"user": "alice", "authorized_key": KEY}]

    async def steps() -> None:
        assert (await agent.report(await agent.ticket(), code="482913"))["state"] == "accepted"

    run(steps())
    assert last(identity, "/accept").json == {"user": "alice"}


def test_several_challenges_are_left_to_the_code(agent: Agent, identity: IdentityServer, pending: Any) -> None:
    pending()
    pending(challenge="c2")

    async def steps() -> None:
        ticket = await agent.ticket()
        assert (await agent.report(ticket))["state"] == "code_required"
        assert (await agent.report(ticket, code="482913"))["state"] == "accepted"

    run(steps())
    assert "challenge" not in last(identity, "/accept").json


def test_missing_code_spends_no_ticket_and_asks_nobody(agent: Agent, identity: IdentityServer, pending: Any) -> None:
    pending()

    async def steps() -> None:
        ticket = await agent.ticket()
        for _ in range(3):
            assert (await agent.report(ticket))["state"] == "code_required"
            assert (await agent.report(ticket, code=""))["state"] == "code_required"
        assert identity.count("/accept") == 0
        assert (await agent.report(ticket, code="482913"))["state"] == "accepted"

    run(steps())


@pytest.mark.parametrize(
    "reply",
    [reply_json({}), reply_json({"error": "invalid_code", "attempts_left": 4}, 403), reply_json({}, 404), ERROR],
    ids=["accepted", "wrong code", "404", "500"],
)
def test_second_use_of_a_ticket_is_refused_whatever_came_of_the_first(
    agent: Agent, identity: IdentityServer, pending: Any, reply: Reply
) -> None:
    pending()
    identity.replies["/accept"] = reply

    async def steps() -> None:
        ticket = await agent.ticket()
        first = await agent.report(ticket, code="482913")
        assert first["state"] != "invalid_ticket"
        sent = identity.count("/accept")
        assert await agent.report(ticket, code="482913") == {"state": "invalid_ticket"}
        assert identity.count("/accept") == sent

    run(steps())


def test_two_sessions_with_one_ticket_are_one_accept(agent: Agent, identity: IdentityServer, pending: Any) -> None:
    pending()

    async def steps() -> None:
        ticket = await agent.ticket()
        identity.delay = 0.05
        answers = await asyncio.gather(*(agent.report(ticket, code="482913") for _ in range(20)))
        assert sorted(answer["state"] for answer in answers) == ["accepted"] + ["invalid_ticket"] * 19

    run(steps())
    assert identity.count("/accept") == 1


def test_wrong_code_tells_how_many_tries_are_left_and_a_new_ticket_is_another_attempt(
    agent: Agent, identity: IdentityServer, pending: Any
) -> None:
    pending()
    identity.replies["/accept"] = reply_json({"error": "invalid_code", "attempts_left": 4}, 403)

    async def steps() -> None:
        first = await agent.ticket()
        answer = await agent.report(first, code="000000")
        assert answer == {"state": "invalid_code", "attempts_left": "4", "reference": ID}
        line = await agent.line(request_id="f" * 32)
        second = re.search(r"--ticket ([\w-]+)\"", line)[1]  # type: ignore[index]
        assert second != first
        await agent.report(second, code="000001")

    run(steps())
    keys = [call.headers["idempotency-key"] for call in identity.calls if call.path == "/accept"]
    assert keys == [ID, "f" * 32]


@pytest.mark.parametrize(
    "change",
    [
        {"public": OTHER_KEY},
        {"public": SK_KEY},
        {"key": ""},
        {"key": public_keys.of(OTHER_KEY)[1]},
        {"key_type": "ssh-rsa"},
        {"key_type": ""},
    ],
    ids=str,
)
def test_other_key_than_the_tickets_burns_it(
    agent: Agent, identity: IdentityServer, pending: Any, events: io.StringIO, change: dict[str, str]
) -> None:
    pending()
    pending("mallory", OTHER_KEY, challenge="c2")

    async def steps() -> None:
        ticket = await agent.ticket()
        assert (await agent.report(ticket, code="482913", **change))["state"] == "wrong_key"
        assert await agent.report(ticket, code="482913") == {"state": "invalid_ticket"}

    run(steps())
    assert identity.count("/accept") == 0
    refused = [event["reason"] for event in logged(events) if event["event"] == "login.refused"]
    assert refused == ["wrong_key", "invalid_ticket"]


@pytest.mark.parametrize("ticket", ["", "t", "tAAAAAAAAAAAAAAAAAAAAAAAA", "a" * 10_000, "\n"])
def test_made_up_ticket_is_refused(agent: Agent, identity: IdentityServer, pending: Any, ticket: str) -> None:
    pending()

    async def steps() -> None:
        await agent.ticket()
        assert await agent.report(ticket, code="482913") == {"state": "invalid_ticket"}
        assert await agent.factor.report("accept", {}) == {"state": "invalid_ticket"}

    run(steps())
    assert identity.count("/accept") == 0


def test_ticket_ends_after_two_minutes_and_with_its_challenge(agent: Agent, pending: Any, clock: Any) -> None:
    pending()
    pending("bob", OTHER_KEY, expires_at=clock.later(30))

    async def steps() -> None:
        long, short = await agent.ticket(), await agent.ticket(OTHER_KEY)
        clock.move(30)
        assert await agent.report(short, public=OTHER_KEY, code="1") == {"state": "invalid_ticket"}
        clock.move(90)
        assert await agent.report(long, code="1") == {"state": "invalid_ticket"}

    run(steps())


@pytest.mark.parametrize(
    ("status", "error", "state"),
    [
        (403, "unknown_key", "unknown_key"),
        (404, "no_challenge", "no_challenge"),
        (409, "already_used", "already_used"),
        (410, "expired", "expired"),
        (410, "rejected", "already_rejected"),
        (410, "cancelled", "cancelled"),
        (429, "too_many_attempts", "too_many_attempts"),
        (403, "something_new", "refused"),
    ],
)
def test_refusals_are_passed_on_by_their_state(
    agent: Agent, identity: IdentityServer, pending: Any, events: io.StringIO, status: int, error: str, state: str
) -> None:
    pending()
    identity.replies["/accept"] = reply_json({"error": error}, status)

    async def steps() -> None:
        assert (await agent.report(await agent.ticket(), code="1"))["state"] == state

    run(steps())
    assert agent.factor.accepted == 0
    assert [event["reason"] for event in logged(events) if event["event"] == "login.refused"] == [state]


@pytest.mark.parametrize(
    "reply", [ERROR, Reply(400), Reply(401), reply_json({"error": "insufficient_scope"}, 403)], ids=str
)
def test_trouble_is_unavailable_and_told_to_the_operator(
    agent: Agent, identity: IdentityServer, pending: Any, events: io.StringIO, reply: Reply
) -> None:
    pending()
    identity.replies["/accept"] = reply

    async def steps() -> None:
        assert (await agent.report(await agent.ticket(), code="1"))["state"] == "unavailable"

    run(steps())
    (event,) = [event for event in logged(events) if event["event"] == "login.failed"]
    assert f"{identity.url}/accept" in event["message"]


def test_hanging_accept_is_given_up(identity: IdentityServer, pending: Any, clock: Any) -> None:
    pending()
    identity.replies["/accept"] = hang(5)
    agent = agent_of(identity, clock, KEY, accept_seconds=0.2)

    async def steps() -> None:
        began = asyncio.get_running_loop().time()
        assert (await agent.report(await agent.ticket(), code="1"))["state"] == "unavailable"
        assert asyncio.get_running_loop().time() - began < 0.8

    run(steps())
    agent.close()


# --- nothing was pending when the line was printed


def test_registered_key_without_a_challenge_learns_that_nothing_waits(
    agent: Agent, identity: IdentityServer, pending: Any
) -> None:
    pending(challenge=None, expires_at=None)

    async def steps() -> None:
        line = await agent.line()
        assert line.startswith("restrict,command=")
        assert "expiry-time" not in line  # it opens nothing, so it need not end
        ticket = await agent.ticket()
        assert (await agent.report(ticket, code="1"))["state"] == "no_challenge"

    run(steps())
    assert identity.count("/accept") == 0


def test_login_that_was_started_after_the_line_was_printed_is_passed(
    agent: Agent, identity: IdentityServer, pending: Any
) -> None:
    entry = pending(challenge=None, expires_at=None)

    async def steps() -> None:
        ticket = await agent.ticket()
        entry["challenge"] = "c9"
        assert (await agent.report(ticket))["state"] == "code_required"
        assert (await agent.report(ticket, code="1"))["state"] == "accepted"

    run(steps())
    assert last(identity, "/accept").json["challenge"] == "c9"


@pytest.mark.parametrize(
    "change", [{"user": "mallory"}, {"verify_required": True}, {"binding": "smoke_signal"}], ids=str
)
def test_login_that_was_started_since_for_somebody_else_or_with_a_stricter_line_is_not_passed(
    agent: Agent, identity: IdentityServer, pending: Any, change: dict[str, Any]
) -> None:
    entry = pending(key=SK_KEY, challenge=None, expires_at=None)

    async def steps() -> None:
        ticket = await agent.ticket(SK_KEY)
        entry.update({"challenge": "c9"} | change)
        assert (await agent.report(ticket, public=SK_KEY, code="1"))["state"] == "no_challenge"

    run(steps())
    assert identity.count("/accept") == 0


def test_second_user_who_waits_since_with_the_same_key_closes_it(agent: Agent, pending: Any) -> None:
    entry = pending(challenge=None, expires_at=None)

    async def steps() -> None:
        ticket = await agent.ticket()
        entry["challenge"] = "c9"
        pending("mallory", challenge="c10")
        assert (await agent.report(ticket, code="1"))["state"] == "no_challenge"

    run(steps())


# --- what was remembered is over


OVER = reply_json({"error": "expired"}, 410)


def test_login_that_was_started_again_since_gets_the_code(agent: Agent, identity: IdentityServer, pending: Any) -> None:
    entry = pending()

    async def steps() -> None:
        ticket = await agent.ticket()
        entry["challenge"] = "c2"
        identity.replies["/accept"] = [OVER, reply_json({"state": "accepted"})]
        assert (await agent.report(ticket, code="482913"))["state"] == "accepted"

    run(steps())
    first, second = [call for call in identity.calls if call.path == "/accept"]
    assert (first.json["challenge"], second.json["challenge"]) == ("c1", "c2")
    assert first.headers["idempotency-key"] != second.headers["idempotency-key"]


def test_login_that_is_over_and_was_not_started_again_is_over(
    agent: Agent, identity: IdentityServer, pending: Any
) -> None:
    pending()
    identity.replies["/accept"] = OVER

    async def steps() -> None:
        assert (await agent.report(await agent.ticket(), code="482913"))["state"] == "expired"

    run(steps())
    assert identity.count("/accept") == 1


def test_list_that_fails_then_leaves_the_first_answer(agent: Agent, identity: IdentityServer, pending: Any) -> None:
    pending()
    identity.replies["/accept"] = OVER

    async def steps() -> None:
        ticket = await agent.ticket()
        identity.replies["/keys"] = ERROR
        assert (await agent.report(ticket, code="482913"))["state"] == "expired"

    run(steps())


@pytest.mark.parametrize("change", [{"user": "mallory"}, {"verify_required": True}], ids=str)
def test_newer_login_of_somebody_else_or_with_a_stricter_line_gets_no_code(
    agent: Agent, identity: IdentityServer, pending: Any, change: dict[str, Any]
) -> None:
    entry = pending(key=SK_KEY)

    async def steps() -> None:
        ticket = await agent.ticket(SK_KEY)
        entry.update({"challenge": "c2"} | change)
        identity.replies["/accept"] = OVER
        assert (await agent.report(ticket, public=SK_KEY, code="482913"))["state"] == "expired"

    run(steps())
    assert identity.count("/accept") == 1


def test_wrong_code_is_not_tried_on_another_challenge(agent: Agent, identity: IdentityServer, pending: Any) -> None:
    entry = pending()

    async def steps() -> None:
        ticket = await agent.ticket()
        entry["challenge"] = "c2"
        identity.replies["/accept"] = reply_json({"error": "invalid_code"}, 403)
        assert (await agent.report(ticket, code="482913"))["state"] == "invalid_code"

    run(steps())
    assert identity.count("/accept") == 1


def test_accepted_login_is_not_listed_from_memory(agent: Agent, identity: IdentityServer, pending: Any) -> None:
    pending()

    async def steps() -> None:
        ticket = await agent.ticket()
        identity.entries.clear()
        await agent.report(ticket, code="482913")
        assert await agent.line() == ""

    run(steps())


# --- reject


def test_denial_needs_no_code_and_is_logged(
    agent: Agent, identity: IdentityServer, pending: Any, events: io.StringIO
) -> None:
    pending()

    async def steps() -> None:
        assert (await agent.report(await agent.ticket(), "reject"))["state"] == "rejected"

    run(steps())
    assert last(identity, "/reject").json["challenge"] == "c1"
    assert identity.count("/accept") == 0
    assert agent.factor.accepted == 0
    assert [event["user"] for event in logged(events) if event["event"] == "login.rejected"] == ["alice"]


def test_denial_where_the_service_takes_none_is_said_and_spends_nothing(
    identity: IdentityServer, pending: Any, clock: Any
) -> None:
    pending()
    agent = agent_of(identity, clock, KEY)

    async def steps() -> None:
        ticket = await agent.ticket()
        assert (await agent.report(ticket, "reject"))["state"] == "no_denials"
        assert (await agent.report(ticket, code="1"))["state"] == "accepted"

    run(steps())
    agent.close()


# --- codes that ssh gives, and questions to the person


CONTEXT = {"app": "Wiki", "ip": "198.51.100.7", "started_at": "2026-11-22T11:59:40Z"}
SHOWN = {"app": "Wiki", "address": "198.51.100.7", "age": "20"}


def test_code_for_the_browser_is_handed_to_the_person(agent: Agent, identity: IdentityServer, pending: Any) -> None:
    pending(binding="code_back")
    identity.replies["/accept"] = reply_json({"state": "presented", "code": "550127", "context": CONTEXT})

    async def steps() -> None:
        ticket = await agent.ticket()
        answer = await agent.report(ticket)
        assert answer == {"state": "presented", "code": "550127", "reference": ID} | SHOWN
        assert (await agent.report(ticket))["state"] == "invalid_ticket"

    run(steps())
    assert "code" not in last(identity, "/accept").json


def test_presented_without_a_code_is_no_answer(agent: Agent, identity: IdentityServer, pending: Any) -> None:
    pending(binding="code_back")
    identity.replies["/accept"] = reply_json({"state": "presented"})

    async def steps() -> None:
        assert (await agent.report(await agent.ticket()))["state"] == "unavailable"

    run(steps())


def test_what_waits_is_told_with_the_question_for_its_code(agent: Agent, pending: Any) -> None:
    pending(context=CONTEXT)

    async def steps() -> None:
        answer = await agent.report(await agent.ticket())
        assert answer == {"state": "code_required", "reference": ID} | SHOWN

    run(steps())


def test_same_login_goes_on_after_the_person_has_confirmed(
    agent: Agent, identity: IdentityServer, pending: Any
) -> None:
    pending()
    identity.replies["/accept"] = reply_json({"error": "confirm_required", "context": CONTEXT}, 403)

    async def steps() -> None:
        ticket = await agent.ticket()
        answer = await agent.report(ticket, code="482913")
        assert answer == {"state": "confirm_required", "reference": ID} | SHOWN
        identity.replies["/accept"] = reply_json({"state": "accepted"})
        assert (await agent.report(ticket, code="482913", confirmed="yes"))["state"] == "accepted"
        assert (await agent.report(ticket, code="482913", confirmed="yes"))["state"] == "invalid_ticket"

    run(steps())
    assert last(identity, "/accept").json["confirmed"] is True


def test_line_that_made_sshd_verify_says_so_at_accept(agent: Agent, identity: IdentityServer, pending: Any) -> None:
    pending(key=SK_KEY, verify_required=True)

    async def steps() -> None:
        assert "verify-required" in await agent.line(SK_KEY)
        await agent.report(await agent.ticket(SK_KEY), public=SK_KEY, code="482913")

    run(steps())
    assert last(identity, "/accept").json["verified"] is True


def test_code_of_a_challenge_that_names_nobody_is_asked_for_and_brought(agent: Agent, identity: IdentityServer) -> None:
    identity.entries.append({"user": "alice", "authorized_key": KEY, "binding": "code_in"})
    identity.replies["/accept"] = reply_json({"state": "accepted"})

    async def steps() -> None:
        ticket = await agent.ticket()
        assert (await agent.report(ticket))["state"] == "code_required"
        assert (await agent.report(ticket, code="12345678"))["state"] == "accepted"

    run(steps())
    sent = last(identity, "/accept").json
    assert (sent["code"], "challenge" in sent, "fingerprint" in sent) == ("12345678", False, True)
