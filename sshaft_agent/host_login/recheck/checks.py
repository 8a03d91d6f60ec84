"""Keeps when each identity of an account was last found good, and the refresh tokens for the next checks.

An identity is a row of `bindings`. A token without a binding is not needed any more, however the binding ended.
"""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sshaft_agent.host_login.database import Database

_CHECKS = """
CREATE TABLE IF NOT EXISTS checks (
    account TEXT NOT NULL,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    checked_at INTEGER NOT NULL,
    refused TEXT NOT NULL,
    PRIMARY KEY (account, issuer, subject)
) STRICT, WITHOUT ROWID"""
_TOKENS = """
CREATE TABLE IF NOT EXISTS refresh_tokens (
    id INTEGER PRIMARY KEY,
    account TEXT NOT NULL,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    client_id TEXT NOT NULL,
    sealed BLOB NOT NULL,
    since INTEGER NOT NULL,
    tried_at INTEGER NOT NULL,
    is_kept INTEGER NOT NULL,
    is_doubtful INTEGER NOT NULL
) STRICT"""
_MOST_SECONDS_TO_END = 7 * 86400
"""A token that the provider has not ended for so long is forgotten."""
_OF_IDENTITY = "account = ? AND issuer = ? AND subject = ?"
_HAS_BINDING = "(account, issuer, subject) IN (SELECT account, issuer, subject FROM bindings)"


@dataclass(frozen=True)
class Check:
    """What is known of one identity of an account. Times are in seconds since 1970.

    `refused` is why the identity may not log in any more; empty: it was good at `checked_at`.
    """

    account: str
    issuer: str
    subject: str
    checked_at: int
    refused: str


@dataclass(frozen=True)
class Token:
    """A sealed refresh token. It is kept for checks, or waits for its end at the provider, `since` then.

    `is_doubtful`: an `invalid_grant` proves nothing, because an own request may be its cause: one whose answer was
    lost, or one that ended another token of the person.
    """

    id: int
    account: str
    issuer: str
    subject: str
    client_id: str
    sealed: bytes
    since: int
    tried_at: int
    is_kept: bool
    is_doubtful: bool

    @property
    def owner(self) -> tuple[str, str, str, str]:
        return self.account, self.issuer, self.subject, self.client_id


class Checks:
    """The rows. Safe for several threads and processes. Methods raise `DatabaseError`.

    The file has the table of `Bindings` already.
    """

    def __init__(self, directory: Path, *, busy_seconds: float = 3.0) -> None:
        """Makes the tables if they are missing. Raises `ConfigurationError`. `busy_seconds` is that of `Bindings`."""
        Database(directory, _CHECKS, busy_seconds)
        self._database = Database(directory, _TOKENS, busy_seconds)

    def of(self, account: str) -> list[Check]:
        """Returns what is known of each identity of an account."""
        with self._database.reading() as connection:
            return [Check(*row) for row in connection.execute("SELECT * FROM checks WHERE account = ?", (account,))]

    def all(self) -> list[Check]:
        """Returns what is known of all identities."""
        with self._database.reading() as connection:
            return [Check(*row) for row in connection.execute("SELECT * FROM checks")]

    def begin(self, now: int) -> None:
        """Counts the time from now for the identities that had their accounts before anybody asked for checks."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO checks SELECT account, issuer, subject, ?, '' FROM bindings WHERE true", (now,)
            )

    def good(self, account: str, issuer: str, subject: str, now: int) -> None:
        """Remembers that the identity was found good."""
        with self._database.transaction() as connection:
            _good(connection, account, issuer, subject, now)

    def seen(self, account: str, issuer: str, subject: str, now: int) -> None:
        """Remembers a login by an access token. It may be older than the check that has found the identity not good."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO checks VALUES (?, ?, ?, ?, '') ON CONFLICT (account, issuer, subject) "
                "DO UPDATE SET checked_at = excluded.checked_at WHERE refused = ''",
                (account, issuer, subject, now),
            )

    def keep(self, account: str, issuer: str, subject: str, client_id: str, sealed: bytes, now: int) -> None:
        """Remembers that the identity is good, and its new token. Older tokens of it are not needed any more."""
        with self._database.transaction() as connection:
            _good(connection, account, issuer, subject, now)
            _let_go(connection, now, account, issuer, subject)
            connection.execute(
                "INSERT INTO refresh_tokens VALUES (NULL, ?, ?, ?, ?, ?, ?, 0, 1, 0)",
                (account, issuer, subject, client_id, sealed, now),
            )

    def is_kept(self, token: Token) -> bool:
        """Whether the token is still kept, and no login has brought another one."""
        with self._database.reading() as connection:
            return _is_kept(connection, token)

    def refuse(self, token: Token, reason: str, now: int) -> bool:
        """Remembers why the identity of a token may not log in any more. Its tokens are not needed any more.

        False: nothing has changed, because the token is not kept any more. A login may have come meanwhile.
        """
        identity = token.account, token.issuer, token.subject
        with self._database.transaction() as connection:
            if not _is_kept(connection, token):
                return False
            _let_go(connection, now, *identity)
            connection.execute(f"UPDATE checks SET refused = ? WHERE {_OF_IDENTITY}", (reason, *identity))  # noqa: S608 - ours
            return True

    def tidy(self, now: int) -> None:
        """Forgets the identities that have no account any more, and counts the time of those that have got one."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO checks "
                "SELECT account, issuer, subject, strftime('%s', bound_at) + 0, '' FROM bindings WHERE true"
            )
            connection.execute(
                f"UPDATE refresh_tokens SET is_kept = 0, tried_at = 0, since = ? WHERE is_kept AND NOT {_HAS_BINDING}",  # noqa: S608 - ours
                (now,),
            )
            connection.execute(f"DELETE FROM checks WHERE NOT {_HAS_BINDING}")  # noqa: S608 - ours
            connection.execute(
                "DELETE FROM refresh_tokens WHERE NOT is_kept AND abs(? - since) > ?", (now, _MOST_SECONDS_TO_END)
            )

    def take_due(self, issuer: str, client_id: str, now: int, every: int, retry: int) -> Token | None:
        """Returns a token with which a check is due, the longest untried one first. Nobody else gets it meanwhile.

        It is doubtful from now on, until `renew` or `release`. `retry` is the time from one try to the next.
        """
        due = (
            "SELECT refresh_tokens.* FROM refresh_tokens JOIN checks USING (account, issuer, subject) "
            "WHERE is_kept AND issuer = ? AND client_id = ? AND abs(? - tried_at) >= ? "
            "AND (is_doubtful OR abs(? - checked_at) >= ?) ORDER BY tried_at LIMIT 1"
        )
        with self._database.transaction() as connection:
            token = next(_tokens(connection, due, issuer, client_id, now, retry, now, every), None)
            if token is not None:
                connection.execute(
                    "UPDATE refresh_tokens SET tried_at = ?, is_doubtful = 1 WHERE id = ?", (now, token.id)
                )
            return token

    def renew(self, token: Token, sealed: bytes) -> None:
        """Puts the token that the provider has given in the place of the one that was used."""
        self._update("sealed = ?, is_doubtful = 0", sealed, token.id)

    def release(self, token: Token) -> None:
        """Notes that the provider has not used the token: it is what it was before."""
        self._update("is_doubtful = ?", int(token.is_doubtful), token.id)

    def doubt(self, issuer: str, subject: str, client_id: str) -> None:
        """Notes that the end of one token of a person may be the end of the others at some providers."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE refresh_tokens SET is_doubtful = 1, tried_at = 0 "
                "WHERE is_kept AND issuer = ? AND subject = ? AND client_id = ?",
                (issuer, subject, client_id),
            )

    def take_ended(self, issuer: str, client_id: str, now: int, retry: int) -> Token | None:
        """Returns a token that the provider has to end. Nobody else gets it meanwhile."""
        ended = (
            "SELECT * FROM refresh_tokens WHERE NOT is_kept AND issuer = ? AND client_id = ? "
            "AND abs(? - tried_at) >= ? ORDER BY tried_at LIMIT 1"
        )
        with self._database.transaction() as connection:
            token = next(_tokens(connection, ended, issuer, client_id, now, retry), None)
            if token is not None:
                connection.execute("UPDATE refresh_tokens SET tried_at = ? WHERE id = ?", (now, token.id))
            return token

    def forget(self, token: Token) -> None:
        """Deletes a token."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM refresh_tokens WHERE id = ?", (token.id,))

    def _update(self, change: str, *values: object) -> None:
        with self._database.transaction() as connection:
            connection.execute(f"UPDATE refresh_tokens SET {change} WHERE id = ?", values)  # noqa: S608 - ours


def _good(connection: sqlite3.Connection, account: str, issuer: str, subject: str, now: int) -> None:
    connection.execute("INSERT OR REPLACE INTO checks VALUES (?, ?, ?, ?, '')", (account, issuer, subject, now))


def _let_go(connection: sqlite3.Connection, now: int, account: str, issuer: str, subject: str) -> None:
    connection.execute(
        f"UPDATE refresh_tokens SET is_kept = 0, tried_at = 0, since = ? WHERE is_kept AND {_OF_IDENTITY}",  # noqa: S608 - ours
        (now, account, issuer, subject),
    )


def _is_kept(connection: sqlite3.Connection, token: Token) -> bool:
    kept = connection.execute("SELECT 1 FROM refresh_tokens WHERE id = ? AND is_kept", (token.id,))
    return kept.fetchone() is not None


def _tokens(connection: sqlite3.Connection, query: str, *values: object) -> Iterator[Token]:
    for row in connection.execute(query, values):
        yield Token(*row[:8], *map(bool, row[8:]))
