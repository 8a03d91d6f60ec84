"""Removes keys, users and clients and signs people out, with everything that they have begun, also at hosts.

Each step is one transaction with one audit event. The event names the challenges and enrolments that it ended, so the
open pages of every process hear of it. No enrolment is opened, presented or confirmed meanwhile.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, delete, false, or_, select, update

from sshaft_identity.approvals import approval as approval_states
from sshaft_identity.approvals import rows as approval_rows
from sshaft_identity.audit.log import Fact, record_event
from sshaft_identity.challenges import limits
from sshaft_identity.challenges.challenge import State
from sshaft_identity.challenges.challenges import attempts_of
from sshaft_identity.common.errors import RegistryError
from sshaft_identity.database.database import Database
from sshaft_identity.database.tables import (
    access_tokens,
    approvals,
    challenges,
    clients,
    enrolments,
    face_requests,
    sessions,
    ssh_keys,
    users,
)
from sshaft_identity.enrolment import enrolments as invitations
from sshaft_identity.host_logins import ending as host_logins
from sshaft_identity.host_logins.entries import Kind
from sshaft_identity.people.registration import owner_of
from sshaft_identity.people.sessions import Method, Session, hash_of

_NONE: ColumnElement[bool] = false()
_is_accepted = challenges.c.state == State.ACCEPTED
_is_pending = challenges.c.state == State.PENDING
_is_printed = _is_pending & challenges.c.presented_at.is_not(None)
"""ssh has printed the code of this `code_back` challenge. Who knows the code can pass it without a key."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What ended: the number of sessions, the ids of enrolments, challenges and approvals, and how much at hosts."""

    sessions: int
    enrolments: tuple[str, ...]
    challenges: tuple[str, ...]
    approvals: tuple[str, ...] = ()
    host_logins: int = 0

    @property
    def ids(self) -> tuple[str, ...]:
        """Returns the ids of everything whose pages need news."""
        return (*self.enrolments, *self.challenges, *self.approvals)

    @property
    def facts(self) -> dict[str, Fact]:
        """Returns the facts for the audit event. `database.changes_sqlite` wakes the pages by them."""
        ended = {"enrolments": self.enrolments, "challenges": self.challenges, "approvals": self.approvals}
        names = {name: " ".join(ids) or None for name, ids in ended.items()}
        return {"sessions": self.sessions, "host_logins": self.host_logins or None, **names}


@dataclass(frozen=True, slots=True)
class RemovedKey:
    """A removed key. `added`: the keys of its owner that were added with it and are still registered."""

    user: str
    ended: Ended
    added: tuple[str, ...] = ()


class Revocation:
    def __init__(self, database: Database) -> None:
        self._database = database

    def remove_key(
        self, fingerprint: str, now: datetime, *, user: str | None = None, keep: Session | None = None, **facts: Fact
    ) -> RemovedKey | None:
        """Removes a key; None if there is no such key, or it is not the key of `user`. `facts` go to the audit log.

        Ends all sessions of the owner that began by ssh: the key may have begun them, or added the key that began
        them. `keep` is the session that asks. It goes on unless the removed key began it.
        """
        with self._database.write(alone="enrolment") as connection:
            owner = owner_of(connection, fingerprint)
            if owner is None or owner != (user or owner):
                return None
            self._wait_for_attempts(connection, owner)
            connection.execute(delete(ssh_keys).where(ssh_keys.c.fingerprint == fingerprint))
            mine = challenges.c.user_name == owner
            # A service of the original's contract does not say which key was used.
            by_key = mine & or_(challenges.c.fingerprint == fingerprint, challenges.c.fingerprint.is_(None))
            by_ssh = (sessions.c.user_name == owner) & (sessions.c.method == Method.SSH)
            if keep is not None and keep.fingerprint not in (None, fingerprint):
                by_ssh &= sessions.c.token_hash != hash_of(keep.token)
            ended = _end(
                connection, now, results=by_key & or_(_is_accepted, _is_printed), passed=by_key, of_sessions=by_ssh,
                of_enrolments=(enrolments.c.user_name == owner) & (enrolments.c.opened_in == Method.SSH),
                of_approvals=_approved_by(owner) & approvals.c.session_key.is_not(None),
            )  # fmt: skip
            ended = replace(ended, host_logins=host_logins.revoke(connection, owner, now, fingerprint=fingerprint))
            # the removed key may have passed for a session that began elsewhere
            passes = update(sessions).where(sessions.c.user_name == owner, sessions.c.passed_at.is_not(None))
            connection.execute(passes.values(passed_at=None))
            record_event(connection, "key.removed", now, user=owner, fingerprint=fingerprint, **ended.facts, **facts)
            added = select(ssh_keys.c.fingerprint).where(
                ssh_keys.c.user_name == owner, ssh_keys.c.added_with == fingerprint
            )
            return RemovedKey(owner, ended, tuple(connection.scalars(added.order_by(ssh_keys.c.created_at))))

    def remove_user(self, name: str, now: datetime) -> Ended:
        """Removes the user, the keys of the user and their counted wrong codes. Raises `RegistryError`."""
        with self._database.write(alone="enrolment") as connection:
            self._wait_for_attempts(connection, name)
            is_own = ssh_keys.c.user_name == name
            keys = connection.execute(delete(ssh_keys).where(is_own)).rowcount
            mine = challenges.c.user_name == name
            ended = _end(
                connection, now, results=mine & or_(_is_accepted, _is_pending), passed=mine,
                of_sessions=sessions.c.user_name == name, of_enrolments=enrolments.c.user_name == name,
                of_approvals=or_(approvals.c.user_name == name, _approved_by(name)),
            )  # fmt: skip
            ended = replace(ended, host_logins=host_logins.revoke(connection, name, now))
            connection.execute(delete(access_tokens).where(access_tokens.c.user_name == name))
            limits.forget(connection, limits.Scope.USER, name)
            # before the deletion, so that the event has the id of this user
            record_event(connection, "user.removed", now, user=name, keys=keys, **ended.facts)
            if not connection.execute(delete(users).where(users.c.name == name)).rowcount:
                raise RegistryError(f"there is no user {name}")
            return ended

    def remove_client(self, client_id: str, now: datetime) -> Ended:
        """Removes the client, its access tokens and its requests. Raises `RegistryError`."""
        with self._database.write(alone="enrolment") as connection:
            if not connection.execute(delete(clients).where(clients.c.client_id == client_id)).rowcount:
                raise RegistryError(f"there is no client {client_id}")
            mine = challenges.c.client_id == client_id
            ended = _end(
                connection, now, results=mine & or_(_is_accepted, _is_pending), passed=mine,
                of_enrolments=enrolments.c.invited_by == client_id, of_approvals=approvals.c.client_id == client_id,
            )  # fmt: skip
            limits.forget(connection, limits.Scope.CLIENT, client_id)
            facts = {name: value for name, value in ended.facts.items() if name != "sessions"}
            record_event(connection, "client.removed", now, user=None, client=client_id, **facts)
            return ended

    def sign_out(self, user: str, now: datetime, *, sessions_at_hosts: bool = True, **facts: Fact) -> Ended:
        """Signs out every browser of the user. `facts` go to the audit log. Raises `RegistryError`.

        Also ends what the person began in them, and the logins that passed but whose result nobody has taken.
        Hosts forget the approvals that they remember. `sessions_at_hosts`: they end the sessions of the person, too.
        """
        with self._database.write(alone="enrolment") as connection:
            self._wait_for_attempts(connection, user)
            if connection.scalar(select(users.c.name).where(users.c.name == user)) is None:
                raise RegistryError(f"there is no user {user}")
            mine = challenges.c.user_name == user
            ended = _end(
                connection, now, results=mine & or_(_is_accepted, _is_printed), passed=mine,
                of_sessions=sessions.c.user_name == user, of_enrolments=_began_in_session(user),
                of_approvals=_approved_by(user),
            )  # fmt: skip
            kind = None if sessions_at_hosts else Kind.REMEMBERED
            ended = replace(ended, host_logins=host_logins.revoke(connection, user, now, kind=kind))
            record_event(connection, "session.all_ended", now, user=user, **ended.facts, **facts)
            return ended

    def end_session(self, session: Session, now: datetime, **facts: Fact) -> Ended:
        """Signs one browser out, and ends the enrolment that the person began. `facts` go to the audit log."""
        with self._database.write(alone="enrolment") as connection:
            ended = _end(
                connection, now, of_sessions=sessions.c.token_hash == hash_of(session.token),
                of_enrolments=_began_in_session(session.user),
            )  # fmt: skip
            record_event(connection, "session.ended", now, user=session.user, **ended.facts, **facts)
            return ended

    def end_at_hosts(self, user: str, now: datetime, **facts: Fact) -> None:
        """Ends every session and every remembered approval of the user at hosts. `facts` go to the audit log."""
        with self._database.write() as connection:
            count = host_logins.revoke(connection, user, now)
            record_event(connection, "host_session.all_ended", now, user=user, host_logins=count or None, **facts)

    def _wait_for_attempts(self, connection: Connection, user: str) -> None:
        """Waits for the attempts of the user: an attempt that has read a key passes before the key goes, or never."""
        self._database.lock(connection, attempts_of(user))


def _began_in_session(user: str) -> ColumnElement[bool]:
    return (enrolments.c.user_name == user) & enrolments.c.opened_in.is_not(None)


def _approved_by(user: str) -> ColumnElement[bool]:
    return approvals.c.approver_name == user


def _end(
    connection: Connection,
    now: datetime,
    *,
    results: ColumnElement[bool] = _NONE,
    passed: ColumnElement[bool] = _NONE,
    of_sessions: ColumnElement[bool] = _NONE,
    of_enrolments: ColumnElement[bool],
    of_approvals: ColumnElement[bool] = _NONE,
) -> Ended:
    """Ends the named enrolments, challenges (`results`), approvals and sessions, and what the challenges `passed` left.

    The sessions come last: a session that begins meanwhile has taken the result of its challenge before.
    """
    ended = invitations.cancel_where(connection, of_enrolments)
    cancelled = [each.id for each in ended]
    approvals = challenges.c.id.in_([each.approval for each in ended if each.approval]) & _is_pending
    cancel = update(challenges).where(or_(approvals, results)).values(state=State.CANCELLED).returning(challenges.c.id)
    over = connection.scalars(cancel).all()
    _end_codes_and_tokens(connection, passed, now)
    stopped = approval_rows.change(
        connection, (of_approvals, approval_rows.is_open), {"state": approval_states.State.ENDED}
    )
    count = connection.execute(delete(sessions).where(of_sessions)).rowcount
    return Ended(count, tuple(cancelled), tuple(over), tuple(each.id for each in stopped))


def _end_codes_and_tokens(connection: Connection, passed: ColumnElement[bool], now: datetime) -> None:
    """Ends the authorization codes and the access tokens of logins that passed."""
    logins = select(challenges.c.id).where(passed, challenges.c.state == State.CONSUMED)
    codes = update(face_requests).where(face_requests.c.id.in_(logins), face_requests.c.handle_until > now)
    connection.execute(codes.values(handle_until=now))
    connection.execute(delete(access_tokens).where(access_tokens.c.login.in_(logins)))
