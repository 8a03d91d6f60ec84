"""Tests how long a session of a browser lives, and which token it belongs to."""

from datetime import timedelta

import pytest
from service.service import Clock
from store.neighbours import Neighbours, fill

from sshaft_identity.common.digests import digest
from sshaft_identity.common.errors import RegistryError
from sshaft_identity.common.times import CLOCK_TOLERANCE
from sshaft_identity.people.sessions import FRESHNESS, Method, Proof, Sessions, SessionTimes, is_alive
from sshaft_identity.store import Store

SECOND = timedelta(seconds=1)
TIMES = SessionTimes(idle=600, longest=3600)


@pytest.fixture
def neighbours(on_sqlite: Store, clock: Clock) -> Neighbours:
    return fill(on_sqlite, clock)


def test_session_is_found_by_its_token_only(neighbours: Neighbours) -> None:
    session = neighbours.session("alice ssh")
    assert (session.user, session.method, session.fingerprint) == ("alice", Method.SSH, "alice's key")
    assert neighbours.session("bob oidc").fingerprint is None
    for token in ("", "alice", "alice ended", digest("alice ssh")):
        assert neighbours.sessions.of_token(token, neighbours.clock()) is None


def test_text_about_a_session_does_not_hold_its_token(neighbours: Neighbours) -> None:
    assert "alice oidc" not in repr(neighbours.session("alice oidc"))


def test_session_ends_to_the_microsecond(neighbours: Neighbours, clock: Clock) -> None:
    ends = neighbours.session("alice ssh").expires_at
    assert neighbours.sessions.of_token("alice ssh", ends - timedelta(microseconds=1))
    assert neighbours.sessions.of_token("alice oidc", ends) is None
    assert clock() < ends


@pytest.mark.parametrize(("ahead", "lives"), [(CLOCK_TOLERANCE, True), (CLOCK_TOLERANCE + SECOND, False)])
def test_session_of_a_clock_that_is_ahead_lives_for_a_minute_only(
    neighbours: Neighbours, clock: Clock, ahead: timedelta, lives: bool
) -> None:
    assert (neighbours.sessions.of_token("alice ssh", clock() - ahead) is not None) is lives


def test_use_extends_a_session_up_to_its_longest_time(on_sqlite: Store, clock: Clock) -> None:
    on_sqlite.users.add("alice", clock())
    sessions = Sessions(on_sqlite.database, TIMES)
    session = sessions.start("alice", Proof(Method.SSH, clock() - SECOND), clock())
    assert session
    assert session.expires_at == clock() + 600 * SECOND
    for _ in range(6):
        clock.advance(599)
        used = sessions.of_token(session.token, clock())
        assert used
        assert used.authenticated_at == session.authenticated_at
    assert used.expires_at == session.authenticated_at + 3600 * SECOND
    clock.now = used.expires_at
    assert sessions.of_token(session.token, clock()) is None


def test_default_times_are_half_an_hour_and_eight_hours(on_sqlite: Store, clock: Clock) -> None:
    on_sqlite.users.add("alice", clock())
    sessions = Sessions(on_sqlite.database, SessionTimes())
    for age, lives in ((timedelta(), timedelta(minutes=30)), (timedelta(hours=7, minutes=45), timedelta(minutes=15))):
        session = sessions.start("alice", Proof(Method.SSH, clock() - age), clock())
        assert session
        assert session.expires_at == clock() + lives


def test_sign_in_is_fresh_for_ten_minutes(neighbours: Neighbours, clock: Clock) -> None:
    session = neighbours.session("alice ssh")
    assert timedelta(minutes=10) == FRESHNESS
    assert session.is_fresh(clock() + FRESHNESS - SECOND)
    assert not session.is_fresh(clock() + FRESHNESS)


def test_form_belongs_to_one_session(neighbours: Neighbours) -> None:
    mine, other = neighbours.session("alice ssh"), neighbours.session("alice oidc")
    assert mine.owns(mine.form_token)
    assert mine.form_token not in (mine.token, digest(mine.token))
    for token in (other.form_token, "", mine.token, digest("form\0"), "\u00e9"):
        assert not mine.owns(token)


def test_session_that_was_ended_is_not_alive(neighbours: Neighbours) -> None:
    mine, other = neighbours.session("alice ssh"), neighbours.session("alice oidc")
    neighbours.store.revocation.end_session(mine, neighbours.clock())
    with neighbours.store.database.read() as connection:
        assert [is_alive(connection, each) for each in (mine, other)] == [False, True]
    with pytest.raises(RegistryError, match="the session has ended"):
        neighbours.store.enrolments.open("alice", neighbours.clock(), session=mine)
    opened = neighbours.store.enrolments.open("alice", neighbours.clock(), session=other)
    assert opened.enrolment.opened_in == "oidc"


def test_session_of_a_key_names_the_key_in_the_audit_log(neighbours: Neighbours) -> None:
    with neighbours.store.database.write() as connection:
        now = neighbours.clock()
        facts = {"address": "192.0.2.1"}
        session = neighbours.sessions.begin(connection, "bob", Proof(Method.SSH, now, "bob's key"), now, facts)
    assert session
    assert neighbours.session(session.token) == session
    assert neighbours.audited()[-1] == {
        "event": "session.started", "user": "bob", "method": "ssh", "fingerprint": "bob's key", **facts,
    }  # fmt: skip
