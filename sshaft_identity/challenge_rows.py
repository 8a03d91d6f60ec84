"""A challenge as a row: how it is read, written, and taken one step on by a conditional UPDATE."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, Update, exists, select, update

from sshaft_identity.challenge import Approval, Binding, Challenge, Context, State
from sshaft_identity.clock_back import latest_begin
from sshaft_identity.tables import challenges

is_pending = challenges.c.state == State.PENDING


def waits_for_anybody(connection: Connection, now: datetime) -> bool:
    """Whether some challenge that names nobody waits for its code."""
    in_time = (challenges.c.expires_at > now) & (challenges.c.created_at <= latest_begin(now))
    waiting = is_pending & challenges.c.code_index.is_not(None) & in_time
    return bool(connection.scalar(select(exists().where(waiting))))


def of_user(user: str) -> Select[Any]:
    return select(challenges).where(challenges.c.user_name == user).order_by(challenges.c.created_at)


def named(identifier: str) -> Select[Any]:
    return select(challenges).where(challenges.c.id == identifier)


def of_code(code_index: str) -> Select[Any]:
    """The pending one that was opened without a user and has this code."""
    return select(challenges).where(challenges.c.code_index == code_index, is_pending)


def read_again(connection: Connection, those: Iterable[Challenge]) -> list[Challenge]:
    query = select(challenges).where(challenges.c.id.in_([each.id for each in those]))
    return read_all(connection, query.order_by(challenges.c.created_at))


def read_all(connection: Connection, query: Select[Any]) -> list[Challenge]:
    return [_challenge(row) for row in connection.execute(query)]


def columns(challenge: Challenge) -> dict[str, Any]:
    return {
        "id": challenge.id,
        "user_name": challenge.user,
        "client_id": challenge.client,
        "binding": challenge.binding,
        "verify_required": challenge.verify_required,
        "state": challenge.state,
        "tries": challenge.tries,
        "code_hmac": challenge.code_hmac,
        "code_index": challenge.code_index,
        "app": challenge.context.app,
        "ip": challenge.context.ip,
        "user_agent": challenge.context.user_agent,
        "return_url": challenge.context.return_url,
        "created_at": challenge.created_at,
        "expires_at": challenge.expires_at,
        "verified": False,
    }


def _challenge(row: Row[Any]) -> Challenge:
    approval = row.accepted_at and Approval(
        row.accepted_at, row.fingerprint, row.key_type, row.client_ip, verified=row.verified
    )
    return Challenge(
        id=row.id,
        user=row.user_name,
        client=row.client_id,
        binding=Binding(row.binding),
        verify_required=row.verify_required,
        context=Context(row.app, row.ip, row.user_agent, row.return_url),
        created_at=row.created_at,
        expires_at=row.expires_at,
        state=State(row.state),
        tries=row.tries,
        attempt=row.attempt,
        code_hmac=row.code_hmac,
        code_index=row.code_index,
        shown_at=row.shown_at,
        presented_at=row.presented_at,
        approval=approval,
    )


def step(connection: Connection, identifier: str, state: State, now: datetime) -> list[Challenge]:
    """The challenge, if it was pending and now is in `state`."""
    pending = update(challenges).where(challenges.c.id == identifier, is_pending, challenges.c.expires_at > now)
    return changed(connection, pending.values(state=state))


def changed(connection: Connection, statement: Update) -> list[Challenge]:
    """Carry an UPDATE out; what it changed, as it is now."""
    return [_challenge(row) for row in connection.execute(statement.returning(challenges))]
