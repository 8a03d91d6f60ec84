"""Tests a clock that is set back by an hour: nothing lives longer, and no lock-out lasts longer."""

import asyncio
import io
import json
from base64 import urlsafe_b64decode
from datetime import timedelta
from functools import partial

import pytest
from fakes import public_keys
from service.service import Clock
from sqlalchemy import select

from sshaft.public_key import parse
from sshaft_identity.audit.chain import seal, verify
from sshaft_identity.challenges.attempts import Attempt
from sshaft_identity.challenges.challenge import State, Verdict
from sshaft_identity.challenges.challenges import Opened, Wish
from sshaft_identity.challenges.limits import WINDOW, Limits, Subject, count, locked_until
from sshaft_identity.challenges.limits import Scope as Counted
from sshaft_identity.clients.clients import Client, Scope
from sshaft_identity.common.times import CLOCK_TOLERANCE
from sshaft_identity.database.changes import Changes, watch_clock
from sshaft_identity.database.tables import audit_events
from sshaft_identity.enrolment.enrolment import Presentation
from sshaft_identity.enrolment.enrolment import State as Enrolment
from sshaft_identity.enrolment.enrolment import Verdict as Enrolled
from sshaft_identity.people.key_policy import KeyPolicy
from sshaft_identity.people.sessions import Method, Proof, Sessions, SessionTimes
from sshaft_identity.service.background import repeat
from sshaft_identity.service.purge import batches, run
from sshaft_identity.signing.signing_keys import ROTATION_WAIT, Algorithm
from sshaft_identity.store import Store

HOUR = 3600
KEY = parse(public_keys.ed25519("new"))


def open_for(store: Store, clock: Clock, user: str | None = "alice") -> Opened:
    return store.challenges.open(Wish(user, timedelta(minutes=5)), clock())


def attempt(opened: Opened, name: str | None = None) -> Attempt:
    return Attempt("alice", code=opened.code, name=name)


@pytest.fixture(autouse=True)
def alice(store: Store, clock: Clock) -> None:
    store.users.add("alice", clock())


@pytest.mark.parametrize("user", ["alice", None])
def test_an_earlier_code_is_expired_and_stays_expired(store: Store, clock: Clock, user: str | None) -> None:
    opened = open_for(store, clock, user)
    clock.advance(-HOUR)
    assert store.challenges.accept(attempt(opened), clock()).verdict is Verdict.EXPIRED
    found = store.challenges.get(opened.challenge.id)
    assert found
    assert (found.state, found.state_at(clock())) == (State.PENDING, State.EXPIRED)
    done = {batch.rule: batch.rows for batch in batches(store.database, clock())}
    assert done["challenges_ahead"] == 1
    clock.advance(HOUR)  # the clock is right again, and the challenge stays expired
    assert store.challenges.accept(attempt(opened), clock()).verdict in (Verdict.EXPIRED, Verdict.NO_CHALLENGE)


def test_an_expired_code_stays_expired(store: Store, clock: Clock) -> None:
    opened = open_for(store, clock)
    clock.advance(301)
    assert store.challenges.accept(attempt(opened), clock()).verdict is Verdict.EXPIRED
    clock.advance(-HOUR)
    assert store.challenges.accept(attempt(opened), clock()).verdict is Verdict.EXPIRED


def test_a_new_challenge_passes_beside_an_earlier_one(store: Store, clock: Clock) -> None:
    before = open_for(store, clock, None)
    clock.advance(-HOUR)
    now = open_for(store, clock)
    assert store.challenges.accept(attempt(before), clock()).verdict is Verdict.EXPIRED
    assert store.challenges.accept(attempt(now), clock()).verdict is Verdict.ACCEPTED


def test_hosts_with_clocks_less_than_a_minute_apart_share_challenges(store: Store, clock: Clock) -> None:
    opened = open_for(store, clock)
    clock.advance(-CLOCK_TOLERANCE.total_seconds())
    assert store.challenges.accept(attempt(opened), clock()).verdict is Verdict.ACCEPTED


def test_an_accepted_challenge_is_consumed_once_and_a_repeated_accept_succeeds(store: Store, clock: Clock) -> None:
    opened = open_for(store, clock)
    assert store.challenges.accept(attempt(opened, "first"), clock()).verdict is Verdict.ACCEPTED
    clock.advance(-HOUR)
    assert store.challenges.accept(attempt(opened, "first"), clock()).verdict is Verdict.ACCEPTED
    assert store.challenges.accept(attempt(opened, "second"), clock()).verdict is Verdict.ALREADY_USED
    assert store.challenges.consume(opened.challenge.id, clock())
    assert not store.challenges.consume(opened.challenge.id, clock())


def test_an_earlier_access_token_is_refused_and_a_new_one_is_valid(store: Store, clock: Clock) -> None:
    store.clients.add(Client("web", frozenset([Scope.CHALLENGES])), clock())
    (client,) = store.clients.all()
    before = store.access_tokens.issue(client, client.scopes, clock())
    assert before
    clock.advance(-HOUR)
    assert store.access_tokens.client_of(before, clock()) is None
    now = store.access_tokens.issue(client, client.scopes, clock())
    assert now
    assert store.access_tokens.client_of(now, clock()) == client


@pytest.mark.parametrize("times", [SessionTimes(), SessionTimes(idle=8 * HOUR, longest=HOUR)])
def test_an_earlier_session_is_over(store: Store, clock: Clock, times: SessionTimes) -> None:
    sessions = Sessions(store.database, times)
    before = sessions.start("alice", Proof(Method.SSH, clock()), clock())
    assert before
    clock.advance(-HOUR)
    assert sessions.of_token(before.token, clock()) is None
    now = sessions.start("alice", Proof(Method.SSH, clock()), clock())
    assert now
    assert sessions.of_token(now.token, clock())


def test_an_unused_session_that_ended_stays_over(store: Store, clock: Clock) -> None:
    sessions = Sessions(store.database, SessionTimes())
    clock.advance(-2 * HOUR)
    session = sessions.start("alice", Proof(Method.SSH, clock()), clock())
    assert session
    for _ in range(5):
        clock.advance(20 * 60)
        assert sessions.of_token(session.token, clock())
    clock.advance(31 * 60)
    assert sessions.of_token(session.token, clock()) is None
    clock.advance(-HOUR)
    assert sessions.of_token(session.token, clock()) is None


def test_an_earlier_enrolment_is_expired(store: Store, clock: Clock) -> None:
    invited = store.enrolments.open("alice", clock())
    clock.advance(-HOUR)
    found = store.enrolments.of_page(invited.page_token)
    assert found
    assert found.state_at(clock()) is Enrolment.EXPIRED
    assert store.enrolments.open_until(clock()) is None
    for present, what in ((store.enrolments.present, invited.code),
                          (store.enrolments.present_signed, invited.page_token)):  # fmt: skip
        assert present(what, Presentation(KEY), clock(), KeyPolicy()).verdict is Enrolled.NONE
    again = store.enrolments.open("alice", clock())
    assert store.enrolments.present(again.code, Presentation(KEY), clock(), KeyPolicy()).verdict is Enrolled.PRESENTED


def test_hosts_with_clocks_less_than_a_minute_apart_share_enrolments(store: Store, clock: Clock) -> None:
    invited = store.enrolments.open("alice", clock())
    clock.advance(-CLOCK_TOLERANCE.total_seconds())
    assert store.enrolments.open_until(clock()) == invited.enrolment.expires_at
    assert store.enrolments.present(invited.code, Presentation(KEY), clock(), KeyPolicy()).verdict is Enrolled.PRESENTED


def test_a_key_presented_earlier_cannot_be_confirmed(store: Store, clock: Clock) -> None:
    invited = store.enrolments.open("alice", clock())
    store.enrolments.present(invited.code, Presentation(KEY), clock(), KeyPolicy())
    clock.advance(-HOUR)
    outcome = store.enrolments.confirm(invited.page_token, KEY.fingerprint, clock(), KeyPolicy())
    assert outcome.verdict is Enrolled.NONE
    assert store.keys.all("alice") == []


def test_a_user_is_locked_out_for_at_most_one_window(store: Store, clock: Clock) -> None:
    counted, limits = [Subject(Counted.USER, "alice")], Limits(user=1)
    clock.advance(365 * 86400)  # a clock that was a year ahead counted
    with store.database.write() as connection:
        count(connection, counted, clock())
    clock.advance(-365 * 86400)
    for _ in batches(store.database, clock()):
        pass
    with store.database.write() as connection:
        assert locked_until(connection, counted, limits, clock()) == clock() + WINDOW
    clock.now += WINDOW
    with store.database.write() as connection:
        assert locked_until(connection, counted, limits, clock()) is None


def test_an_earlier_signing_key_continues_to_sign(store: Store, clock: Clock) -> None:
    store.signing_keys.ensure(clock())
    clock.advance(-HOUR)
    assert store.signing_keys.check(clock())
    assert store.signing_keys.sign({"sub": "alice"}, clock(), "x+jwt", Algorithm.RS256)


def test_an_earlier_signing_key_signs_until_verifiers_know_the_next_one(store: Store, clock: Clock) -> None:
    [first] = store.signing_keys.rotate(clock(), Algorithm.ES256)
    clock.advance(-HOUR)
    [second] = store.signing_keys.rotate(clock(), Algorithm.ES256)
    for seconds, kid in ((0, first.kid), (ROTATION_WAIT.total_seconds(), second.kid)):
        clock.advance(seconds)
        token = store.signing_keys.sign({}, clock(), "x+jwt", Algorithm.ES256)
        assert token is not None
        assert json.loads(urlsafe_b64decode(token.split(".")[0] + "=="))["kid"] == kid
    assert [key.kid for key in store.signing_keys.published(clock())] == [second.kid, first.kid]


def test_the_audit_chain_stays_valid_when_times_go_backwards(store: Store, clock: Clock) -> None:
    for seconds in (0, -HOUR, 2 * HOUR, -HOUR):
        clock.advance(seconds)
        open_for(store, clock)
        seal(store.database)
    with store.database.read() as connection:
        times = list(connection.scalars(select(audit_events.c.at).order_by(audit_events.c.seq)))
    assert times != sorted(times)
    assert [head.seq for head in verify(store.database)] == [len(times)]


def test_a_clock_jump_is_logged_and_expired_challenges_are_recorded(
    store: Store, clock: Clock, events: io.StringIO
) -> None:
    opened = open_for(store, clock)

    async def steps() -> None:
        purging = repeat("purge.failed", 0.01, partial(run, store.database, clock))
        tasks = purging, watch_clock(Changes(clock), every=0.01)
        working = asyncio.gather(*tasks)
        await asyncio.sleep(0.1)
        clock.advance(-HOUR)
        for word in ("clock.jumped", "challenges_ahead"):
            while word not in events.getvalue():  # noqa: ASYNC110 - a log has no event to wait for
                await asyncio.sleep(0.01)
        working.cancel()

    asyncio.run(asyncio.wait_for(steps(), 60))
    (jump,) = [line for line in map(json.loads, events.getvalue().splitlines()) if line["event"] == "clock.jumped"]
    assert (jump["seconds"], jump["level"]) == (-HOUR, "error")
    found = store.challenges.get(opened.challenge.id)
    assert found
    assert found.state is State.EXPIRED
