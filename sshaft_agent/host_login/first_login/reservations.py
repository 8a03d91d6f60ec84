"""Reserves a uid for a name that the host does not know, while a stranger who typed it may still be approved.

sshd keeps the uid of its first look-up for the whole connection. Another person who got that uid meanwhile would share
it with a login that has begun before. So a name keeps its uid also after the reservation has ended, until the range has
no unused uid left. Then the uid that has waited longest goes to another name. An account that was made keeps its uid.
"""

import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sshaft_agent.host_login.database import Database
from sshaft_agent.host_login.first_login.settings import CreateSettings

_TABLE = """
CREATE TABLE IF NOT EXISTS reservations (
    account TEXT NOT NULL PRIMARY KEY,
    uid INTEGER NOT NULL UNIQUE,
    source TEXT NOT NULL,
    until INTEGER NOT NULL,
    state TEXT NOT NULL
) STRICT, WITHOUT ROWID"""
_REST_SECONDS = 3600
"""A uid rests this long before another name gets it. LoginGraceTime is far shorter."""
_REFRESH_SECONDS = 30
"""A reservation that is younger is not written again: sshd asks several times in one login."""
_MOST_TRIES = 100


@dataclass(frozen=True)
class Reservation:
    """The uid of a name. `until` is in seconds since 1970.

    `state` is `reserved`; `made` from the question to `sshaft-accounts` on; or `refused`, if it does not give this uid.
    """

    account: str
    uid: int
    source: str
    until: int
    state: str


class Reservations:
    """The uids by name. Safe for several threads and processes."""

    def __init__(self, directory: Path, is_free: Callable[[int, str], bool], *, busy_seconds: float = 3.0) -> None:
        """Makes the table if it is missing. Raises `ConfigurationError`.

        `is_free`: whether the host has a uid for nobody else than the account of a name. `busy_seconds` is that of
        `Bindings`.
        """
        self._database = Database(directory, _TABLE, busy_seconds)
        self._is_free = is_free
        self._used_by_others: set[int] = set()
        self._lock = threading.Lock()

    def of(self, account: str) -> Reservation | None:
        """Returns the reservation of a name, also one that has ended. Raises `DatabaseError`."""
        with self._database.reading() as connection:
            return _of(connection, account)

    def reserve(
        self, account: str, source: str, settings: CreateSettings, now: int, fixed: int | None = None
    ) -> int | None:
        """Returns the uid of this name, which is on the disk. None: there is no room. It blocks.

        `fixed` is the only uid that the name may have. Raises `DatabaseError`.
        """
        with self._lock:
            for _ in range(_MOST_TRIES):
                with self._database.transaction("DEFERRED") as connection:
                    known = _of(connection, account)
                    uid = known.uid if known else fixed
                    if uid is None:
                        uid = self._unused(connection, settings, now)
                # The host's sources may be slow, so the database stays open to others meanwhile.
                is_right = fixed is None or uid == fixed
                if uid is None or (is_right and self._is_good(uid, account, known, settings)):
                    break
                if known and known.until > now:
                    return None  # a login that has begun may hold this uid, which is somebody else's now
                if known is None and fixed is not None:
                    return None
                self._used_by_others.add(uid)
                self._forget(uid, now)
            else:
                return None
            return None if uid is None else self._write(account, uid, source, settings, now)

    def _is_good(self, uid: int, account: str, known: Reservation | None, settings: CreateSettings) -> bool:
        is_refused = known is not None and known.state == "refused"
        return not is_refused and settings.uid_first <= uid <= settings.uid_last and self._is_free(uid, account)

    def keep(self, account: str) -> None:
        """Gives the uid of this name to no other name from now on. Raises `DatabaseError`."""
        self._update("state = 'made'", account)

    def end(self, account: str, now: int) -> None:
        """Ends the reservation of a name. Raises `DatabaseError`."""
        self._update("until = min(until, ?)", now, account)

    def refuse(self, account: str) -> None:
        """Gives the uid of this name to nobody from now on. Raises `DatabaseError`.

        The name gets another one after the end of the reservation: until then an sshd may have the old one.
        """
        self._update("state = 'refused'", account)

    def _update(self, change: str, *values: object) -> None:
        with self._database.transaction() as connection:
            connection.execute(f"UPDATE reservations SET {change} WHERE account = ?", values)  # noqa: S608 - ours

    def _forget(self, uid: int, now: int) -> None:
        """Parts a uid that a name cannot have from the name. A uid that was refused stays in the table."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE reservations SET account = '#' || uid WHERE uid = ? AND until <= ? AND state = 'refused'",
                (uid, now),
            )
            connection.execute(
                "DELETE FROM reservations WHERE uid = ? AND until <= ? AND state <> 'refused'", (uid, now)
            )

    def _unused(self, connection: sqlite3.Connection, settings: CreateSettings, now: int) -> int | None:
        """Returns a uid that no name has, or else the one that has waited longest. None: there is none."""
        first, last = settings.uid_first, settings.uid_last
        (newest,) = connection.execute(
            "SELECT max(uid) FROM reservations WHERE uid BETWEEN ? AND ?", (first, last)
        ).fetchone()
        if newest is not None:
            following = next((uid for uid in range(newest + 1, last + 1) if uid not in self._used_by_others), None)
            if following is not None:
                return following
        rows = connection.execute("SELECT uid FROM reservations WHERE uid BETWEEN ? AND ?", (first, last))
        used = self._used_by_others.union(uid for (uid,) in rows)
        unused = next((uid for uid in range(first, last + 1) if uid not in used), None)
        if unused is not None:
            return unused
        oldest = connection.execute(
            "SELECT uid FROM reservations WHERE uid BETWEEN ? AND ? AND state = 'reserved' AND until < ? "
            "ORDER BY until LIMIT 1",
            (first, last, now - _REST_SECONDS),
        ).fetchone()
        return None if oldest is None else int(oldest[0])

    def _write(self, account: str, uid: int, source: str, settings: CreateSettings, now: int) -> int | None:
        """Writes the reservation if there is room for it. Returns its uid."""
        until = now + settings.reservation_seconds
        with self._database.transaction() as connection:
            known = _of(connection, account)
            if known is not None and known.uid != uid:
                return None  # another agent was faster
            is_young = known is not None and known.source == source and known.until > until - _REFRESH_SECONDS
            if is_young:
                return uid
            if not _has_room(connection, account, source, settings, now):
                # A stranger's limit must not take a uid from a person who has it.
                return uid if known is not None and known.until > now else None
            connection.execute(
                "DELETE FROM reservations WHERE uid = ? AND account <> ? AND state = 'reserved' AND until < ?",
                (uid, account, now - _REST_SECONDS),
            )
            if connection.execute(
                "SELECT 1 FROM reservations WHERE uid = ? AND account <> ?", (uid, account)
            ).fetchone():
                return None
            connection.execute(
                "INSERT INTO reservations VALUES (?, ?, ?, ?, 'reserved') "
                "ON CONFLICT (account) DO UPDATE SET source = excluded.source, until = excluded.until",
                (account, uid, source, until),
            )
            return uid


def _of(connection: sqlite3.Connection, account: str) -> Reservation | None:
    row = connection.execute("SELECT * FROM reservations WHERE account = ?", (account,)).fetchone()
    return None if row is None else Reservation(*row)


def _has_room(connection: sqlite3.Connection, account: str, source: str, settings: CreateSettings, now: int) -> bool:
    ((everybody, own),) = connection.execute(
        "SELECT count(*), coalesce(sum(source = ?), 0) FROM reservations WHERE until > ? AND account <> ?",
        (source, now, account),
    )
    return bool(everybody < settings.reservations and own < settings.reservations_per_source)
