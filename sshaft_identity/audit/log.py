"""Writes the audit log: the events of challenges and keys, each in the transaction of the change that it records.

`chain` seals the events afterwards.
"""

import json
from datetime import datetime

from sqlalchemy import Connection, bindparam, insert, select

from sshaft.log import HIDDEN
from sshaft_identity.database.prepared import Prepared
from sshaft_identity.database.tables import audit_events, users

Fact = str | int | bool | None

_JSON = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
# The id is found by the same statement: a name can be given to another person later.
_id_of_user = select(users.c.id).where(users.c.name == bindparam("user")).scalar_subquery()
_INSERT = Prepared(insert(audit_events).inline().values(user_id=_id_of_user).returning(audit_events.c.user_id))


def record_event(connection: Connection, event: str, now: datetime, *, user: str | None, **facts: Fact) -> str | None:
    """Appends one event. Facts that are None are left out. Returns the id of the user, or None if nobody has the name.

    Facts must not hold a code, a secret or a token. A fact with such a name is hidden, as in the log.
    """
    known = {name: _hidden(name, value) for name, value in facts.items() if value is not None}
    values = {"at": now, "event": event, "user_name": user, "facts": canonical(known), "user": user}
    found: str | None = _INSERT.first(connection, values).user_id
    return found


def canonical(value: object) -> str:
    r"""Returns JSON in the form that is stored and hashed: sorted names, no blanks between them.

    All characters are between blank and `~`; others are written `\uXXXX`.
    """
    return _JSON.encode(value).replace("\x7f", "\\u007f")


def _hidden(name: str, value: Fact) -> Fact:
    return "[hidden]" if name.rpartition("_")[2] in HIDDEN else value
