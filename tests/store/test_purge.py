"""Tests which rows the background work deletes, and when."""

from collections import Counter
from datetime import timedelta

import pytest
from service.service import Clock
from sqlalchemy import func, select, text

from sshaft_identity.challenges.challenge import State
from sshaft_identity.challenges.challenges import Challenges, Opened, Wish
from sshaft_identity.clients.access_tokens import TOKEN_LIFETIME
from sshaft_identity.clients.clients import Client, Scope
from sshaft_identity.database.tables import access_tokens, metadata
from sshaft_identity.service.purge import BATCH, RULES, Rule, batches
from sshaft_identity.store import Store

MINUTES = timedelta(minutes=5)


def purge(store: Store, clock: Clock) -> dict[str, int]:
    """Purges, and returns the number of rows by rule, without zeros."""
    done: Counter[str] = Counter()
    for batch in batches(store.database, clock()):
        done.update({batch.rule: batch.rows})
    return dict(+done)


def state_of(challenges: Challenges, opened: Opened) -> State | None:
    challenge = challenges.get(opened.challenge.id)
    return challenge.state if challenge else None


def test_a_challenge_expires_in_time_and_is_deleted_after_a_week(store: Store, clock: Clock) -> None:
    opened = store.challenges.open(Wish("alice", MINUTES), clock())
    clock.advance(299.999)
    assert purge(store, clock) == {}
    clock.advance(0.001)
    assert purge(store, clock) == {"challenges_expired": 1}
    assert state_of(store.challenges, opened) is State.EXPIRED
    clock.advance(7 * 24 * 3600 - 300 - 1)
    assert purge(store, clock) == {}
    clock.advance(1)
    assert purge(store, clock) == {"challenges_forgotten": 1}
    assert state_of(store.challenges, opened) is None


def test_a_cancelled_challenge_does_not_expire(store: Store, clock: Clock) -> None:
    opened = store.challenges.open(Wish("alice", MINUTES), clock())
    store.challenges.cancel(opened.challenge.id, clock())
    clock.advance(3600)
    assert purge(store, clock) == {}
    assert state_of(store.challenges, opened) is State.CANCELLED


def test_expired_access_tokens_are_deleted(store: Store, clock: Clock) -> None:
    store.clients.add(Client("web", frozenset([Scope.CHALLENGES])), clock())
    client = store.clients.all()[0]
    for _ in range(3):
        store.access_tokens.issue(client, client.scopes, clock())
        clock.now += TOKEN_LIFETIME / 2
    assert purge(store, clock) == {"access_tokens_forgotten": 2}


def test_many_rows_are_deleted_in_batches(store: Store, clock: Clock) -> None:
    store.clients.add(Client("web", frozenset([Scope.CHALLENGES])), clock())
    rows = [
        {"token_hash": f"{number:064}", "client_id": "web", "scope": "", "expires_at": clock()}
        for number in range(2 * BATCH + 1)
    ]
    with store.database.write() as connection:
        connection.execute(access_tokens.insert(), rows)
    counts = [batch.rows for batch in batches(store.database, clock()) if batch.rule == "access_tokens_forgotten"]
    assert counts == [BATCH, BATCH, 1]
    with store.database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(access_tokens)) == 0


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_no_purge_rule_scans_a_table(on_sqlite: Store, clock: Clock, rule: Rule) -> None:
    query = select(*rule.table.primary_key.columns).where(rule.is_over(clock())).limit(BATCH)
    with on_sqlite.database.read() as connection:
        compiled = query.compile(connection, compile_kwargs={"literal_binds": True})
        plan = [row.detail for row in connection.execute(text(f"EXPLAIN QUERY PLAN {compiled}"))]
    assert not [detail for detail in plan if detail.startswith(tuple(f"SCAN {name}" for name in metadata.tables))], plan


def test_one_of_two_processes_purges(on_postgresql: Store, clock: Clock) -> None:
    on_postgresql.challenges.open(Wish("alice", MINUTES), clock())
    clock.advance(300)
    with on_postgresql.database.write(alone="purge"):
        assert purge(on_postgresql, clock) == {}
    assert purge(on_postgresql, clock) == {"challenges_expired": 1}


def test_a_locked_row_is_left_for_the_next_purge(on_postgresql: Store, clock: Clock) -> None:
    opened = on_postgresql.challenges.open(Wish("alice", MINUTES), clock())
    clock.advance(300)
    with on_postgresql.database.write() as connection:
        connection.execute(text("UPDATE challenges SET tries = 1 WHERE id = :id"), {"id": opened.challenge.id})
        assert purge(on_postgresql, clock) == {}
    assert purge(on_postgresql, clock) == {"challenges_expired": 1}
