"""Remembers the open sessions of people whom the identity service can know, and ends them when it says so.

The PAM module says that a session opens and closes. What it does not say, because sshd was killed, the processes say.
"""

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any, Self

from sshaft import log
from sshaft.deadline import Deadline
from sshaft.text import printable
from sshaft_agent.host_login.bindings import Bindings
from sshaft_agent.host_login.conversation import LoginQuestion, connection_of
from sshaft_agent.host_login.database import DatabaseError
from sshaft_agent.host_login.first_login import accounts_client
from sshaft_agent.host_login.first_login.accounts_client import AccountsError
from sshaft_agent.host_login.sessions import processes
from sshaft_agent.host_login.sessions.store import MOST, Session, Store

SOCKET = Path("/run/sshaft-accounts.sock")
"""Where `sshaft-accounts` listens if `host_login.create` says nothing else."""
_ASK_SECONDS = 30.0
_AT_ONCE = 100
"""`sshaft-accounts` ends so many sessions for one request."""
_MOST_LOGINS = 1000
"""So many logins are remembered until their sessions open. They open at once."""


@dataclass(frozen=True)
class Login:
    """Who has passed a login. An empty `approval`: no approval at the identity service was needed."""

    issuer: str
    subject: str
    approval: str = ""


@dataclass(frozen=True)
class SessionQuestion:
    """What the module says of a session. Only sshd, as root, can say it. An empty `connection`: nobody knows it.

    `service` and `source` are safe to show.
    """

    user: str
    service: str
    source: str
    connection: str

    @classmethod
    def of(cls, fields: Mapping[str, str]) -> Self:
        """Returns the question. A missing field counts as empty."""
        service, source = (printable(fields.get(name, "")) for name in ("service", "rhost"))
        return cls(fields.get("user", ""), service, source, connection_of(fields))


class Sessions:
    """The sessions of this host. Safe for several threads.

    `socket` returns where `sshaft-accounts` listens. `changed` is called after each change. `now` is in seconds since
    1970. Methods that say nothing else raise `DatabaseError`.
    """

    def __init__(
        self, bindings: Bindings, socket: Callable[[], Path], changed: Callable[[], None], now: Callable[[], float],
        is_alive: Callable[[str], bool] = processes.is_alive,
    ) -> None:  # fmt: skip
        """Raises `ConfigurationError` if the database cannot be used."""
        self.is_on = False
        """Whether sessions are remembered: an identity service hears of them."""
        self._store = Store(bindings.path.parent)
        self._bindings = bindings
        self._socket = socket
        self._changed = changed
        self._now = now
        self._is_alive = is_alive
        self._boot = processes.boot_id()
        self._lock = threading.Lock()
        self._logins: OrderedDict[tuple[str, str], Login] = OrderedDict()
        """By account and connection."""
        self._failed: set[str] = set()
        # A thread of its own: a login waits for it half a second at most.
        self.worker = ThreadPoolExecutor(1, "host-session")

    def close(self) -> None:
        self.worker.shutdown(wait=False, cancel_futures=True)

    def passed(self, question: LoginQuestion, login: Login) -> None:
        """Remembers who has passed this login, until its session opens. It does not raise."""
        if not question.connection:
            return
        with self._lock:
            self._logins[question.user, question.connection] = login
            if len(self._logins) > _MOST_LOGINS:
                self._logins.popitem(last=False)

    def opened(self, question: SessionQuestion) -> None:
        """Remembers an open session, if it is known whose it is."""
        with self._lock:
            login = self._logins.pop((question.user, question.connection), None)
        login = login or self._owner(question.user)
        if not self.is_on or not question.connection or login is None:
            return
        session = Session(
            secrets.token_urlsafe(16), question.user, question.service, question.source, question.connection,
            self._boot, int(self._now()), login.issuer, login.subject, login.approval,
        )  # fmt: skip
        if not self._store.add(session):
            log.get_logger().warning("host_session.full", message=f"{MOST} sessions are open", **_facts(session))
            return
        log.get_logger().info("host_session.opened", **_facts(session))
        self._changed()

    def closed(self, question: SessionQuestion) -> None:
        """Forgets a session that has closed."""
        if question.connection and self._store.remove([question.connection]):
            log.get_logger().info("host_session.closed", user=printable(question.user), client_ip=question.source)
            self._changed()

    def open_sessions(self) -> list[dict[str, Any]]:
        """Returns what the identity service hears of each session. It forgets those whose process is gone."""
        return [_row(each) for each in self._alive()]

    def end(self, ids: Sequence[str]) -> None:
        """Has the sessions with these ids ended. It blocks. What fails is tried again with the next report."""
        wanted = set(ids)
        found = sorted((each for each in self._alive() if each.id in wanted), key=lambda each: each.account)
        for account, sessions in groupby(found, key=lambda each: each.account):
            own = list(sessions)
            for begin in range(0, len(own), _AT_ONCE):
                self._end(account, own[begin : begin + _AT_ONCE])
        self._alive()

    def _end(self, account: str, sessions: list[Session]) -> None:
        connections = ",".join(each.connection for each in sessions)
        fields = {"user": account, "sessions": connections}
        try:
            accounts_client.ask(self._socket(), "end_sessions", fields, Deadline.after(_ASK_SECONDS))
        except AccountsError as error:
            new = {each.id for each in sessions} - self._failed
            self._failed |= new
            if new:  # else the log has it already
                log.get_logger().error("host_session.not_ended", user=printable(account), message=str(error))
            return
        for each in sessions:
            log.get_logger().warning("host_session.ended", reason="the identity service has ended it", **_facts(each))

    def _alive(self) -> list[Session]:
        """Returns the sessions whose process runs, and forgets the others."""
        rows = self._store.all()
        alive = [each for each in rows if each.boot == self._boot and self._is_alive(each.connection)]
        gone = {each.connection for each in rows} - {each.connection for each in alive}
        if gone:
            self._store.remove(gone)
            self._failed &= {each.id for each in alive}
        return alive

    def _owner(self, account: str) -> Login | None:
        """Returns the identity of an account that one person has: a login by a key proves no other one."""
        bound = self._bindings.of(account)
        return Login(bound[0].issuer, bound[0].subject) if len(bound) == 1 else None


def answered(sessions: Sessions, kind: str, question: SessionQuestion) -> None:
    """Does what the module asks for. A full disk must not disturb a login."""
    try:
        (sessions.opened if kind == "session_open" else sessions.closed)(question)
    except DatabaseError as error:
        log.get_logger().error("host_session.not_kept", user=printable(question.user), message=str(error))


def _row(session: Session) -> dict[str, Any]:
    began = datetime.fromtimestamp(session.began, UTC).isoformat(timespec="seconds")
    more = {name: value for name in ("source", "approval") if (value := getattr(session, name))}
    return {
        "id": session.id, "account": printable(session.account), "service": session.service, "began": began,
        "iss": session.issuer, "sub": session.subject, **more,
    }  # fmt: skip


def _facts(session: Session) -> dict[str, str]:
    facts = {"user": session.account, "client_ip": session.source, "subject": session.subject}
    return {name: printable(value) for name, value in {**facts, "approval": session.approval}.items() if value}
