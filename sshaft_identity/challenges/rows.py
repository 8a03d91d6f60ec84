"""Reads and writes challenges as rows, and ends a running challenge by a conditional UPDATE."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    bindparam,
    literal,
    literal_column,
    select,
    type_coerce,
    update,
)

from sshaft_identity.challenges.challenge import Approval, Binding, Challenge, Context, State
from sshaft_identity.common.times import CLOCK_TOLERANCE
from sshaft_identity.database.prepared import Prepared
from sshaft_identity.database.tables import UtcTime, challenges

# The state is written out, not bound: PostgreSQL soon plans once for all values, and then ignores this value.
is_pending = challenges.c.state == literal_column(f"'{State.PENDING}'")
_ahead = literal(CLOCK_TOLERANCE // timedelta(microseconds=1), BigInteger)
_has_begun = type_coerce(challenges.c.created_at, BigInteger) - _ahead <= bindparam("now", type_=UtcTime)
is_running = is_pending & (challenges.c.expires_at > bindparam("now")) & _has_begun
"""The challenge is pending and its time is not over `now`, see `challenge.is_over`."""
is_unsettled = is_pending & challenges.c.accepted_at.is_(None)
"""The same as `is_pending`, for queries over all users. A query needs exactly this condition to use the index."""
# The order is that of the index. Otherwise PostgreSQL expects a match soon, and reads all challenges that are over.
_without_user = select(challenges.c.id).where(is_running, challenges.c.user_name.is_(None))
_without_user = _without_user.order_by(challenges.c.user_name, challenges.c.state, challenges.c.expires_at)
waits_for_any_user = _without_user.limit(literal_column("1")).scalar_subquery().is_not(None)
"""Whether a challenge that names no user waits for its code."""

named = select(challenges).where(challenges.c.id == bindparam("challenge"))
of_user = select(challenges).where(challenges.c.user_name == bindparam("user")).order_by(challenges.c.created_at)
of_code = select(challenges).where(is_pending, challenges.c.code_index == bindparam("index"))
"""Finds the pending challenge that names no user and has this code."""

RUNNING_OF_USER = Prepared(of_user.where(is_running))


def read_all(connection: Connection, statement: Prepared, **values: object) -> list[Challenge]:
    """Returns the challenges that the statement found or changed. It must return all columns of `challenges`."""
    return [challenge_of(row) for row in statement.all(connection, values)]


_NAMED = Prepared(named)


def read(connection: Connection, identifier: str) -> Challenge | None:
    return next(iter(read_all(connection, _NAMED, challenge=identifier)), None)


def columns(challenge: Challenge) -> dict[str, Any]:
    """Returns the values of a new row."""
    return {
        "id": challenge.id,
        "user_name": challenge.user,
        "hint": challenge.hint,
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


def challenge_of(row: Any) -> Challenge:
    approval = row.accepted_at and Approval(
        row.accepted_at, row.fingerprint, row.key_type, row.client_ip, verified=row.verified
    )
    return Challenge(
        id=row.id,
        user=row.user_name,
        hint=row.hint,
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


_END = Prepared(
    update(challenges)
    .where(challenges.c.id == bindparam("challenge"), is_running)
    .values(state=bindparam("becomes"))
    .returning(challenges)
)


def end(connection: Connection, identifier: str, state: State, now: datetime) -> list[Challenge]:
    """Ends a running challenge in `state`. Returns the challenge, or nothing if it was not running."""
    return read_all(connection, _END, challenge=identifier, becomes=state, now=now)
