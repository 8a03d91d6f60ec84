"""Lists the registered keys for sshd, each with a running challenge of its owner."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, bindparam, not_, select

from sshaft.public_key import PublicKey
from sshaft_identity.challenges.challenge import Challenge
from sshaft_identity.challenges.rows import challenge_of, is_running, is_unsettled, waits_for_any_user
from sshaft_identity.database.prepared import Prepared
from sshaft_identity.database.tables import challenges, ssh_keys
from sshaft_identity.people.registration import is_usable

MAX_LISTED_KEYS = 50
"""The most fingerprints in one question. The URL of a question must stay below the limit of proxies (4 KiB)."""


@dataclass(frozen=True, slots=True)
class ListedKey:
    """A registered key and one running challenge of its owner, or None.

    `anonymous`: the key may bring the code of a challenge that names no user.
    """

    user: str
    key: PublicKey
    challenge: Challenge | None
    anonymous: bool = False


_owner = (ssh_keys.c.user_name.label("owner"), ssh_keys.c.type, ssh_keys.c.blob)
# A key that cannot prove what a challenge requires is not listed for it.
_is_able = not_(challenges.c.verify_required) | ssh_keys.c.type.like("sk-%")
_is_of_owner = (challenges.c.user_name == ssh_keys.c.user_name) & is_running & _is_able
_in_order = (ssh_keys.c.user_name, challenges.c.created_at)
_LIST_ALL = Prepared(
    select(*_owner, challenges)
    .select_from(challenges.join(ssh_keys, _is_of_owner))
    .where(is_unsettled, is_usable)
    .order_by(*_in_order)
)
_keys = (
    select(*_owner, challenges, waits_for_any_user.label("anonymous"))
    .select_from(ssh_keys.outerjoin(challenges, _is_of_owner))
    .where(is_usable)
    .order_by(*_in_order)
)
_LIST_KEY = Prepared(_keys.where(ssh_keys.c.fingerprint == bindparam("key0")))
_fingerprints: list[ColumnElement[str]] = [bindparam(f"key{number}") for number in range(MAX_LISTED_KEYS)]
_LIST_KEYS = Prepared(_keys.where(ssh_keys.c.fingerprint.in_(_fingerprints)))


def listed(connection: Connection, now: datetime, fingerprints: Sequence[str]) -> list[ListedKey]:
    """Returns the keys of all users with running challenges, an entry for each pair of key and challenge.

    With `fingerprints`, at most MAX_LISTED_KEYS: returns these registered keys, also without a challenge. Only then do
    challenges that name no user count.
    """
    statement = (_LIST_KEY if len(fingerprints) == 1 else _LIST_KEYS) if fingerprints else _LIST_ALL
    padded = [*fingerprints, *("" for _ in range(MAX_LISTED_KEYS - len(fingerprints)))]
    rows = statement.all(connection, {"now": now, **{f"key{number}": key for number, key in enumerate(padded)}})
    entries = [
        ListedKey(row.owner, PublicKey(row.type, row.blob), None if row.id is None else challenge_of(row))
        for row in rows
    ]
    if not fingerprints or not rows or not rows[0].anonymous:
        return entries
    anonymous = {each.key: ListedKey(each.user, each.key, None, anonymous=True) for each in entries}
    return [each for each in entries if each.challenge] + list(anonymous.values())
