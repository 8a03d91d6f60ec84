"""Writes keys and challenges by the million, straight into the database of an identity service that does not run."""

import hashlib
from base64 import b64encode
from collections.abc import Iterable, Iterator
from time import time
from typing import Any

from sqlalchemy import Connection, text

from bench.progress import say
from sshaft_identity.database.database import Database

KEYS_EACH = 5
"""Registered keys of a user: `user0` has the keys with the numbers 0 to 4."""

Row = tuple[object, ...]

# PostgreSQL builds its indexes after the rows are in: one sort is faster than ten million insertions.
_DROP_INDEXES = (
    "ALTER TABLE ssh_keys DROP CONSTRAINT ssh_keys_user_name_fkey, DROP CONSTRAINT ssh_keys_pkey",
    "DROP INDEX ix_ssh_keys_user_name",
)
_MAKE_INDEXES = (
    "SET LOCAL maintenance_work_mem = '512MB'",
    "ALTER TABLE ssh_keys ADD PRIMARY KEY (fingerprint)",
    "CREATE INDEX ix_ssh_keys_user_name ON ssh_keys (user_name)",
    "ALTER TABLE ssh_keys ADD FOREIGN KEY (user_name) REFERENCES users (name) ON DELETE CASCADE",
)
_LARGE_CACHE = "PRAGMA cache_size = -1000000"


def microseconds(seconds: float = 0) -> int:
    """Returns the time in `seconds` from now, as it stands in the tables."""
    return int((time() + seconds) * 1_000_000)


def blob_of(number: int) -> bytes:
    """Returns the blob of a well-formed Ed25519 public key. Nobody can sign with the key."""
    return b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + hashlib.sha256(f"bench {number}".encode()).digest()


def fingerprint_of(blob: bytes) -> str:
    return "SHA256:" + b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def fill_keys(database: Database, numbers: range) -> None:
    """Writes the keys with these numbers, and their users. Both ends of the range must be multiples of KEYS_EACH."""
    people = range(numbers.start // KEYS_EACH, numbers.stop // KEYS_EACH)
    columns = ("fingerprint", "user_name", "type", "blob", "name", "source", "created_at")
    with database.write() as connection:
        _insert(connection, "users", ("name", "created_at"), ((f"user{n}", 0) for n in people))
        if not database.is_postgresql:
            _insert(connection, "ssh_keys", columns, sorted(map(_key, numbers)))
            return
        for statement in _DROP_INDEXES:
            connection.execute(text(statement))
        _insert(connection, "ssh_keys", columns, map(_key, numbers))
        for statement in _MAKE_INDEXES:
            say(statement)
            connection.execute(text(statement))


def fill_challenges(database: Database, rows: Iterable[Row]) -> None:
    columns = ("id", "user_name", "code_index", "page_hash", "state", "created_at", "expires_at",
               "client_id", "binding", "verify_required", "tries", "code_hmac", "app", "verified")  # fmt: skip
    with database.write() as connection:
        _insert(connection, "challenges", columns, rows)


def of_users(count: int, users: int, ends: int) -> Iterator[Row]:
    """Yields pending challenges, one for each user: for half of the users, then for names that do not exist."""
    for n in range(count):
        yield _challenge(f"pending {n}", f"user{n}" if n < users // 2 else f"stranger{n}", ends + n)


def of_one(user: str, count: int, ends: int) -> Iterator[Row]:
    """Yields challenges of one user that have ended, in all final states."""
    states = ("expired", "cancelled", "consumed", "rejected")
    for n in range(count):
        yield _challenge(f"over {n}", user, ends + n, states[n % len(states)])


def of_nobody(count: int, ends: int) -> Iterator[Row]:
    """Yields pending challenges without a user."""
    for n in range(count):
        yield _challenge(f"nobody {n}", None, ends + n)


def _challenge(name: str, user: str | None, ends: int, state: str = "pending") -> Row:
    page = hashlib.sha256(name.encode()).hexdigest()
    code = page[::-1] if user is None else None
    # No challenge begins later than now: the service would end it.
    created = min(ends, microseconds()) - 3600 * 1_000_000
    return page[:32], user, code, page, state, created, ends, "bench", "code_in", False, 0, page, "bench", False


def _key(number: int) -> Row:
    blob = blob_of(number)
    return fingerprint_of(blob), f"user{number // KEYS_EACH}", "ssh-ed25519", blob, "", "bench", 0


def _insert(connection: Connection, table: str, columns: tuple[str, ...], rows: Iterable[Row]) -> None:
    driver: Any = connection.connection.driver_connection
    names = ", ".join(columns)
    if connection.dialect.name == "postgresql":
        with driver.cursor().copy(f"COPY {table} ({names}) FROM STDIN") as copy:
            for row in _with_progress(table, rows):
                copy.write_row(row)
    else:
        driver.execute(_LARGE_CACHE)
        driver.executemany(
            f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(columns))})",  # noqa: S608 - our own names
            _with_progress(table, rows),
        )


def _with_progress(table: str, rows: Iterable[Row]) -> Iterator[Row]:
    for number, row in enumerate(rows, 1):
        yield row
        if number % 500_000 == 0:
            say(f"  {table}: {number:,} rows")


def settle(database: Database) -> None:
    """Does at once what PostgreSQL's autovacuum does within a minute or two."""
    if database.is_postgresql:
        say("VACUUM ANALYZE")
        with database.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            connection.execute(text("VACUUM ANALYZE"))
            connection.execute(text("CHECKPOINT"))
