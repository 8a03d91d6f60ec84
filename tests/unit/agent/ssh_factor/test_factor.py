"""Tests key lines and the outcomes of logins against a small real server."""

import asyncio
import io
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from fakes import public_keys
from fakes.identity_server import ERROR, Call, IdentityServer, Reply, hang, reply_json
from unit.agent.ssh_factor.agent import ID, SOCKET, Agent, agent_of, logged

from sshaft import public_key
from sshaft.errors import RemoteServiceError
from sshaft_agent.ssh_factor.questions import AcceptRequest, KeysQuestion

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
    """Returns a function that makes and lists a pending challenge."""

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


def last(identity: IdentityServer, path: str) -> Call:
    return [call for call in identity.calls if call.path == path][-1]


# --- keys


async def test_line_carries_a_ticket_and_ends_with_it(
    agent: Agent, pending: Any, clock: Any, events: io.StringIO
) -> None:
    pending(expires_at=clock.later(90))
    line = await agent.line()
    (event,) = logged(events, "keys.listed")
    fingerprint = public_key.parse(KEY).fingerprint
    assert (event["user"], event["fingerprint"], event["request_id"]) == ("alice", fingerprint, ID)
    ticket = await agent.ticket()
    assert line == f'restrict,pty,command="/sshaft/login --agent {SOCKET} --ticket {ticket}" {KEY}\n'
    clock.move(89)
    assert (await agent.report(ticket))["state"] == "code_required"
    clock.move(1)
    assert (await agent.report(ticket))["state"] == "invalid_ticket"


@pytest.mark.parametrize("hours", [1, -1])
async def test_line_ends_by_the_clock_of_this_host_if_the_clocks_differ(
    identity: IdentityServer, pending: Any, clock: Any, events: io.StringIO, hours: int
) -> None:
    identity.filters = True
    pending(expires_at=clock.later(90), context={"app": "Webmail", "started_at": clock.later(-40)})
    agent = agent_of(identity, clock, KEY, ahead=timedelta(hours=hours))
    try:
        ticket = await agent.ticket()
        assert (await agent.report(ticket))["age"] == "40"
        refused = {"status": 409, "error": "confirm_required", "context": {"started_at": clock.later(-40)}}
        identity.replies["/accept"] = reply_json(refused, 409)
        assert (await agent.report(ticket, code="482913"))["age"] == "40"
        clock.move(90)
        assert await agent.line() == ""
    finally:
        agent.close()
    told = logged(events, "clocks.differ")
    assert [event["ahead_of_identity_service"] for event in told] == [hours * 3600]


async def test_questions_of_sshd_and_the_login_share_one_list(
    agent: Agent, identity: IdentityServer, pending: Any
) -> None:
    pending()
    await agent.line()
    assert (await agent.report(await agent.ticket()))["state"] == "code_required"
    assert identity.count("/keys") == 1


async def test_each_line_has_a_ticket_of_its_own_and_leaves_nothing_in_the_memory(agent: Agent, pending: Any) -> None:
    """Finding S23: logins of one person at once shared one ticket, and one of them passed."""
    pending()
    first, second = await agent.ticket(), await agent.ticket()
    assert first == second  # the same request id at the same time
    third = re.search(r"--ticket ([\w-]+)\"", await agent.line(request_id="f" * 32))[1]  # type: ignore[index]
    assert third != first
    assert (await agent.report(first, code="482913"))["state"] == "accepted"
    assert (await agent.report(third, code="482913"))["state"] == "accepted"
    assert len(agent.factor.logins) == 0


async def test_line_has_no_text_of_the_identity_service_but_the_key(agent: Agent, pending: Any) -> None:
    hostile = 'x" ssh-ed25519 AAAA; $(id)'
    pending(user=hostile, key=f"{KEY} {hostile}", challenge=hostile, context={"app": hostile})
    line = await agent.line()
    assert re.fullmatch(r'restrict,pty,command="[A-Za-z0-9._/ -]+" ssh-ed25519 \S+\n', line)
    assert await agent.report(await agent.ticket(), code="1") == {"state": "accepted", "reference": ID, "user": hostile}


async def test_verify_required_stands_in_the_line_of_a_security_key_only(agent: Agent, pending: Any) -> None:
    pending(key=SK_KEY, verify_required=True)
    pending(key=KEY, verify_required=True)
    assert ",verify-required sk-ssh-ed25519@openssh.com " in await agent.line(SK_KEY)
    assert await agent.line(KEY) == ""


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
async def test_question_with_parts_that_contradict_sends_no_request(
    agent: Agent, pending: Any, identity: IdentityServer, events: io.StringIO, change: dict[str, str]
) -> None:
    pending()
    assert await agent.line(**change) == ""
    assert [event["request_id"] for event in logged(events, "keys.none")] == [ID]
    assert await agent.factor.key_line(KeysQuestion.of({})) == ""
    assert identity.calls == []


async def test_operator_is_told_of_a_wrong_fingerprint_hash_of_sshd(agent: Agent, events: io.StringIO) -> None:
    assert await agent.line(fingerprint="MD5:00:11") == ""
    (event,) = logged(events)
    assert (event["level"], event["event"]) == ("error", "keys.none")


async def test_unknown_key_gets_nothing(agent: Agent, pending: Any, events: io.StringIO) -> None:
    pending()
    assert await agent.line(OTHER_KEY) == ""
    assert [event["reason"] for event in logged(events, "keys.none")] == ["unknown"]


async def test_key_of_two_waiting_users_opens_nothing_and_is_logged(
    agent: Agent, pending: Any, events: io.StringIO
) -> None:
    pending("alice")
    pending("mallory", challenge="c2")
    assert await agent.line() == ""
    (event,) = logged(events, "key.opens_nothing")
    assert (event["reason"], event["level"], event["request_id"]) == ("ambiguous", "warning", ID)


async def test_expired_challenge_yields_no_keys(agent: Agent, pending: Any, clock: Any) -> None:
    pending(expires_at=clock.later(0))
    assert await agent.line() == ""


async def test_service_that_is_down_is_an_error_and_no_refusal(agent: Agent, identity: IdentityServer) -> None:
    identity.replies["/keys"] = ERROR
    with pytest.raises(RemoteServiceError):
        await agent.line()


async def test_entry_of_another_key_is_never_used(agent: Agent, identity: IdentityServer, pending: Any) -> None:
    identity.filters = False  # the service lists every key
    pending("bob", OTHER_KEY)
    assert await agent.line(KEY) == ""


# --- accept


async def test_accept_names_the_key_that_signed(
    agent: Agent, pending: Any, identity: IdentityServer, events: io.StringIO
) -> None:
    pending()
    answer = await agent.report(await agent.ticket(), code="482913")
    assert answer == {"state": "accepted", "reference": ID, "user": "alice"}
    call = last(identity, "/accept")
    assert call.json == {
        "user": "alice",
        "challenge": "c1",
        "code": "482913",
        "fingerprint": public_key.parse(KEY).fingerprint,
        "key_type": "ssh-ed25519",
        "client_ip": "192.0.2.7",
    }
    assert call.headers["x-request-id"] == ID
    assert re.fullmatch("[0-9a-f]{32}", call.headers["idempotency-key"])
    assert agent.factor.outcomes["accepted"] == 1
    (event,) = logged(events, "login.accepted")
    facts = {"user": "alice", "client_ip": "192.0.2.7", "key_type": "ssh-ed25519", "request_id": ID}
    assert event == event | facts | {"fingerprint": public_key.parse(KEY).fingerprint}
    assert "482913" not in events.getvalue()


async def test_base_server_gets_the_user_and_nothing_else(agent: Agent, identity: IdentityServer) -> None:
    identity.entries = [{"user": "alice", "authorized_key": KEY}]
    assert (await agent.report(await agent.ticket(), code="482913"))["state"] == "accepted"
    assert last(identity, "/accept").json == {"user": "alice"}


async def test_code_chooses_among_several_challenges(agent: Agent, identity: IdentityServer, pending: Any) -> None:
    pending()
    pending(challenge="c2")
    ticket = await agent.ticket()
    assert (await agent.report(ticket))["state"] == "code_required"
    assert (await agent.report(ticket, code="482913"))["state"] == "accepted"
    assert "challenge" not in last(identity, "/accept").json


async def test_missing_code_spends_no_ticket_and_sends_no_request(
    agent: Agent, identity: IdentityServer, pending: Any
) -> None:
    pending()
    ticket = await agent.ticket()
    for _ in range(3):
        assert (await agent.report(ticket))["state"] == "code_required"
        assert (await agent.report(ticket, code=""))["state"] == "code_required"
    assert identity.count("/accept") == 0
    assert (await agent.report(ticket, code="482913"))["state"] == "accepted"


@pytest.mark.parametrize("key", [KEY, SK_KEY], ids=["software", "security key"])
@pytest.mark.parametrize(
    "reply",
    [reply_json({"error": "invalid_code", "attempts_left": 4}, 403), reply_json({"error": "expired"}, 410), ERROR],
    ids=["wrong code", "expired", "500"],
)
async def test_next_session_of_a_connection_passes_after_any_failure(
    agent: Agent, identity: IdentityServer, pending: Any, reply: Reply, key: str
) -> None:
    """Case shared_connection, findings N5 and U1: after a wrong code the right code never passed."""
    pending(key=key)
    ticket = await agent.ticket(key)
    identity.replies["/accept"] = reply
    assert (await agent.report(ticket, public=key, code="000000"))["state"] not in ("accepted", "invalid_ticket")
    identity.replies["/accept"] = reply_json({"state": "accepted"})
    assert (await agent.report(ticket, public=key, code="482913"))["state"] == "accepted"
    attempts = [call.headers["idempotency-key"] for call in identity.calls if call.path == "/accept"]
    assert len(attempts) == len(set(attempts)) or reply is ERROR  # a repetition after an error is the same attempt


@pytest.mark.parametrize("binding", ["code_in", "code_back", "none"])
async def test_next_login_passes_over_the_same_connection(
    agent: Agent, identity: IdentityServer, pending: Any, binding: str
) -> None:
    """Case shared_connection: the next login over a shared connection was refused."""
    entry = pending(binding=binding)
    ticket = await agent.ticket()
    assert (await agent.report(ticket, code="482913"))["state"] == "accepted"
    entry["challenge"] = "c2"
    assert (await agent.report(ticket, code="100200"))["state"] == "accepted"
    assert last(identity, "/accept").json["challenge"] == "c2"


async def test_connection_of_a_security_key_passes_one_login_because_each_needs_a_touch(
    agent: Agent, identity: IdentityServer, pending: Any
) -> None:
    entry = pending(key=SK_KEY)
    ticket = await agent.ticket(SK_KEY)
    assert (await agent.report(ticket, public=SK_KEY, code="482913"))["state"] == "accepted"
    entry["challenge"] = "c2"
    assert (await agent.report(ticket, public=SK_KEY, code="100200"))["state"] == "passed_before"
    assert identity.count("/accept") == 1


async def test_ticket_passes_once_at_a_server_without_challenges(agent: Agent, identity: IdentityServer) -> None:
    """Finding S23: whoever reads a ticket must not pass the next login of its owner with it."""
    identity.entries = [{"user": "alice", "authorized_key": KEY}]
    identity.delay = 0.05
    ticket = await agent.ticket()
    answers = await asyncio.gather(*(agent.report(ticket) for _ in range(20)))
    assert sorted(answer["state"] for answer in answers) == ["accepted"] + ["passed_before"] * 19
    assert identity.count("/accept") == 1


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
async def test_ticket_opens_nothing_for_another_key(
    agent: Agent, identity: IdentityServer, pending: Any, events: io.StringIO, change: dict[str, str]
) -> None:
    pending()
    pending("mallory", OTHER_KEY, challenge="c2")
    ticket = await agent.ticket()
    assert await agent.report(ticket, code="482913", **change) == {"state": "invalid_ticket"}
    assert identity.count("/accept") == 0
    assert [event["reason"] for event in logged(events, "login.refused")] == ["invalid_ticket"]
    assert (await agent.report(ticket, code="482913"))["state"] == "accepted"


@pytest.mark.parametrize("ticket", ["", "t", "tAAAAAAAAAAAAAAAAAAAAAAAA", "a" * 10_000, "\n"])
async def test_made_up_ticket_is_refused(agent: Agent, identity: IdentityServer, pending: Any, ticket: str) -> None:
    pending()
    await agent.ticket()
    assert await agent.report(ticket, code="482913") == {"state": "invalid_ticket"}
    assert await agent.factor.answer_login(AcceptRequest.of({})) == {"state": "invalid_ticket"}
    assert identity.count("/accept") == 0
    assert agent.factor.outcomes == {"invalid_ticket": 2}


async def test_ticket_ends_after_two_minutes_and_with_its_challenge(agent: Agent, pending: Any, clock: Any) -> None:
    pending()
    pending("bob", OTHER_KEY, expires_at=clock.later(30))
    long, short = await agent.ticket(), await agent.ticket(OTHER_KEY)
    clock.move(30)
    assert await agent.report(short, public=OTHER_KEY, code="1") == {"state": "invalid_ticket"}
    clock.move(90)
    assert await agent.report(long, code="1") == {"state": "invalid_ticket"}


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
async def test_refusals_keep_their_state(
    agent: Agent, identity: IdentityServer, pending: Any, events: io.StringIO, status: int, error: str, state: str
) -> None:
    pending()
    identity.replies["/accept"] = reply_json({"error": error}, status)
    assert (await agent.report(await agent.ticket(), code="1"))["state"] == state
    assert agent.factor.outcomes["accepted"] == 0
    assert [event["reason"] for event in logged(events, "login.refused")] == [state]


@pytest.mark.parametrize(
    "reply", [ERROR, Reply(400), Reply(401), reply_json({"error": "insufficient_scope"}, 403)], ids=str
)
async def test_failure_of_the_service_is_unavailable_and_logged(
    agent: Agent, identity: IdentityServer, pending: Any, events: io.StringIO, reply: Reply
) -> None:
    pending()
    identity.replies["/accept"] = reply
    assert (await agent.report(await agent.ticket(), code="1"))["state"] == "unavailable"
    (event,) = logged(events, "login.failed")
    assert f"{identity.url}/accept" in event["message"]


async def test_hanging_accept_ends_at_its_deadline(identity: IdentityServer, pending: Any, clock: Any) -> None:
    pending()
    identity.replies["/accept"] = hang(5)
    agent = agent_of(identity, clock, KEY, accept_seconds=0.2)
    began = asyncio.get_running_loop().time()
    assert (await agent.report(await agent.ticket(), code="1"))["state"] == "unavailable"
    assert asyncio.get_running_loop().time() - began < 4
    agent.close()


@pytest.mark.parametrize("kind", ["accept", "reject"])
async def test_call_that_does_not_end_in_time_is_unavailable(
    identity: IdentityServer, pending: Any, clock: Any, events: io.StringIO, kind: str
) -> None:
    pending()
    more = {"accept_seconds": 0.5, "mfa_reject_endpoint": f"{identity.url}/reject"}
    agent = agent_of(identity, clock, KEY, kind, sleep=lambda _: time.sleep(1.2), **more)
    ticket = await agent.ticket()
    identity.replies[f"/{kind}"] = Reply(503)
    began = time.monotonic()
    assert (await agent.report(ticket, code="1"))["state"] == "unavailable"
    assert 0.5 < agent.durations[-1] <= time.monotonic() - began
    assert [event["message"] for event in logged(events, "login.failed")] == ["no answer in time"]
    assert agent.factor.outcomes == {"unavailable": 1}
    assert agent.observed == ["list", kind]
    agent.close()


async def test_agent_that_stops_does_not_wait_for_its_calls(
    agent: Agent, identity: IdentityServer, pending: Any
) -> None:
    pending()
    ticket = await agent.ticket()
    arrived, is_closed, in_time = threading.Event(), threading.Event(), []

    def answer_later(_connection: socket.socket) -> None:
        arrived.set()
        in_time.append(is_closed.wait(2))

    identity.replies["/accept"] = Reply(write=answer_later)
    answer = asyncio.create_task(agent.report(ticket, code="1"))
    await asyncio.to_thread(arrived.wait)
    agent.factor.close()
    is_closed.set()
    assert (await answer)["state"] == "unavailable"
    assert in_time[0]


async def test_eight_reports_are_out_at_a_time_and_a_closed_agent_sends_no_other(
    agent: Agent, identity: IdentityServer, pending: Any
) -> None:
    pending()
    ticket = await agent.ticket()
    arrived, is_closed = threading.Semaphore(0), threading.Event()

    def answer_later(connection: socket.socket) -> None:
        arrived.release()
        is_closed.wait(30)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    identity.replies["/accept"] = Reply(write=answer_later)
    reports = [asyncio.create_task(agent.report(ticket, code="1")) for _ in range(10)]
    for _ in range(8):
        await asyncio.to_thread(arrived.acquire)
    agent.factor.close()
    is_closed.set()
    ends = await asyncio.gather(*reports, return_exceptions=True)
    assert [end if isinstance(end, dict) else type(end) for end in ends[8:]] == [asyncio.CancelledError] * 2
    assert identity.count("/accept") == 8


async def test_closed_agent_begins_nothing(agent: Agent, pending: Any) -> None:
    pending()
    ticket = await agent.ticket()
    agent.factor.close()
    with pytest.raises(RuntimeError, match="shutdown"):
        await agent.report(ticket, code="1")
    with pytest.raises(RuntimeError, match="shutdown"):
        await agent.line(SK_KEY)


async def test_new_configuration_is_used_for_every_later_call(
    agent: Agent, identity: IdentityServer, pending: Any
) -> None:
    pending()
    ticket = await agent.ticket()
    with IdentityServer() as other:
        other.entries = [dict(identity.entries[0], challenge="new")]
        other.replies["/accept"] = reply_json({"state": "accepted"})
        new = agent_of(other, None, KEY)
        agent.factor.replace_client(new.client)
        assert (await agent.report(ticket, code="482913"))["state"] == "accepted"
        assert last(other, "/accept").json["challenge"] == "new"
        new.close()
    assert identity.count("/accept") == 0


# --- lines that were printed before the login was started


@pytest.mark.parametrize(
    ("seconds", "entries", "state"), [(-1, 1, "expired"), (0, 1, "expired"), (300, 0, "no_challenge")]
)
async def test_login_that_ended_before_the_ticket_came_sends_no_request(
    agent: Agent, identity: IdentityServer, pending: Any, clock: Any, seconds: int, entries: int, state: str
) -> None:
    entry = pending()
    ticket = await agent.ticket()
    entry["expires_at"] = clock.later(seconds + 3)
    identity.entries = identity.entries[:entries]
    clock.move(3)
    assert (await agent.report(ticket, code="1"))["state"] == state
    assert identity.count("/accept") == 0
    assert len(agent.factor.logins) == 0


async def test_login_that_its_person_has_seen_is_reported_even_if_the_list_has_it_no_more(
    agent: Agent, identity: IdentityServer, pending: Any, clock: Any
) -> None:
    pending()
    ticket = await agent.ticket()
    assert (await agent.report(ticket))["state"] == "code_required"
    identity.entries.clear()
    clock.move(3)
    identity.replies["/accept"] = reply_json({"error": "cancelled"}, 410)
    assert (await agent.report(ticket, code="1"))["state"] == "cancelled"
    assert last(identity, "/accept").json["challenge"] == "c1"


async def test_login_is_remembered_as_long_as_its_ticket(agent: Agent, pending: Any, clock: Any) -> None:
    pending(expires_at=clock.later(90))
    await agent.report(await agent.ticket())
    for seconds, logins in ((89, 1), (90, 0)):
        agent.factor.logins.purge(clock() + seconds)
        assert len(agent.factor.logins) == logins


async def test_registered_key_without_a_challenge_learns_that_nothing_waits(
    agent: Agent, identity: IdentityServer, pending: Any
) -> None:
    pending(challenge=None, expires_at=None)
    line = await agent.line()
    assert line.startswith("restrict,pty,command=")
    ticket = await agent.ticket()
    identity.replies["/accept"] = reply_json({"error": "no_challenge"}, 404)
    assert (await agent.report(ticket, code="1"))["state"] == "no_challenge"


@pytest.mark.parametrize(
    ("error", "state"), [("already_used", "already_used"), ("rejected", "already_rejected"), ("cancelled", "cancelled")]
)
async def test_person_without_a_waiting_login_learns_what_became_of_the_last_one(
    agent: Agent, identity: IdentityServer, pending: Any, error: str, state: str
) -> None:
    """Finding U12: "No login is waiting" was said in place of what became of the login."""
    pending(challenge=None, expires_at=None)
    identity.replies["/accept"] = reply_json({"error": error}, 410)
    assert (await agent.report(await agent.ticket(), code="1"))["state"] == state
    assert "challenge" not in last(identity, "/accept").json


async def test_login_that_started_after_the_line_was_printed_is_accepted(
    agent: Agent, identity: IdentityServer, pending: Any
) -> None:
    entry = pending(challenge=None, expires_at=None)
    ticket = await agent.ticket()
    entry["challenge"] = "c9"
    assert (await agent.report(ticket))["state"] == "code_required"
    assert (await agent.report(ticket, code="1"))["state"] == "accepted"
    assert last(identity, "/accept").json["challenge"] == "c9"


@pytest.mark.parametrize(
    ("change", "state"),
    [({"user": "mallory"}, "invalid_ticket"), ({"verify_required": True}, "verification_required")],
    ids=["another user", "stricter"],
)
async def test_login_that_started_later_for_another_user_or_with_a_stricter_line_is_not_accepted(
    agent: Agent, identity: IdentityServer, pending: Any, clock: Any, change: dict[str, Any], state: str
) -> None:
    entry = pending(key=SK_KEY, challenge=None, expires_at=None)
    ticket = await agent.ticket(SK_KEY)
    entry.update({"challenge": "c9"} | change)
    clock.move(3)  # the cached list is older than two seconds
    assert (await agent.report(ticket, public=SK_KEY, code="1"))["state"] == state
    assert identity.count("/accept") == 0


async def test_second_user_who_waits_with_the_same_key_closes_the_login(agent: Agent, pending: Any, clock: Any) -> None:
    entry = pending(challenge=None, expires_at=None)
    ticket = await agent.ticket()
    entry["challenge"] = "c9"
    pending("mallory", challenge="c10")
    clock.move(3)
    assert (await agent.report(ticket, code="1"))["state"] == "refused"


# --- logins that ended and were started again


OVER = reply_json({"error": "expired"}, 410)


@pytest.mark.parametrize("kind", ["accept", "reject"])
@pytest.mark.parametrize("error", ["no_challenge", "expired", "cancelled", "rejected", "already_used"])
@pytest.mark.parametrize("verified", [False, True])
async def test_login_that_was_started_again_gets_the_code_or_the_denial(
    agent: Agent, identity: IdentityServer, pending: Any, kind: str, error: str, verified: bool
) -> None:
    key = SK_KEY if verified else KEY
    entry = pending(key=key, verify_required=verified)
    ticket = await agent.ticket(key)
    entry["challenge"] = "c2"
    identity.replies[f"/{kind}"] = [reply_json({"error": error}, 410), reply_json({})]
    code = {"code": "482913"} if kind == "accept" else {}
    assert (await agent.report(ticket, kind, key, **code))["state"] == f"{kind}ed"
    first, second = [call for call in identity.calls if call.path == f"/{kind}"]
    assert (first.json["challenge"], second.json["challenge"]) == ("c1", "c2")
    assert first.headers["idempotency-key"] != second.headers["idempotency-key"]
    assert agent.observed[-3:] == [kind, "list", kind]


@pytest.mark.parametrize(
    "change",
    [{}, {"challenge": None, "expires_at": None}, {"expires_at": "2026-11-22T12:00:00Z"}],
    ids=["the same login", "none", "over"],
)
async def test_login_that_ended_and_was_not_started_again_gets_one_request(
    agent: Agent, identity: IdentityServer, pending: Any, change: dict[str, Any]
) -> None:
    entry = pending()
    identity.replies["/accept"] = OVER
    ticket = await agent.ticket()
    entry.update(change)
    assert (await agent.report(ticket, code="482913"))["state"] == "expired"
    assert identity.count("/accept") == 1


async def test_login_that_ended_while_a_second_user_waits_with_the_same_key_gets_one_request(
    agent: Agent, identity: IdentityServer, pending: Any
) -> None:
    entry = pending()
    identity.replies["/accept"] = OVER
    ticket = await agent.ticket()
    entry["challenge"] = "c2"
    pending("mallory", challenge="c3")
    assert (await agent.report(ticket, code="482913"))["state"] == "expired"
    assert identity.count("/accept") == 1


async def test_sessions_of_one_connection_pass_at_the_same_time(
    agent: Agent, identity: IdentityServer, pending: Any
) -> None:
    """Finding S23: every login that signs gets its own pass."""
    pending()
    ticket = await agent.ticket()
    identity.delay = 0.05
    answers = await asyncio.gather(*(agent.report(ticket, code="482913") for _ in range(3)))
    assert [answer["state"] for answer in answers] == ["accepted"] * 3


async def test_denial_takes_the_pass_from_no_other_session(
    agent: Agent, identity: IdentityServer, pending: Any
) -> None:
    pending(key=SK_KEY)
    ticket = await agent.ticket(SK_KEY)
    identity.delay = 0.05
    denied = asyncio.create_task(agent.report(ticket, "reject", SK_KEY))
    await asyncio.sleep(0.01)
    passed = await agent.report(ticket, "accept", SK_KEY, code="482913")
    assert ((await denied)["state"], passed["state"]) == ("rejected", "accepted")


async def test_first_answer_stands_if_the_newer_list_fails(
    agent: Agent, identity: IdentityServer, pending: Any
) -> None:
    pending()
    identity.replies["/accept"] = OVER
    ticket = await agent.ticket()
    identity.replies["/keys"] = ERROR
    assert (await agent.report(ticket, code="482913"))["state"] == "expired"


@pytest.mark.parametrize("change", [{"user": "mallory"}, {"verify_required": True}], ids=str)
async def test_newer_login_of_another_user_or_with_a_stricter_line_gets_no_code(
    agent: Agent, identity: IdentityServer, pending: Any, change: dict[str, Any]
) -> None:
    entry = pending(key=SK_KEY)
    ticket = await agent.ticket(SK_KEY)
    entry.update({"challenge": "c2"} | change)
    identity.replies["/accept"] = OVER
    assert (await agent.report(ticket, public=SK_KEY, code="482913"))["state"] == "expired"
    assert identity.count("/accept") == 1


async def test_wrong_code_is_not_sent_for_another_challenge(
    agent: Agent, identity: IdentityServer, pending: Any
) -> None:
    entry = pending()
    ticket = await agent.ticket()
    entry["challenge"] = "c2"
    identity.replies["/accept"] = reply_json({"error": "invalid_code"}, 403)
    assert (await agent.report(ticket, code="482913"))["state"] == "invalid_code"
    assert identity.count("/accept") == 1


async def test_accepted_login_is_removed_from_the_cache(agent: Agent, identity: IdentityServer, pending: Any) -> None:
    pending()
    ticket = await agent.ticket()
    identity.entries.clear()
    await agent.report(ticket, code="482913")
    assert await agent.line() == ""


# --- reject


async def test_denial_needs_no_code_and_is_logged(
    agent: Agent, identity: IdentityServer, pending: Any, events: io.StringIO
) -> None:
    pending()
    assert (await agent.report(await agent.ticket(), "reject"))["state"] == "rejected"
    assert last(identity, "/reject").json["challenge"] == "c1"
    assert identity.count("/accept") == 0
    assert agent.factor.outcomes["accepted"] == 0
    assert [event["user"] for event in logged(events, "login.rejected")] == ["alice"]


async def test_denial_spends_no_ticket_if_the_service_takes_no_denials(
    identity: IdentityServer, pending: Any, clock: Any
) -> None:
    pending()
    agent = agent_of(identity, clock, KEY)
    ticket = await agent.ticket()
    assert (await agent.report(ticket, "reject"))["state"] == "no_denials"
    assert (await agent.report(ticket, code="1"))["state"] == "accepted"
    agent.close()


# --- codes for the browser, and confirmations


CONTEXT = {"app": "Wiki", "ip": "198.51.100.7", "started_at": "2026-11-22T11:59:40Z"}
SHOWN = {"app": "Wiki", "address": "198.51.100.7", "age": "20"}


async def test_person_gets_the_code_for_the_browser(
    agent: Agent, identity: IdentityServer, pending: Any, events: io.StringIO
) -> None:
    pending(binding="code_back")
    identity.replies["/accept"] = reply_json({"state": "presented", "code": "550127", "context": CONTEXT})
    ticket = await agent.ticket()
    answer = await agent.report(ticket)
    assert answer == {"state": "presented", "code": "550127", "reference": ID} | SHOWN
    assert "code" not in last(identity, "/accept").json
    assert [event["user"] for event in logged(events, "login.presented")] == ["alice"]


async def test_state_presented_without_a_code_is_unavailable(
    agent: Agent, identity: IdentityServer, pending: Any
) -> None:
    pending(binding="code_back")
    identity.replies["/accept"] = reply_json({"state": "presented"})
    assert (await agent.report(await agent.ticket()))["state"] == "unavailable"


async def test_question_for_the_code_describes_the_login(agent: Agent, pending: Any) -> None:
    pending(context=CONTEXT)
    answer = await agent.report(await agent.ticket())
    assert answer == {"state": "code_required", "reference": ID} | SHOWN


async def test_login_goes_on_with_the_same_ticket_after_a_confirmation(
    agent: Agent, identity: IdentityServer, pending: Any
) -> None:
    pending()
    identity.replies["/accept"] = reply_json({"error": "confirm_required", "context": CONTEXT}, 403)
    ticket = await agent.ticket()
    answer = await agent.report(ticket, code="482913")
    assert answer == {"state": "confirm_required", "reference": ID} | SHOWN
    identity.replies["/accept"] = reply_json({"state": "accepted"})
    assert (await agent.report(ticket, code="482913", confirmed="yes"))["state"] == "accepted"
    assert last(identity, "/accept").json["confirmed"] is True


async def test_confirmation_passes_the_login_that_the_person_has_read(
    agent: Agent, identity: IdentityServer, pending: Any
) -> None:
    """Finding S10: another login that began meanwhile was not shown to the person."""
    entry = pending(challenge=None, expires_at=None, binding="none")
    ticket = await agent.ticket()
    entry["challenge"] = "c1"
    identity.replies["/accept"] = reply_json({"error": "confirm_required", "context": CONTEXT}, 403)
    assert (await agent.report(ticket))["state"] == "confirm_required"
    entry["challenge"] = "c2"
    identity.replies["/accept"] = reply_json({"error": "expired"}, 410)
    assert (await agent.report(ticket, confirmed="yes"))["state"] == "expired"
    assert [call.json["challenge"] for call in identity.calls if call.path == "/accept"] == ["c1", "c1"]


@pytest.mark.parametrize("wanted_later", [True, False])
async def test_accept_says_that_the_line_required_verification(
    agent: Agent, identity: IdentityServer, pending: Any, clock: Any, wanted_later: bool
) -> None:
    entry = pending(key=SK_KEY, verify_required=True)
    assert "verify-required" in await agent.line(SK_KEY)
    ticket = await agent.ticket(SK_KEY)
    entry["verify_required"] = wanted_later
    clock.move(3)
    await agent.report(ticket, public=SK_KEY, code="482913")
    assert last(identity, "/accept").json["verified"] is True


async def test_code_of_a_challenge_without_a_name_is_asked_for_and_sent(agent: Agent, identity: IdentityServer) -> None:
    identity.entries.append({"user": "alice", "authorized_key": KEY, "binding": "code_in"})
    identity.replies["/accept"] = reply_json({"state": "accepted"})
    ticket = await agent.ticket()
    assert (await agent.report(ticket))["state"] == "code_required"
    assert (await agent.report(ticket, code="12345678"))["state"] == "accepted"
    sent = last(identity, "/accept").json
    assert (sent["code"], "challenge" in sent, "fingerprint" in sent) == ("12345678", False, True)


# --- several logins that show their code in ssh

WAITING = {
    "error": "choice_required",
    "choices": [
        {"challenge": "c2", "context": {"app": "Mail", "ip": "203.0.113.9", "started_at": "2026-11-22T11:59:57Z"}},
        {"challenge": "c1", "context": CONTEXT},
    ],
}
CHOICES = {"app_a": "Mail", "address_a": "203.0.113.9", "age_a": "3", "app_b": "Wiki", "address_b": "198.51.100.7"}


async def test_person_chooses_among_several_waiting_logins(
    agent: Agent, identity: IdentityServer, pending: Any
) -> None:
    """Finding S4: ssh showed the code of the login that a stranger had begun last."""
    pending(binding="code_back")
    pending(binding="code_back", challenge="c2")
    identity.replies["/accept"] = reply_json(WAITING, 409)
    ticket = await agent.ticket()
    answer = await agent.report(ticket)
    assert answer == {"state": "choice_required", "choices": "2", "reference": ID, "age_b": "20"} | CHOICES
    identity.replies["/accept"] = reply_json({"state": "presented", "code": "550127"})
    assert (await agent.report(ticket, choice="2"))["code"] == "550127"
    assert last(identity, "/accept").json["challenge"] == "c1"


async def test_choice_stays_possible_after_an_answer_without_a_list(
    agent: Agent, identity: IdentityServer, pending: Any
) -> None:
    pending(binding="code_back")
    ticket = await agent.ticket()
    for reply in (reply_json(WAITING, 409), reply_json({"error": "confirm_required"}, 403)):
        identity.replies["/accept"] = reply
        await agent.report(ticket)
    identity.replies["/accept"] = reply_json({"state": "presented", "code": "550127"})
    assert (await agent.report(ticket, choice="1", confirmed="yes"))["state"] == "presented"
    assert last(identity, "/accept").json["challenge"] == "c2"


@pytest.mark.parametrize("choice", ["0", "3", "9", "10", "c1", "-1", "\u0661"])
async def test_number_that_was_not_listed_chooses_nothing(
    agent: Agent, identity: IdentityServer, pending: Any, choice: str
) -> None:
    pending(binding="code_back")
    ticket = await agent.ticket()
    identity.replies["/accept"] = reply_json(WAITING, 409)
    await agent.report(ticket)
    identity.calls.clear()
    assert (await agent.report(ticket, choice=choice))["state"] == "refused"
    assert identity.count("/accept") == 0


async def test_choice_without_a_list_chooses_nothing(agent: Agent, identity: IdentityServer, pending: Any) -> None:
    pending(binding="code_back")
    assert (await agent.report(await agent.ticket(), choice="1"))["state"] == "refused"
    assert identity.count("/accept") == 0


# --- processes that wait


@pytest.mark.parametrize("question", ["code_required", "confirm_required", "choice_required"])
async def test_logins_that_wait_for_a_person_are_bounded_for_each_key(
    agent: Agent, identity: IdentityServer, pending: Any, events: io.StringIO, question: str
) -> None:
    pending(binding="code_in" if question == "code_required" else "none")
    identity.replies["/accept"] = reply_json(WAITING | {"error": question}, 409)
    tickets = []
    for number in range(9):
        line = await agent.line(request_id=f"{number:032x}")
        tickets.append(re.search(r"--ticket ([\w-]+)\"", line)[1])  # type: ignore[index]
    states = [(await agent.report(ticket))["state"] for ticket in tickets]
    assert states == [question] * 8 + ["too_many_prompts"]
    assert agent.factor.outcomes == {question: 8, "too_many_prompts": 1}
    assert [event["reason"] for event in logged(events, "login.refused")] == ["too_many_prompts"]
    identity.replies["/accept"] = reply_json({"error": "invalid_code"}, 403)
    assert (await agent.report(tickets[8], code="1"))["state"] == "invalid_code"  # a code needs no prompt
    assert (await agent.report(tickets[0], code="1"))["state"] == "invalid_code"  # this process waits no more
    identity.replies["/accept"] = reply_json(WAITING | {"error": question}, 409)
    assert (await agent.report(tickets[8]))["state"] == question


async def test_login_without_verification_does_not_wait_for_the_one_with(agent: Agent, pending: Any) -> None:
    """Finding S3: a stranger's login put `verify-required` on the line of another login."""
    pending(key=SK_KEY)
    pending(key=SK_KEY, challenge="c2", verify_required=True)
    assert "verify-required" not in await agent.line(SK_KEY)
