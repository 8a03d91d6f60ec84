"""The audit log: what happened to challenges and keys, written in the transaction in which it happens, so that neither
is without the other.
"""

import json
from datetime import datetime

from sqlalchemy import Connection, insert

from sshaft_identity.tables import audit_events

Fact = str | int | bool | None


def record(connection: Connection, event: str, now: datetime, *, user: str | None, **facts: Fact) -> None:
    """Append one event. Facts that are None are left out. Never a code, a secret or a token among them."""
    known = {name: value for name, value in facts.items() if value is not None}
    text = json.dumps(known, sort_keys=True, separators=(",", ":"))
    connection.execute(insert(audit_events).values(at=now, event=event, user_name=user, facts=text))
