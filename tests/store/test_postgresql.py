"""Tests behaviour of PostgreSQL alone: URLs, connections, parallel changes and notifications."""

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner
from fakes.postgresql import PostgreSQL
from fakes.public_keys import ed25519
from service.service import Clock, Service
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from sshaft.errors import ConfigurationError, SshaftError
from sshaft.public_key import parse
from sshaft_identity.challenges.attempts import Attempt
from sshaft_identity.challenges.challenge import Challenge, State
from sshaft_identity.challenges.challenges import Wish
from sshaft_identity.challenges.codes import Codes
from sshaft_identity.clients.clients import Client, Scope
from sshaft_identity.commands.identity import identity
from sshaft_identity.common.errors import DatabaseError, RegistryError
from sshaft_identity.database import changes_postgresql
from sshaft_identity.database.changes import Changes
from sshaft_identity.database.database import Database, reason
from sshaft_identity.store import Store

MINUTES = timedelta(minutes=5)
LISTENING = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND (query = 'LISTEN sshaft_changes')"


def at_once(acts: list[Callable[[], object]]) -> list[object]:
    """Returns the results or errors of threads that start together."""
    start = threading.Barrier(len(acts))
    results: list[object] = []

    def run(act: Callable[[], object]) -> None:
        start.wait()
        try:
            results.append(act())
        except Exception as error:  # noqa: BLE001 - looked at by the test
            results.append(error)

    threads = [threading.Thread(target=run, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


# --- how it is named and reached


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg"])
def test_both_url_schemes_use_psycopg_3(postgresql_url: str, scheme: str) -> None:
    database = Database(postgresql_url.replace("postgresql", scheme, 1))
    assert database.engine.dialect.driver == "psycopg"
    database.ping()
    database.close()


@pytest.mark.parametrize(
    "url", ["mysql://me:hunter2@db/x", "postgresql+psycopg2://me:hunter2@db/x", "hunter2", "sqlite://", ""]
)
def test_the_error_for_another_url_does_not_show_its_password(url: str) -> None:
    with pytest.raises(ConfigurationError, match="postgresql://USER@HOST/NAME") as caught:
        Database(url)
    assert "hunter2" not in str(caught.value)


def test_the_error_for_a_missing_server_says_what_to_check(tmp_path: Path) -> None:
    for url in (f"postgresql://me:hunter2@/x?host={tmp_path}", "postgresql://me:hunter2@127.0.0.1:1/x"):
        database = Database(url)
        for step in (database.check, database.migrate):
            with pytest.raises(DatabaseError, match=r"is PostgreSQL running, and is its URL right\?") as caught:
                step()
            assert "hunter2" not in str(caught.value)
            assert "\n" not in str(caught.value)


def test_the_error_for_a_missing_database_names_it(postgresql: PostgreSQL) -> None:
    with pytest.raises(DatabaseError, match='database "nosuch" does not exist'):
        Database(postgresql.url("nosuch")).check()


def test_the_password_may_come_from_a_file(postgresql: PostgreSQL, on_postgresql: Store, tmp_path: Path) -> None:
    postgresql.execute("DO $$ BEGIN CREATE ROLE locked LOGIN SUPERUSER PASSWORD 'hunter2'; "
                       "EXCEPTION WHEN duplicate_object THEN NULL; END $$")  # fmt: skip
    name = on_postgresql.database.engine.url.database
    passfile = tmp_path / "pgpass"
    for password, works in (("wrong", False), ("hunter2", True)):
        passfile.write_text(f"*:*:*:locked:{password}\n")
        passfile.chmod(0o600)
        database = Database(postgresql.url(str(name), "locked") + f"&passfile={passfile}")
        if works:
            database.check()
        else:
            with pytest.raises(DatabaseError, match="password authentication failed"):
                database.check()
        database.close()


def test_no_error_shows_the_password_of_the_url(postgresql: PostgreSQL, tmp_path: Path) -> None:
    postgresql.execute("DO $$ BEGIN CREATE ROLE locked LOGIN SUPERUSER PASSWORD 'hunter2'; "
                       "EXCEPTION WHEN duplicate_object THEN NULL; END $$")  # fmt: skip
    url = postgresql.url("postgres", "locked:swordfish")
    result = CliRunner().invoke(identity, ["--directory", str(tmp_path / "id"), "init", "--database", url])
    assert isinstance(result.exception, SshaftError)
    assert "swordfish" not in str(result.exception) + result.output


def test_a_database_of_another_encoding_is_refused(postgresql: PostgreSQL) -> None:
    postgresql.execute("DROP DATABASE IF EXISTS latin")
    postgresql.execute("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    database = Database(postgresql.url("latin"))
    with pytest.raises(ConfigurationError, match="UTF8"):
        database.migrate()
    database.close()
    postgresql.execute("DROP DATABASE latin")


def test_a_slow_statement_is_ended(on_postgresql: Store) -> None:
    with on_postgresql.database.read() as connection:
        limits = [connection.scalar(text(f"SHOW {name}")) for name in ("statement_timeout", "lock_timeout")]
        assert limits == ["10s", "5s"]
        connection.execute(text("SET statement_timeout = '50ms'"))
        with pytest.raises(OperationalError) as caught:
            connection.execute(text("SELECT pg_sleep(60)"))
        assert reason(caught.value) == "canceling statement due to statement timeout"


def test_a_patient_connection_has_no_time_limits(postgresql_url: str) -> None:
    database = Database(postgresql_url, patient=True)
    with database.read() as connection:
        assert connection.scalar(text("SHOW statement_timeout")) == "0"
    database.close()


def test_options_of_the_url_override_ours(postgresql_url: str) -> None:
    database = Database(postgresql_url + "&options=-c%20statement_timeout%3D3s&application_name=mine")
    with database.read() as connection:
        values = [
            connection.scalar(text(f"SHOW {n}")) for n in ("statement_timeout", "lock_timeout", "application_name")
        ]
    database.close()
    assert values == ["3s", "5s", "mine"]


def test_the_first_request_after_a_lost_connection_does_not_fail(
    postgresql: PostgreSQL, on_postgresql: Store, clock: Clock
) -> None:
    on_postgresql.users.add("alice", clock())
    name = on_postgresql.database.engine.url.database
    ended = postgresql.execute(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'")
    assert ended == [(True,)]
    assert on_postgresql.users.all() == ["alice"]


def test_a_connection_in_use_while_the_store_closes_is_closed_on_return(postgresql_url: str) -> None:
    database = Database(postgresql_url)
    with database.read() as connection:
        driver_connection = connection.connection.driver_connection
        assert driver_connection
        database.close()
        assert connection.scalar(text("SELECT 1")) == 1
        assert not driver_connection.closed
    assert driver_connection.closed


# --- at the same time


def test_init_may_run_on_several_hosts_at_once(empty_url: str) -> None:
    databases = [Database(empty_url) for _ in range(4)]
    assert at_once([database.migrate for database in databases]) == [None] * 4
    databases[0].check()
    for database in databases:
        database.close()


def test_a_key_registered_for_two_users_in_parallel_gets_one_owner(on_postgresql: Store, clock: Clock) -> None:
    for user in ("alice", "bob"):
        on_postgresql.users.add(user, clock())
    for number in range(5):
        key = parse(ed25519(f"k{number}"))

        def add(user: str, key: object = key) -> object:
            return on_postgresql.keys.add(user, [(key, "")], clock())  # type: ignore[list-item]

        results = at_once([lambda: add("alice"), lambda: add("bob")] * 3)
        refused = [each for each in results if isinstance(each, RegistryError)]
        assert len(refused) == 3
        assert results.count([key]) == 1
        assert results.count([]) == 2


@pytest.mark.parametrize("what", ["user", "client"])
def test_a_name_registered_several_times_in_parallel_is_taken_once(
    on_postgresql: Store, clock: Clock, what: str
) -> None:
    def add() -> None:
        if what == "user":
            on_postgresql.users.add("alice", clock())
        else:
            on_postgresql.clients.add(Client("alice", frozenset([Scope.LIST])), clock())

    results = at_once([add] * 8)
    assert sum(isinstance(each, RegistryError) for each in results) == 7


def test_tokens_are_issued_or_refused_while_their_client_is_removed(on_postgresql: Store, clock: Clock) -> None:
    for number in range(5):
        on_postgresql.clients.add(Client(f"c{number}", frozenset([Scope.LIST])), clock())
        client = next(each for each in on_postgresql.clients.all() if each.client_id == f"c{number}")

        def issue(client: object = client) -> object:
            return on_postgresql.access_tokens.issue(client, [Scope.LIST], clock())  # type: ignore[arg-type]

        results = at_once(
            [*[issue] * 6, lambda name=client.client_id: on_postgresql.revocation.remove_client(name, clock())]
        )
        assert not [each for each in results if isinstance(each, Exception)]
        assert issue() is None


def test_challenges_of_one_user_are_opened_one_by_one(on_postgresql: Store, clock: Clock) -> None:
    """Two transactions that read at the same time could give one person the same code twice."""
    with on_postgresql.database.write(alone="codes of alice"):
        on_postgresql.challenges.open(Wish("bob", MINUTES), clock())
        blocked = threading.Thread(target=on_postgresql.challenges.open, args=(Wish("alice", MINUTES), clock()))
        blocked.start()
        blocked.join(0.3)
        assert blocked.is_alive()
        assert [each.user for each in on_postgresql.challenges.recent()] == ["bob"]
    blocked.join()
    assert {each.user for each in on_postgresql.challenges.recent()} == {"alice", "bob"}


def test_a_text_that_postgresql_cannot_store_is_an_invalid_request(service: Service) -> None:
    service.add_user("alice")
    answers = [
        service.call("GET", "/api/v1/challenges/%00", Scope.CHALLENGES),
        service.accept(challenge="a\0b", code="1"),
        service.call("POST", "/oauth2/token", data={"grant_type": "client_credentials", "client_id": "a\0b",
                                                    "client_secret": "x"}),
    ]  # fmt: skip
    assert [answer.status_code // 100 for answer in answers] == [4, 4, 4]
    assert all(answer.json()["error"] for answer in answers)


# --- notifications


class Told:
    """A process that listens. Its waiters read only at the beginning, so a later change comes by a notification."""

    def __init__(self, store: Store, url: str, clock: Clock) -> None:
        self.store, self.url, self.clock = store, url, clock
        self.changes = Changes(clock)

    async def wait(self, challenge: Challenge) -> Challenge:
        async def read() -> Challenge | None:
            return await asyncio.to_thread(self.store.challenges.get, challenge.id)

        return await self.changes.wait(challenge, read, lambda each: each.state is not State.PENDING, 60)

    async def accepted(self, act: Callable[["Told"], None]) -> Challenge:
        """Returns the challenge that a waiter sees after `act` and an accept by another process."""
        listening = asyncio.create_task(changes_postgresql.listen(self.store.database.engine, self.changes))
        await self.listener()
        opened = await asyncio.to_thread(self.store.challenges.open, Wish("alice", MINUTES), self.clock())
        waiting = asyncio.create_task(self.wait(opened.challenge))
        await asyncio.sleep(0.2)
        await asyncio.to_thread(act, self)
        with Store(self.url, Codes(b"k" * 32)) as other:
            other.challenges.accept(Attempt("alice", opened.challenge.id, opened.code), self.clock())
        challenge = await waiting
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        return challenge

    async def listener(self, but: int = 0) -> int:
        """Returns the process id of the server process for the listening connection."""
        while True:
            with self.store.database.read() as connection:
                pid = connection.scalar(text(LISTENING))
            if pid and pid != but:
                return int(pid)
            await asyncio.sleep(0.02)


def test_an_accept_in_another_process_wakes_a_waiter(on_postgresql: Store, postgresql_url: str, clock: Clock) -> None:
    on_postgresql.users.add("alice", clock())
    told = Told(on_postgresql, postgresql_url, clock)
    assert asyncio.run(told.accepted(lambda _: None)).state is State.ACCEPTED


def test_a_lost_connection_is_made_again_and_misses_no_change(
    on_postgresql: Store, postgresql_url: str, clock: Clock
) -> None:
    on_postgresql.users.add("alice", clock())

    def cut(told: Told) -> None:
        with told.store.database.write() as connection:
            connection.execute(text(LISTENING.replace("SELECT pid", "SELECT pg_terminate_backend(pid, 5000)")))

    assert asyncio.run(Told(on_postgresql, postgresql_url, clock).accepted(cut)).state is State.ACCEPTED


def test_a_notification_holds_only_the_id_of_the_challenge(on_postgresql: Store, clock: Clock) -> None:
    url = on_postgresql.database.engine.url
    with psycopg.connect(dbname=url.database, user=url.username, host=url.query["host"], autocommit=True) as connection:  # type: ignore[arg-type]
        connection.execute("LISTEN sshaft_changes")
        opened = on_postgresql.challenges.open(Wish("alice", MINUTES), clock())
        on_postgresql.challenges.cancel(opened.challenge.id, clock())
        assert [each.payload for each in connection.notifies(timeout=30, stop_after=1)] == [opened.challenge.id]
        assert not list(connection.notifies(timeout=0.1))
