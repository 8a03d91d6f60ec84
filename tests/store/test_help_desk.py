"""Tests what the help desk reads, on both databases: the search among many people uses an index, page by page."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from service.service import START, Clock
from sqlalchemy import event, insert, text
from store.test_plans import plan_on_postgresql, plan_on_sqlite, row

from sshaft_identity.challenges.challenge import State
from sshaft_identity.challenges.codes import Codes
from sshaft_identity.challenges.limits import Limits
from sshaft_identity.database.tables import audit_events, challenges, users
from sshaft_identity.desk import report
from sshaft_identity.store import Store

MANY = 10_000
INDEXES = {
    "users": {"uq_users_folded_name", "uq_users_id", "users_pkey", "sqlite_autoindex_users_1"},
    "audit_events": {"ix_audit_events_user_name_at"},
    "challenges": {"ix_challenges_user_name_state_expires_at", "ix_challenges_unsettled"},
}


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """Yields a store with many people: person00000, person00001 and so on."""
    with Store(url, Codes(b"k" * 32)) as store:
        store.database.migrate()
        names = [f"person{number:05}" for number in range(MANY)]
        with store.database.write() as connection:
            people = [{"name": name, "id": name, "created_at": START, "folded_name": name} for name in names]
            connection.execute(insert(users), people)
            known = [
                {"at": START, "event": "challenge.wrong_code", "user_name": name, "user_id": name, "facts": "{}"}
                for name in names
            ]
            connection.execute(insert(audit_events), known)
            over = START - timedelta(hours=1)
            connection.execute(insert(challenges), [row(n, name, State.EXPIRED, over) for n, name in enumerate(names)])
            if store.database.is_postgresql:
                connection.execute(text("ANALYZE"))
        yield store


def test_no_query_of_the_help_desk_scans_a_large_table(store: Store, clock: Clock) -> None:
    said: dict[str, Any] = {}
    event.listen(store.database.engine, "before_cursor_execute", lambda *about: said.update({about[2]: about[3]}))
    assert [each.name for each in store.users.found("PERSON0123", 3)] == ["person01230", "person01231", "person01232"]
    assert [each.name for each in store.users.found("person", 2, "person05000")] == ["person05001", "person05002"]
    with store.database.read() as connection:
        person = report.person_of(connection, "person04321")
        assert person
        found = report.report_of(connection, person, Limits(), clock())
        assert [each.why for each in found.failed] == ["The code was wrong."]
        assert report.waiting_logins(connection, clock()) == []
        assert report.locked_people(connection, Limits(), clock()) == []
    plan = plan_on_postgresql if store.database.is_postgresql else plan_on_sqlite
    steps = []
    with store.database.snapshot() as connection:
        for statement, values in list(said.items()):
            steps += [(*step, statement) for step in plan(connection, statement, values) if step[0] in INDEXES]
    assert {table for table, *_ in steps} == set(INDEXES)
    slow = [step for step in steps if step[1] not in INDEXES[step[0]]]
    assert not slow, json.dumps(slow, indent=1)


@pytest.mark.parametrize(
    ("beginning", "found"),
    [
        ("a", ["a", "A.b", "a_b", "aB"]),
        ("A.", ["A.b"]),
        ("a_", ["a_b"]),
        ("Z", ["z"]),
        ("+", ["+1"]),
        ("%", []),
        ("a\0", []),
    ],
)
def test_search_compares_characters_and_not_words(
    on_postgresql: Store, on_sqlite: Store, clock: Clock, beginning: str, found: list[str]
) -> None:
    """A locale would ignore punctuation, and LIKE would know wildcards. Both databases agree."""
    for store in (on_postgresql, on_sqlite):
        for name in ("a", "aB", "A.b", "a_b", "b", "z", "+1"):
            store.users.add(name, clock())
        assert [each.name for each in store.users.found(beginning, 9)] == found
        assert [each.name for each in store.users.found("", 9)] == ["+1", "a", "A.b", "a_b", "aB", "b", "z"]


def test_name_that_differs_from_an_older_one_in_case_only_is_found_in_full(on_sqlite: Store, clock: Clock) -> None:
    """Revision 0003 left such users."""
    on_sqlite.users.add("alice", clock())
    with on_sqlite.database.write() as connection:
        connection.execute(insert(users), [{"name": "Alice", "id": "1", "created_at": START, "folded_name": None}])
    assert [each.id for each in on_sqlite.users.found("Alice", 9)] == ["1", "alice"]
