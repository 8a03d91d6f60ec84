"""Writes the audit log: the events of challenges and keys, each in the transaction of the change that it records.

`chain` seals the events afterwards.
"""

import json
from datetime import datetime

from sqlalchemy import Connection, insert

from sshaft.log import HIDDEN
from sshaft_identity.database.prepared import Prepared
from sshaft_identity.database.tables import audit_events

Fact = str | int | bool | None

_JSON = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
_INSERT = Prepared(insert(audit_events).inline())


def record_event(connection: Connection, event: str, now: datetime, *, user: str | None, **facts: Fact) -> None:
    """Appends one event. Facts that are None are left out.

    Facts must not hold a code, a secret or a token. A fact with such a name is hidden, as in the log.
    """
    known = {name: _hidden(name, value) for name, value in facts.items() if value is not None}
    _INSERT.all(connection, {"at": now, "event": event, "user_name": user, "facts": canonical(known)})


def canonical(value: object) -> str:
    r"""Returns JSON in the form that is stored and hashed: sorted names, no blanks between them.

    All characters are between blank and `~`; others are written `\uXXXX`.
    """
    return _JSON.encode(value).replace("\x7f", "\\u007f")


def _hidden(name: str, value: Fact) -> Fact:
    return "[hidden]" if name.rpartition("_")[2] in HIDDEN else value
