"""Keeps the open sessions in the agent's database, so that a new start of the agent knows them."""

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path

from sshaft_agent.host_login.database import Database

_TABLE = """
CREATE TABLE IF NOT EXISTS host_sessions (
    id TEXT NOT NULL PRIMARY KEY,
    account TEXT NOT NULL,
    service TEXT NOT NULL,
    source TEXT NOT NULL,
    connection TEXT NOT NULL,
    boot TEXT NOT NULL,
    began INTEGER NOT NULL,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    approval TEXT NOT NULL
) STRICT, WITHOUT ROWID"""
MOST = 8000
"""One report to the identity service has no room for more."""


@dataclass(frozen=True)
class Session:
    """An open session. `began` is in seconds since 1970.

    `connection` is the process of sshd that serves it, as `processes.is_alive` takes it, since the start `boot` of the
    machine. An empty `approval`: no approval at the identity service has opened it.
    """

    id: str
    account: str
    service: str
    source: str
    connection: str
    boot: str
    began: int
    issuer: str
    subject: str
    approval: str


class Store:
    """The rows. Safe for several threads and processes. Each method raises `DatabaseError`."""

    def __init__(self, directory: Path, *, busy_seconds: float = 3.0) -> None:
        """Makes the table if it is missing. Raises `ConfigurationError`. `busy_seconds` is that of `Bindings`."""
        self._database = Database(directory, _TABLE, busy_seconds)

    def all(self) -> list[Session]:
        """Returns all sessions, the oldest first."""
        with self._database.reading() as connection:
            return [Session(*row) for row in connection.execute("SELECT * FROM host_sessions ORDER BY began, id")]

    def add(self, session: Session) -> bool:
        """Writes a session in place of another one of the same connection. False: there is no room."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM host_sessions WHERE connection = ?", (session.connection,))
            if connection.execute("SELECT count(*) FROM host_sessions").fetchone()[0] >= MOST:
                return False
            connection.execute("INSERT INTO host_sessions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", astuple(session))
            return True

    def remove(self, connections: Iterable[str]) -> int:
        """Forgets the sessions of these connections. Returns how many there were."""
        with self._database.transaction() as connection:
            delete = "DELETE FROM host_sessions WHERE connection = ?"
            return sum(connection.execute(delete, (each,)).rowcount for each in connections)
