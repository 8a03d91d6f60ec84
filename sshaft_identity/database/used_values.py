"""Remembers values that may be used once only, such as the `jti` of a signed request."""

from datetime import datetime

from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError

from sshaft_identity.common.digests import digest
from sshaft_identity.database.database import Database
from sshaft_identity.database.tables import used_values


def first_use(database: Database, kind: str, value: str, until: datetime) -> bool:
    """Whether `value` comes for the first time. It is remembered `until` it is no longer valid anyway."""
    try:
        with database.write() as connection:
            connection.execute(insert(used_values).values(kind=kind, hash=digest(value), expires_at=until))
    except IntegrityError:
        return False
    return True
