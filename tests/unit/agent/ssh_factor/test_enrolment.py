"""Tests the lines and tickets of unregistered keys against a small real server."""

import io
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import public_keys
from fakes.identity_server import ERROR, Call, IdentityServer, Reply, reply_json
from unit.agent.ssh_factor.agent import ID, SOCKET, Agent, agent_of, logged

from sshaft import public_key
from sshaft.errors import RemoteServiceError
from sshaft.randomart import randomart

pytestmark = pytest.mark.slow

KEY = public_keys.ed25519("stranger")
ALICES = public_keys.ed25519("alice")
CONTRACT = json.loads((Path(__file__).parents[3] / "contract" / "enrol.json").read_text())


@pytest.fixture
def agent(identity: IdentityServer, clock: Any) -> Iterator[Agent]:
    made = agent_of(identity, clock, KEY, "enrol", mfa_enrol_endpoint=f"{identity.url}/enrol")
    yield made
    made.close()


@pytest.fixture
def is_open(identity: IdentityServer, clock: Any) -> None:
    """Opens an enrolment. The service filters, and lists the key of alice."""

    def keys(call: Call) -> Reply:
        (wanted,) = call.query["fingerprint"]
        if wanted == public_key.parse(ALICES).fingerprint:
            return reply_json([{"user": "alice", "authorized_key": ALICES, "challenge": None}])
        return reply_json([{"enrolment": "open", "expires_at": clock.later(600)}])

    identity.replies["/keys"] = keys
    identity.replies["/enrol"] = reply_json({"state": "presented"})


def presentations(identity: IdentityServer) -> list[Any]:
    return [call.json for call in identity.calls if call.path == "/enrol"]


@pytest.mark.usefixtures("is_open")
async def test_line_of_an_unregistered_key_is_restricted(agent: Agent, events: io.StringIO) -> None:
    line, ticket = await agent.line(), await agent.ticket()
    (event, _) = logged(events, "keys.listed_for_enrolment")
    assert (event["request_id"], event["fingerprint"]) == (ID, public_key.parse(KEY).fingerprint)
    command = f"/sshaft/login --agent {SOCKET} --ticket {ticket}"
    assert line == f'restrict,pty,command="{command}" {KEY}\n'


async def test_ticket_ends_with_the_last_enrolment(agent: Agent, identity: IdentityServer, clock: Any) -> None:
    identity.replies["/keys"] = reply_json([{"enrolment": "open", "expires_at": clock.later(30)}])
    ticket = await agent.ticket()
    clock.move(30)
    assert (await agent.report(ticket, code="58217741"))["state"] == "invalid_ticket"


async def test_unknown_key_gets_nothing_without_an_endpoint(identity: IdentityServer, clock: Any) -> None:
    identity.replies["/keys"] = reply_json([{"enrolment": "open", "expires_at": clock.later(600)}])
    agent = agent_of(identity, clock, KEY, "enrol")
    try:
        assert await agent.line() == ""
    finally:
        agent.close()


@pytest.mark.parametrize(
    "answer",
    [
        [],
        [{"enrolment": "closed", "expires_at": "2026-11-22T12:10:00Z"}],
        [{"enrolment": "open"}],
        [{"enrolment": "open", "expires_at": "2026-11-22T12:10:00"}],
        [{"enrolment": "open", "expires_at": "2026-11-22T12:00:00Z"}],
        [{"enrolment": True, "expires_at": "2026-11-22T12:10:00Z"}],
        # a list with other keys says nothing about this key
        [{"enrolment": "open", "expires_at": "2026-11-22T12:10:00Z"}, {"user": "alice", "authorized_key": ALICES}],
    ],
    ids=["none", "closed", "no end", "no zone", "over", "no word", "no filter"],
)
async def test_unknown_key_gets_nothing_after_any_other_answer(
    agent: Agent, identity: IdentityServer, answer: Any
) -> None:
    identity.replies["/keys"] = reply_json(answer)
    assert await agent.line() == ""


@pytest.mark.usefixtures("is_open")
async def test_key_of_a_forbidden_type_gets_nothing(identity: IdentityServer, clock: Any) -> None:
    more = {"allowed_key_types": ["ecdsa-sha2-nistp256"], "mfa_enrol_endpoint": f"{identity.url}/enrol"}
    agent = agent_of(identity, clock, KEY, "enrol", **more)
    try:
        assert await agent.line() == ""
        assert await agent.line(public_keys.ecdsa()) != ""
    finally:
        agent.close()


@pytest.mark.usefixtures("is_open")
async def test_code_is_presented_with_the_key_that_signed(agent: Agent, identity: IdentityServer) -> None:
    answer = await agent.report(await agent.ticket(), code="58217741")
    key = public_key.parse(KEY)
    expected = {"fingerprint": key.fingerprint, "randomart": "\n".join(randomart(key))}
    assert answer == {"state": "presented", "reference": ID} | expected
    key = public_key.parse(KEY)
    body = {"code": "58217741", "authorized_key": KEY, "fingerprint": key.fingerprint, "client_ip": "192.0.2.7"}
    assert presentations(identity) == [body]
    assert set(body) == set(CONTRACT["request"]["body"])


@pytest.mark.usefixtures("is_open")
@pytest.mark.parametrize("kind", ["accept", "reject"])
async def test_enrolment_ticket_can_neither_accept_nor_reject(
    agent: Agent, identity: IdentityServer, kind: str
) -> None:
    answer = await agent.report(await agent.ticket(), kind, code="482913")
    assert answer["state"] == "not_registered"
    assert {call.path for call in identity.calls} == {"/token", "/keys"}


@pytest.mark.usefixtures("is_open")
async def test_key_that_wanted_to_log_in_gets_no_line_for_half_a_minute(agent: Agent, clock: Any) -> None:
    """Finding S21: ssh offered an unknown key first, and never came to the registered key."""
    assert (await agent.report(await agent.ticket(), "accept"))["state"] == "not_registered"
    assert await agent.line() == ""
    assert await agent.line(ALICES) != ""
    clock.move(30)
    assert (await agent.report(await agent.ticket(), code="58217741"))["state"] == "presented"
    assert await agent.line() != ""


@pytest.mark.usefixtures("is_open")
async def test_right_code_is_presented_after_a_wrong_one(agent: Agent, identity: IdentityServer) -> None:
    """Case shared_connection: the next session of the connection brings the right code."""
    identity.replies["/enrol"] = reply_json({"error": "invalid_code"}, 403)
    ticket = await agent.ticket()
    assert (await agent.report(ticket, code="00000000"))["state"] == "invalid_code"
    identity.replies["/enrol"] = reply_json({"state": "presented"})
    assert (await agent.report(ticket, code="58217741"))["state"] == "presented"


@pytest.mark.usefixtures("is_open")
async def test_enrolment_ticket_presents_nothing_for_another_key(agent: Agent, identity: IdentityServer) -> None:
    ticket = await agent.ticket()
    assert (await agent.report(ticket, public=ALICES, code="58217741"))["state"] == "invalid_ticket"
    assert presentations(identity) == []


@pytest.mark.usefixtures("is_open")
async def test_missing_code_spends_no_enrolment_ticket(agent: Agent) -> None:
    ticket = await agent.ticket()
    assert (await agent.report(ticket))["state"] == "code_required"
    assert (await agent.report(ticket, code="58217741"))["state"] == "presented"


@pytest.mark.usefixtures("is_open")
async def test_registered_key_may_present_a_code_and_gets_the_reason_of_the_refusal(
    agent: Agent, identity: IdentityServer
) -> None:
    identity.replies["/enrol"] = reply_json({"error": "key_taken"}, 409)
    ticket = await agent.ticket(ALICES)
    assert (await agent.report(ticket, public=ALICES, code="58217741"))["state"] == "key_taken"


@pytest.mark.parametrize("ticket", ["", "t", "tAAAAAAAAAAAAAAAAAAAAAAAA"])
async def test_guessed_ticket_presents_nothing(agent: Agent, identity: IdentityServer, ticket: str) -> None:
    assert await agent.report(ticket, code="58217741") == {"state": "invalid_ticket"}
    assert identity.calls == []


@pytest.mark.usefixtures("is_open")
async def test_enrolment_ticket_ends_after_two_minutes(agent: Agent, clock: Any) -> None:
    ticket = await agent.ticket()
    clock.move(120)
    assert (await agent.report(ticket, code="58217741"))["state"] == "invalid_ticket"


@pytest.mark.usefixtures("is_open")
async def test_strangers_keys_take_no_line_from_the_invited_person(agent: Agent, clock: Any) -> None:
    """Finding S9: a thousand random keys used up the tickets of enrolments."""
    for number in range(1200):
        clock.move(0.02)  # the agent asks for 50 lists a second at most
        assert await agent.line(public_keys.ed25519(f"stranger-{number}"))
    assert (await agent.report(await agent.ticket(), code="58217741"))["state"] == "presented"


@pytest.mark.usefixtures("is_open")
async def test_processes_of_one_key_that_wait_for_a_code_are_bounded(
    agent: Agent, identity: IdentityServer, events: io.StringIO
) -> None:
    """Finding S9: one throwaway key held a hundred `enrol` prompts."""
    tickets = []
    for number in range(3):
        line = await agent.line(request_id=f"{number:032x}")
        tickets.append(re.search(r"--ticket ([\w-]+)\"", line)[1])  # type: ignore[index]
    states = [(await agent.report(ticket))["state"] for ticket in tickets]
    assert states == ["code_required", "code_required", "too_many_prompts"]
    assert [event["reason"] for event in logged(events, "enrol.refused")] == ["too_many_prompts"]
    identity.replies["/enrol"] = reply_json({"error": "invalid_code"}, 403)
    assert (await agent.report(tickets[0], code="00000000"))["state"] == "invalid_code"
    assert (await agent.report(tickets[2]))["state"] == "code_required"  # the first process waits no more


@pytest.mark.usefixtures("is_open")
async def test_processes_of_strangers_that_wait_for_a_code_are_bounded(agent: Agent) -> None:
    """Finding S9: many throwaway keys of one address are bounded together."""
    states = []
    for number in range(20):
        key = public_keys.ed25519(f"stranger-{number}")
        states.append((await agent.report(await agent.ticket(key), public=key))["state"])
    assert states == ["code_required"] * 8 + ["too_many_prompts"] * 12
    assert (await agent.report(await agent.ticket(), code="58217741"))["state"] == "presented"


@pytest.mark.usefixtures("is_open")
@pytest.mark.parametrize("example", CONTRACT["examples"], ids=lambda example: example["name"])
async def test_answers_of_the_contract_have_their_state_and_reason(
    agent: Agent, identity: IdentityServer, events: io.StringIO, example: dict[str, Any]
) -> None:
    response, outcome = example["response"], example["outcome"]
    identity.replies["/enrol"] = reply_json(response["body"], response["status"])
    answer = await agent.report(await agent.ticket(), code="58217741")
    assert (answer["state"], answer.get("reason")) == (outcome["state"], outcome["reason"])
    refused = [] if outcome["state"] == "presented" else [outcome["reason"] or outcome["state"]]
    assert [event["reason"] for event in logged(events, "enrol.refused")] == refused
    retry_after = response["body"].get("retry_after")
    assert answer.get("retry_after") == (None if retry_after is None else str(retry_after))


@pytest.mark.usefixtures("is_open")
@pytest.mark.parametrize(
    "reply",
    [ERROR, Reply(404), Reply(200, b"", {"Location": "x"}), reply_json({"error": "insufficient_scope"}, 403)],
    ids=["500", "no such address", "200", "scope"],
)
async def test_code_is_sent_once_and_a_failure_is_unavailable(
    agent: Agent, identity: IdentityServer, reply: Reply
) -> None:
    identity.replies["/enrol"] = reply
    answer = await agent.report(await agent.ticket(), code="58217741")
    assert answer["state"] == ("presented" if reply.status == 200 else "unavailable")
    assert len(presentations(identity)) == 1


@pytest.mark.usefixtures("is_open")
async def test_log_has_no_code_and_no_ticket(agent: Agent, events: io.StringIO) -> None:
    tickets: list[str] = []
    tickets.append(await agent.ticket())
    await agent.report(tickets[0], code="58217741")
    (event,) = logged(events, "enrol.presented")
    facts = {"fingerprint": public_key.parse(KEY).fingerprint, "key_type": "ssh-ed25519", "client_ip": "192.0.2.7"}
    assert event == event | facts | {"request_id": ID}
    assert "58217741" not in events.getvalue()
    assert tickets[0] not in events.getvalue()


@pytest.mark.usefixtures("is_open")
async def test_presentation_from_an_unknown_address_names_none(agent: Agent, identity: IdentityServer) -> None:
    await agent.report(await agent.ticket(), code="58217741", client_ip="")
    assert "client_ip" not in presentations(identity)[0]


@pytest.mark.usefixtures("is_open")
async def test_presentation_that_does_not_end_in_time_is_unavailable(
    identity: IdentityServer, clock: Any, events: io.StringIO
) -> None:
    more = {"accept_seconds": 0.5, "mfa_enrol_endpoint": f"{identity.url}/enrol"}
    agent = agent_of(identity, clock, KEY, "enrol", sleep=lambda _: time.sleep(1.2), **more)
    ticket = await agent.ticket()
    identity.replies["/enrol"] = Reply(503)
    began = time.monotonic()
    assert (await agent.report(ticket, code="58217741"))["state"] == "unavailable"
    assert time.monotonic() - began > 0.5
    assert [event["message"] for event in logged(events, "enrol.failed")] == ["no answer in time"]
    agent.close()


@pytest.mark.usefixtures("is_open")
async def test_keys_that_wanted_to_log_in_are_forgotten_after_their_time(agent: Agent, clock: Any) -> None:
    for number in range(3):
        key = public_keys.ed25519(f"stranger-{number}")
        await agent.report(await agent.ticket(key), "accept", key)
        clock.move(15)
    assert len(agent.factor.enrolment._skipped) == 2  # noqa: SLF001 - nothing else tells


async def test_service_that_is_down_is_an_error(agent: Agent, identity: IdentityServer) -> None:
    identity.replies["/keys"] = ERROR
    with pytest.raises(RemoteServiceError):
        await agent.line()
