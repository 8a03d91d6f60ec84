"""Registers keys. Every way in comes through here, and the checks are in the transaction that writes the key."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, and_, bindparam, func, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from sshaft.public_key import PublicKey
from sshaft_identity.audit.log import record_event
from sshaft_identity.common.errors import RegistryError
from sshaft_identity.database.tables import ssh_keys, users
from sshaft_identity.people.key_policy import KeyPolicy, KeyRefusal, judge, sentence


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key to register. `source` is `operator`, `import`, `ssh` or `signature`."""

    key: PublicKey
    name: str = ""
    source: str = "operator"
    attested: str | None = None
    """The result of `attestation.verify`; None: the key has no attestation."""
    expires_at: datetime | None = None
    enrolment: str | None = None
    """The id of the enrolment in which the person confirmed the key."""
    added_with: str | None = None
    """The fingerprint of the owner's key that approved this key."""


is_usable = or_(ssh_keys.c.expires_at.is_(None), ssh_keys.c.expires_at > bindparam("now"))
"""The key has not expired `now`. An expired key is neither listed nor accepted."""


def lock_user(connection: Connection, name: str) -> bool:
    """Whether there is such a user. Until this transaction ends, no other one gives the user a key."""
    return connection.scalar(select(users.c.name).where(users.c.name == name).with_for_update()) is not None


def owner_of(connection: Connection, fingerprint: str) -> str | None:
    """Returns the owner of the key, also of an expired key, or None."""
    return connection.scalar(select(ssh_keys.c.user_name).where(ssh_keys.c.fingerprint == fingerprint))


def refusal_of(
    connection: Connection, user: str, key: PublicKey, policy: KeyPolicy, now: datetime, *, attested: bool
) -> KeyRefusal | None:
    """Returns why `key` may not become a key of `user` now, or None. The user may renew an own key that has expired."""
    row = connection.execute(select(ssh_keys).where(ssh_keys.c.fingerprint == key.fingerprint)).one_or_none()
    if row is not None and row.user_name != user:
        return KeyRefusal.TAKEN
    if row is not None and (row.expires_at is None or row.expires_at > now):
        return KeyRefusal.OWN
    usable = select(func.count()).select_from(ssh_keys).where(ssh_keys.c.user_name == user, is_usable)
    registered = connection.execute(usable, {"now": now}).scalar_one()
    return judge(key, policy, attested=attested, registered=registered)


def register(connection: Connection, user: str, new: NewKey, policy: KeyPolicy, now: datetime) -> KeyRefusal | None:
    """Gives the key to `user`, whom the caller has locked, unless it returns a refusal.

    The key expires when `new` says or when the policy says, whichever is earlier.
    """
    attested = new.attested is not None
    refusal = refusal_of(connection, user, new.key, policy, now, attested=attested)
    if refusal is not None:
        return refusal
    values = {
        "type": new.key.type,
        "blob": new.key.blob,
        "name": new.name,
        "source": new.source,
        "attested": new.attested,
        "added_with": new.added_with,
        "created_at": now,
        "expires_at": min(filter(None, (new.expires_at, policy.expiry(now))), default=None),
    }
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(ssh_keys).values(fingerprint=new.key.fingerprint, user_name=user, **values)
    is_own_and_expired = and_(ssh_keys.c.user_name == user, ssh_keys.c.expires_at <= now)
    written = statement.on_conflict_do_update(
        index_elements=[ssh_keys.c.fingerprint], set_=values, where=is_own_and_expired
    ).returning(ssh_keys.c.fingerprint)
    if connection.scalar(written) is None:  # another user has registered the same key meanwhile
        return KeyRefusal.TAKEN
    record_event(
        connection,
        "key.enrolled",
        now,
        user=user,
        fingerprint=new.key.fingerprint,
        key_type=new.key.type,
        source=new.source,
        attested=attested,
        enrolment=new.enrolment,
        added_with=new.added_with,
    )
    return None


def add_key(connection: Connection, user: str, new: NewKey, policy: KeyPolicy, now: datetime) -> bool:
    """Gives the key to `user`. Returns whether the user did not have it before.

    Raises `RegistryError` for the operator: unlike a refusal for a person, it names the owner of the key.
    """
    fingerprint = new.key.fingerprint
    match register(connection, user, new, policy, now):
        case None:
            return True
        case KeyRefusal.OWN:
            return False
        case KeyRefusal.TAKEN:
            owner = owner_of(connection, fingerprint)
            raise RegistryError(f"the key {fingerprint} is {owner}'s: one key has one owner, nothing was added")
        case refusal:
            raise RegistryError(f"the key {fingerprint}: {sentence(refusal, policy)} Nothing was added.")
