"""Tests which wrong codes count, for whom, and until when, on both databases."""

from datetime import timedelta

import pytest
from service.service import START, Clock
from sqlalchemy import insert, select

from sshaft_identity.challenges.challenge import Verdict
from sshaft_identity.challenges.limits import (
    WINDOW,
    Count,
    Limits,
    Scope,
    Subject,
    count,
    forget,
    locked_until,
    locked_users,
    subjects,
    user_locked_until,
)
from sshaft_identity.database.tables import failures
from sshaft_identity.store import Store

LIMITS = Limits(user=3, source=3, client=3, enrol_source=2, enrol_key=2, enrol_all=2)
ALICE, HOST, SHOP = Subject(Scope.USER, "alice"), Subject(Scope.SOURCE, "192.0.2.1"), Subject(Scope.CLIENT, "shop")
SOURCE, KEY = Subject(Scope.ENROL_SOURCE, "192.0.2.1"), Subject(Scope.ENROL_KEY, "k")
ALL = Subject(Scope.ENROL_ALL, "all")
SECOND = timedelta(seconds=1)
Rows = list[tuple[Subject, int, timedelta]]


def fill(store: Store, rows: Rows) -> None:
    """Stores counts: the subject, how often, and when the window ends, from `START` on."""
    with store.database.write() as connection:
        for subject, times, ends in rows:
            connection.execute(insert(failures).values(**subject.key, times=times, ends_at=START + ends))


NEIGHBOURS: Rows = [
    (Subject(Scope.SOURCE, "alice"), 9, WINDOW),
    (Subject(Scope.CLIENT, "alice"), 9, WINDOW),
    (Subject(Scope.USER, "bob"), 9, WINDOW),
    (Subject(Scope.USER, "192.0.2.1"), 9, WINDOW),
    (Subject(Scope.USER, "shop"), 9, WINDOW),
    (Subject(Scope.ENROL_SOURCE, "k"), 9, WINDOW),
    (Subject(Scope.ENROL_KEY, "192.0.2.1"), 9, WINDOW),
]


@pytest.mark.parametrize(
    ("counted", "rows", "ends"),
    [
        ([ALICE], [], None),
        ([ALICE], [(ALICE, 2, WINDOW)], None),
        ([ALICE], [(ALICE, 3, WINDOW)], WINDOW),
        ([ALICE], [(ALICE, 4, SECOND)], SECOND),
        ([ALICE], [(ALICE, 3, timedelta())], None),
        ([SHOP], [(SHOP, 3, WINDOW)], WINDOW),  # a client that asks by a code alone names nobody
        ([ALICE, HOST], [(HOST, 3, WINDOW)], None),
        ([ALICE, HOST], [(ALICE, 1, WINDOW), (HOST, 3, SECOND)], SECOND),
        ([ALICE, HOST], [(ALICE, 1, timedelta()), (HOST, 3, WINDOW)], None),
        ([ALICE, HOST, SHOP], [(ALICE, 3, SECOND), (HOST, 3, WINDOW), (SHOP, 2, 2 * WINDOW)], WINDOW),
        ([ALL, KEY], [(ALL, 2, WINDOW)], WINDOW),  # the address is not known
        ([ALL, KEY, SOURCE], [(ALL, 2, WINDOW)], None),
        ([ALL, KEY, SOURCE], [(ALL, 2, WINDOW), (KEY, 1, SECOND)], WINDOW),
        ([ALL, KEY, SOURCE], [(ALL, 2, WINDOW), (SOURCE, 1, SECOND)], WINDOW),
        ([ALL, KEY, SOURCE], [(SOURCE, 2, SECOND)], SECOND),
        ([ALL, KEY, SOURCE], [(KEY, 2, SECOND)], SECOND),
        ([], [(ALICE, 9, WINDOW)], None),
    ],
)
def test_subject_waits_only_for_its_own_failures(
    store: Store, counted: list[Subject], rows: Rows, ends: timedelta | None
) -> None:
    """Findings S9 and S16: the failures of others stop nobody without failures."""
    fill(store, [*NEIGHBOURS, *rows])
    with store.database.write() as connection:
        until = locked_until(connection, counted, LIMITS, START)
    assert until == (None if ends is None else START + ends)


def test_users_that_are_locked_out_are_found(store: Store) -> None:
    fill(store, [(Subject(Scope.USER, name), times, ends) for name, times, ends in (
        ("alice", 3, WINDOW), ("bob", 2, WINDOW), ("carol", 4, timedelta()), ("dora", 4, SECOND))])  # fmt: skip
    fill(store, [(Subject(Scope.SOURCE, "erik"), 9, WINDOW), (Subject(Scope.CLIENT, "bob"), 9, WINDOW)])
    with store.database.read() as connection:
        assert locked_users(connection, LIMITS, START) == {"alice": START + WINDOW, "dora": START + SECOND}
        found = {
            name: user_locked_until(connection, name, LIMITS, START)
            for name in ("alice", "bob", "carol", "dora", "erik", "frank")
        }
    assert {name: until for name, until in found.items() if until} == {
        "alice": START + WINDOW,
        "dora": START + SECOND,
    }


def test_failure_is_added_to_a_window_that_runs_and_begins_a_new_one_after_it(store: Store, clock: Clock) -> None:
    fill(store, [*NEIGHBOURS, (ALICE, 2, SECOND), (HOST, 2, timedelta())])
    with store.database.write() as connection:
        counts = count(connection, [ALICE, HOST, SHOP], clock(), 2 * SECOND)
    ends = clock() + 2 * SECOND
    assert counts == [Count(ALICE, 3, clock() + SECOND), Count(HOST, 1, ends), Count(SHOP, 1, ends)]
    with store.database.read() as connection:
        stored = {(row.scope, row.subject): row.times for row in connection.execute(select(failures))}
    assert stored == {(subject.scope, subject.name): times for subject, times, _ in NEIGHBOURS} | {
        ("user", "alice"): 3,
        ("source", "192.0.2.1"): 1,
        ("client", "shop"): 1,
    }


def test_window_lasts_an_hour(store: Store, clock: Clock) -> None:
    with store.database.write() as connection:
        assert count(connection, [ALICE], clock()) == [Count(ALICE, 1, clock() + timedelta(hours=1))]


def test_long_names_with_the_same_beginning_share_one_count(store: Store, clock: Clock) -> None:
    name = "x" * 128
    with store.database.write() as connection:
        count(connection, [Subject(Scope.SOURCE, name + "1")], clock())
        (second,) = count(connection, [Subject(Scope.SOURCE, name + "2")], clock())
        assert second.times == 2
        assert not forget(connection, Scope.SOURCE, name[1:])
        assert forget(connection, Scope.SOURCE, name + "3")
        assert not forget(connection, Scope.SOURCE, name)


@pytest.mark.parametrize(
    ("named", "found"),
    [
        ({}, []),
        ({"user": "", "source": "", "clients": [None, ""]}, []),
        ({"user": "alice", "source": "2001:db8:1:2:3::4", "clients": ["web", None, "shop", "web"]},
         ["client shop", "client web", "source 2001:db8:1:2::/64", "user alice"]),
    ],
)  # fmt: skip
def test_subjects_are_in_the_order_in_which_they_are_locked(named: dict[str, object], found: list[str]) -> None:
    assert [f"{each.scope} {each.name}" for each in subjects(**named)] == found  # type: ignore[arg-type]


def test_default_limits_are_small_numbers() -> None:
    most = Limits()
    assert [most.of(scope) for scope in Scope] == [10, 1000, 30, 3, 3, 60]


def test_wrong_printed_codes_count_for_their_client(store: Store, clock: Clock) -> None:
    """A client that asks for the owner of a code names nobody: its limit is its own number."""
    for verdict in (Verdict.INVALID_CODE, Verdict.INVALID_CODE, Verdict.TOO_MANY_ATTEMPTS):
        answer = store.challenges.of_printed("12345678", "shop", 2, clock())
        assert answer.verdict is verdict
    assert answer.retry_at == clock() + WINDOW
    assert store.challenges.of_printed("12345678", "web", 2, clock()).verdict is Verdict.INVALID_CODE
