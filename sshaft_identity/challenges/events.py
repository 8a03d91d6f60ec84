"""Records an event about a challenge in the audit log."""

from datetime import datetime

from sqlalchemy import Connection

from sshaft_identity.audit.log import Fact, record_event
from sshaft_identity.challenges.challenge import Challenge


def record_challenge(
    connection: Connection, event: str, challenge: Challenge, now: datetime, **facts: Fact
) -> str | None:
    """Appends one event with the facts of the challenge, except its code. `facts` add facts or replace them.

    Returns the id of the user, or None if the challenge names no user, or nobody has the name.
    """
    known: dict[str, Fact] = {
        "challenge": challenge.id,
        "client": challenge.client,
        "app": challenge.context.app,
        "hint": challenge.hint,
        "browser_address": challenge.context.ip,
    }
    approval = challenge.approval
    if approval is not None:
        known |= {
            "fingerprint": approval.fingerprint,
            "key_type": approval.key_type,
            "ssh_address": approval.client_ip,
            "amr": " ".join(approval.amr),
        }
    return record_event(connection, event, now, user=challenge.user, **known | facts)
