"""The audit log: what happened to challenges and keys, written in the transaction in which it happens, so that neither
is without the other. `audit_chain` seals the events afterwards.
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
    """Append one event. Facts that are None are left out. Never a code, a secret or a token among them: what is called
    so is hidden, as in the log.
    """
    known = {name: _hidden(name, value) for name, value in facts.items() if value is not None}
    _INSERT.all(connection, {"at": now, "event": event, "user_name": user, "facts": canonical(known)})


def canonical(value: object) -> str:
    r"""JSON in the one form that is stored and hashed: sorted names, no blanks, and only characters from blank to `~`;
    the others are written `\uXXXX`.
    """
    return _JSON.encode(value).replace("\x7f", "\\u007f")


def _hidden(name: str, value: Fact) -> Fact:
    return "[hidden]" if name.rpartition("_")[2] in HIDDEN else value
