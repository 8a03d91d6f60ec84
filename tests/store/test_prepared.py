"""Tests that a prepared statement has the same effect as the statement in SQLAlchemy."""

from datetime import timedelta

import pytest
from service.service import Clock
from sqlalchemy import bindparam, event, insert, select, text, update
from sqlalchemy.exc import IntegrityError, ProgrammingError, SQLAlchemyError

from sshaft_identity.clients.clients import Client
from sshaft_identity.database.prepared import Prepared
from sshaft_identity.database.tables import clients, users
from sshaft_identity.store import Store

NAMED = select(clients).where(clients.c.client_id == bindparam("name"))
INSERT = Prepared(insert(users))


@pytest.fixture(autouse=True)
def web(store: Store, clock: Clock) -> None:
    store.clients.add(
        Client("web", frozenset([]), allows_unbound=True, return_urls=["https://app.example.org/"]), clock()
    )
    store.clients.rotate_secret("web", clock(), timedelta(hours=1))


def test_rows_equal_those_of_sqlalchemy(store: Store) -> None:
    with store.database.read() as connection:
        (row,) = Prepared(NAMED).all(connection, {"name": "web"})
        assert row._asdict() == connection.execute(NAMED, {"name": "web"}).one()._asdict()
        assert row.allows_unbound is True
        assert row.created_at.tzinfo is not None
        assert Prepared(NAMED).first(connection, {"name": "nobody"}) is None


def test_fixed_and_given_values_are_both_bound(store: Store, clock: Clock) -> None:
    later = clock() + timedelta(days=1)
    change = update(clients).where(clients.c.client_id == bindparam("name"), clients.c.allows_unbound.is_(True))
    change = change.values(created_at=bindparam("at"), allows_unbound=False).returning(clients)
    with store.database.write() as connection:
        (row,) = Prepared(change).all(connection, {"name": "web", "at": later})
    assert (row.created_at, row.allows_unbound) == (later, False)


def test_a_text_is_never_executed_as_sql(store: Store, clock: Clock) -> None:
    name = "a' OR '1'='1 %s ? :name %(name)s"
    with store.database.write() as connection:
        INSERT.all(connection, {"name": name, "id": "1", "folded_name": name, "created_at": clock()})
        assert Prepared(select(users.c.name)).all(connection, {}) == [(name,)]
    with store.database.read() as connection:
        assert Prepared(NAMED).all(connection, {"name": name}) == []


def test_an_error_has_the_type_of_sqlalchemy_and_undoes_the_transaction(store: Store, clock: Clock) -> None:
    def twice() -> None:
        with store.database.write() as connection:
            for _ in range(2):
                INSERT.all(connection, {"name": "alice", "id": "1", "folded_name": "alice", "created_at": clock()})

    with pytest.raises(IntegrityError):
        twice()
    assert store.users.all() == []


def test_a_missing_value_raises_key_error(store: Store) -> None:
    with store.database.read() as connection, pytest.raises(KeyError):
        Prepared(NAMED).all(connection, {})


def test_listeners_of_sqlalchemy_see_these_statements(store: Store) -> None:
    heard: list[str] = []
    with store.database.read() as connection:
        event.listen(connection, "before_cursor_execute", lambda *about: heard.append(str(about[2])))
        Prepared(NAMED).all(connection, {"name": "web"})
    assert any("FROM clients" in each for each in heard)


def test_an_error_does_not_show_the_values(store: Store) -> None:
    with store.database.write() as connection:
        connection.execute(text("ALTER TABLE clients RENAME TO gone"))
    with store.database.read() as connection, pytest.raises(SQLAlchemyError) as told:
        Prepared(NAMED).all(connection, {"name": "sesame"})
    assert isinstance(told.value, ProgrammingError) is store.database.is_postgresql
    assert "sesame" not in str(told.value)
