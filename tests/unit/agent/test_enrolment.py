"""Keys that nobody owns: what line they get, and what their ticket can do. The identity service is a real server."""

import asyncio
import io
import json
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import public_keys
from fakes.identity_server import ERROR, Call, IdentityServer, Reply, reply_json
from unit.agent.agent import ID, SOCKET, Agent, agent_of

from sshaft import public_key
from sshaft.errors import RemoteServiceError
from sshaft.randomart import randomart
from sshaft_agent import enrolment

KEY = public_keys.ed25519("stranger")
ALICES = public_keys.ed25519("alice")
CONTRACT = json.loads((Path(__file__).parents[2] / "contract" / "enrol.json").read_text())


@pytest.fixture
def agent(identity: IdentityServer, clock: Any) -> Iterator[Agent]:
    made = agent_of(identity, clock, KEY, "enrol", mfa_enrol_endpoint=f"{identity.url}/enrol")
    yield made
    made.close()


@pytest.fixture
def is_open(identity: IdentityServer, clock: Any) -> None:
    """An enrolment is open, and the service filters: a key that it lists is alice's."""

    def keys(call: Call) -> Reply:
        (wanted,) = call.query["fingerprint"]
        if wanted == public_key.parse(ALICES).fingerprint:
            return reply_json([{"user": "alice", "authorized_key": ALICES, "challenge": None}])
        return reply_json([{"enrolment": "open", "expires_at": clock.later(600)}])

    identity.replies["/keys"] = keys
    identity.replies["/enrol"] = reply_json({"state": "presented"})


def run(steps: Coroutine[Any, Any, None]) -> None:
    asyncio.run(steps)


def presentations(identity: IdentityServer) -> list[Any]:
    return [call.json for call in identity.calls if call.path == "/enrol"]


@pytest.mark.usefixtures("is_open")
def test_the_line_is_made_of_the_offered_key_restricted_and_short_lived(agent: Agent) -> None:
    async def steps() -> None:
        line, ticket = await agent.line(), await agent.ticket()
        command = f"/sshaft/login --agent {SOCKET} --ticket {ticket}"
        assert line == f'restrict,command="{command}",expiry-time="20261122120200Z" {KEY}\n'

    run(steps())


def test_a_line_ends_with_the_last_enrolment(agent: Agent, identity: IdentityServer, clock: Any) -> None:
    identity.replies["/keys"] = reply_json([{"enrolment": "open", "expires_at": clock.later(30)}])

    async def steps() -> None:
        assert 'expiry-time="20261122120030Z"' in await agent.line()

    run(steps())


def test_without_an_endpoint_an_unknown_key_gets_nothing(identity: IdentityServer, clock: Any) -> None:
    identity.replies["/keys"] = reply_json([{"enrolment": "open", "expires_at": clock.later(600)}])
    agent = agent_of(identity, clock, KEY, "enrol")

    async def steps() -> None:
        assert await agent.line() == ""

    try:
        run(steps())
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
        # a list of other people's keys is no answer about this one
        [{"enrolment": "open", "expires_at": "2026-11-22T12:10:00Z"}, {"user": "alice", "authorized_key": ALICES}],
    ],
    ids=["none", "closed", "no end", "no zone", "over", "no word", "no filter"],
)
def test_any_other_answer_opens_nothing(agent: Agent, identity: IdentityServer, answer: Any) -> None:
    identity.replies["/keys"] = reply_json(answer)

    async def steps() -> None:
        assert await agent.line() == ""

    run(steps())


@pytest.mark.usefixtures("is_open")
def test_a_type_that_is_not_allowed_gets_nothing(identity: IdentityServer, clock: Any) -> None:
    more = {"allowed_key_types": ["ecdsa-sha2-nistp256"], "mfa_enrol_endpoint": f"{identity.url}/enrol"}
    agent = agent_of(identity, clock, KEY, "enrol", **more)

    async def steps() -> None:
        assert await agent.line() == ""
        assert await agent.line(public_keys.ecdsa()) != ""

    try:
        run(steps())
    finally:
        agent.close()


@pytest.mark.usefixtures("is_open")
def test_a_code_is_presented_with_the_key_that_signed(agent: Agent, identity: IdentityServer) -> None:
    async def steps() -> None:
        answer = await agent.report(await agent.ticket(), code="58217741")
        key = public_key.parse(KEY)
        expected = {"fingerprint": key.fingerprint, "randomart": "\n".join(randomart(key))}
        assert answer == {"state": "presented", "reference": ID} | expected

    run(steps())
    key = public_key.parse(KEY)
    body = {"code": "58217741", "authorized_key": KEY, "fingerprint": key.fingerprint, "client_ip": "192.0.2.7"}
    assert presentations(identity) == [body]
    assert set(body) == set(CONTRACT["request"]["body"])


@pytest.mark.usefixtures("is_open")
@pytest.mark.parametrize("kind", ["accept", "reject"])
def test_such_a_ticket_can_neither_accept_nor_reject(agent: Agent, identity: IdentityServer, kind: str) -> None:
    async def steps() -> None:
        answer = await agent.report(await agent.ticket(), kind, code="482913")
        assert answer["state"] == "not_registered"

    run(steps())
    assert {call.path for call in identity.calls} == {"/token", "/keys"}


@pytest.mark.usefixtures("is_open")
def test_a_ticket_presents_one_code(agent: Agent, identity: IdentityServer) -> None:
    identity.replies["/enrol"] = reply_json({"error": "invalid_code"}, 403)

    async def steps() -> None:
        ticket = await agent.ticket()
        assert (await agent.report(ticket, code="00000000"))["state"] == "invalid_code"
        assert (await agent.report(ticket, code="00000001"))["state"] == "invalid_ticket"

    run(steps())
    assert len(presentations(identity)) == 1


@pytest.mark.usefixtures("is_open")
def test_a_ticket_of_another_key_is_burnt(agent: Agent, identity: IdentityServer) -> None:
    async def steps() -> None:
        ticket = await agent.ticket()
        assert (await agent.report(ticket, public=ALICES, code="58217741"))["state"] == "wrong_key"
        assert (await agent.report(ticket, code="58217741"))["state"] == "invalid_ticket"

    run(steps())
    assert presentations(identity) == []


@pytest.mark.usefixtures("is_open")
def test_a_missing_code_spends_nothing(agent: Agent) -> None:
    async def steps() -> None:
        ticket = await agent.ticket()
        assert (await agent.report(ticket))["state"] == "code_required"
        assert (await agent.report(ticket, code="58217741"))["state"] == "presented"

    run(steps())


@pytest.mark.usefixtures("is_open")
def test_a_registered_key_may_present_a_code_too_and_hears_why_not(agent: Agent, identity: IdentityServer) -> None:
    identity.replies["/enrol"] = reply_json({"error": "key_taken"}, 409)

    async def steps() -> None:
        ticket = await agent.ticket(ALICES)
        assert (await agent.report(ticket, public=ALICES, code="58217741"))["state"] == "key_taken"
        assert (await agent.report(ticket, public=ALICES, code="58217741"))["state"] == "invalid_ticket"

    run(steps())


@pytest.mark.parametrize("ticket", ["", "t", "tAAAAAAAAAAAAAAAAAAAAAAAA"])
def test_a_guessed_ticket_presents_nothing(agent: Agent, identity: IdentityServer, ticket: str) -> None:
    async def steps() -> None:
        assert await agent.report(ticket, code="58217741") == {"state": "invalid_ticket"}

    run(steps())
    assert identity.calls == []


@pytest.mark.usefixtures("is_open")
def test_a_ticket_ends_after_two_minutes(agent: Agent, clock: Any) -> None:
    async def steps() -> None:
        ticket = await agent.ticket()
        clock.move(120)
        assert (await agent.report(ticket, code="58217741"))["state"] == "invalid_ticket"

    run(steps())


@pytest.mark.usefixtures("is_open")
def test_strangers_keys_take_no_tickets_from_those_who_log_in(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enrolment, "MAX_TICKETS", 3)
    agent.factor.enrolment = enrolment.Enrolment(SOCKET, agent.factor._clock, agent.factor._now)  # noqa: SLF001

    async def steps() -> None:
        for number in range(3):
            assert await agent.line(public_keys.ed25519(f"stranger-{number}"))
        assert await agent.line(public_keys.ed25519("one-more")) == ""
        assert await agent.line(ALICES) != ""

    run(steps())
    assert len(agent.factor.tickets) == 1


@pytest.mark.usefixtures("is_open")
@pytest.mark.parametrize("example", CONTRACT["examples"], ids=lambda example: example["name"])
def test_answers_of_the_contract_are_told_to_the_person(
    agent: Agent, identity: IdentityServer, example: dict[str, Any]
) -> None:
    response, outcome = example["response"], example["outcome"]
    identity.replies["/enrol"] = reply_json(response["body"], response["status"])

    async def steps() -> None:
        answer = await agent.report(await agent.ticket(), code="58217741")
        assert (answer["state"], answer.get("reason")) == (outcome["state"], outcome["reason"])

    run(steps())


@pytest.mark.usefixtures("is_open")
@pytest.mark.parametrize(
    "reply",
    [ERROR, Reply(404), Reply(200, b"", {"Location": "x"}), reply_json({"error": "insufficient_scope"}, 403)],
    ids=["500", "no such address", "200", "scope"],
)
def test_what_is_broken_is_a_failure_and_sent_once(agent: Agent, identity: IdentityServer, reply: Reply) -> None:
    identity.replies["/enrol"] = reply

    async def steps() -> None:
        answer = await agent.report(await agent.ticket(), code="58217741")
        assert answer["state"] == ("presented" if reply.status == 200 else "unavailable")

    run(steps())
    assert len(presentations(identity)) == 1


@pytest.mark.usefixtures("is_open")
def test_the_log_has_no_code_and_no_ticket(agent: Agent, events: io.StringIO) -> None:
    tickets: list[str] = []

    async def steps() -> None:
        tickets.append(await agent.ticket())
        await agent.report(tickets[0], code="58217741")

    run(steps())
    assert "enrol.presented" in events.getvalue()
    assert "58217741" not in events.getvalue()
    assert tickets[0] not in events.getvalue()


def test_a_service_that_is_down_is_a_failure_and_no_line(agent: Agent, identity: IdentityServer) -> None:
    identity.replies["/keys"] = ERROR

    async def steps() -> None:
        with pytest.raises(RemoteServiceError):
            await agent.line()

    run(steps())
