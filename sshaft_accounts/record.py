"""Remembers which accounts this program made or adopted, and what it was about to do, in an SQLite database of root.

An intention is on the disk before anything of the host changes. So the next start can complete it.
"""

import sqlite3
from contextlib import closing
from dataclasses import astuple, dataclass
from pathlib import Path

from sshaft_accounts.host import only_root_writes

TABLES = """
CREATE TABLE IF NOT EXISTS accounts (
    uid INTEGER PRIMARY KEY,  -- also of removed accounts: a uid is never given to a second account
    user TEXT NOT NULL,
    home TEXT NOT NULL,
    shell TEXT NOT NULL,
    gecos TEXT NOT NULL,
    make_home INTEGER NOT NULL,
    state TEXT NOT NULL,      -- creating, created, locking, locked, unlocking, removing, removed
    expires TEXT NOT NULL,    -- creating, unlocking: the day of expiry; locking, locked: the day before the lock
    backend TEXT NOT NULL     -- where the account is kept: one of `BACKENDS`
);
CREATE UNIQUE INDEX IF NOT EXISTS names ON accounts (user) WHERE state != 'removed';
CREATE TABLE IF NOT EXISTS memberships (
    uid INTEGER NOT NULL REFERENCES accounts (uid),
    name TEXT NOT NULL,       -- of a group that this program added
    PRIMARY KEY (uid, name)
);
"""


@dataclass(frozen=True)
class Entry:
    """An account of this program: a row of the table, with its columns in their order.

    The group of an account that this program made has the same name, and the uid as its gid.
    """

    uid: int
    user: str
    home: str
    shell: str
    gecos: str
    make_home: bool
    state: str = "creating"
    expires: str = ""
    backend: str = "passwd"


def overview(directory: Path) -> list[tuple[str, int, str]]:
    """Returns name, uid and state of each account that is not removed, also while the program runs.

    Raises `sqlite3.Error`.
    """
    path = directory.absolute() / "accounts.sqlite"
    if not path.exists():
        return []
    # immutable: the program holds its lock until it ends. What it writes at this moment may be missing.
    with closing(sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True)) as database:
        question = "SELECT user, uid, state FROM accounts WHERE state != 'removed' ORDER BY user"
        return [(user, uid, state) for user, uid, state in database.execute(question)]


class Record:
    """The database. Raises `OSError` or `sqlite3.Error` if it cannot be used: nothing may be done then."""

    def __init__(self, directory: Path) -> None:
        if not only_root_writes(directory.stat()):
            raise PermissionError(f"{directory}: must belong to root, and nobody else may write there")
        self._database = sqlite3.connect(directory / "accounts.sqlite", timeout=0, isolation_level=None)
        # EXCLUSIVE is held until the end: a second process would do the same work at the same time.
        self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._database.execute("PRAGMA synchronous = EXTRA")
        self._database.executescript("BEGIN EXCLUSIVE;" + TABLES + "COMMIT;")

    def close(self) -> None:
        self._database.close()

    def named(self, user: str) -> Entry | None:
        """Returns the account with this name, unless it is removed."""
        return self._one("user = ? AND state != 'removed'", user)

    def with_uid(self, uid: int) -> Entry | None:
        """Returns the account with this uid, also if it is removed."""
        return self._one("uid = ?", uid)

    def unfinished(self) -> list[Entry]:
        """Returns the accounts of which work was interrupted."""
        return self._all("state IN ('creating', 'locking', 'unlocking', 'removing')")

    def add(self, entry: Entry) -> None:
        """Adds an account, in place of a removed one that had its uid."""
        self._database.execute("INSERT OR REPLACE INTO accounts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", astuple(entry))

    def forget(self, uid: int) -> None:
        """Removes an account that was never made."""
        self._database.execute("DELETE FROM accounts WHERE uid = ?", (uid,))

    def change(self, uid: int, state: str, expires: str = "") -> None:
        self._database.execute("UPDATE accounts SET state = ?, expires = ? WHERE uid = ?", (state, expires, uid))

    def memberships(self, uid: int) -> set[str]:
        """Returns the groups that this program added to the account."""
        return {name for (name,) in self._database.execute("SELECT name FROM memberships WHERE uid = ?", (uid,))}

    def add_membership(self, uid: int, name: str) -> None:
        self._database.execute("INSERT OR IGNORE INTO memberships VALUES (?, ?)", (uid, name))

    def drop_membership(self, uid: int, name: str) -> None:
        self._database.execute("DELETE FROM memberships WHERE uid = ? AND name = ?", (uid, name))

    def _one(self, condition: str, value: object) -> Entry | None:
        found = self._all(condition, value)
        return found[0] if found else None

    def _all(self, condition: str, *values: object) -> list[Entry]:
        rows = self._database.execute(f"SELECT * FROM accounts WHERE {condition} ORDER BY uid", values)  # noqa: S608 - ours
        return [
            Entry(uid, user, home, shell, gecos, bool(make_home), *rest)
            for uid, user, home, shell, gecos, make_home, *rest in rows
        ]
