"""Records an event about an approval in the audit log."""

from datetime import datetime

from sqlalchemy import Connection

from sshaft_identity.approvals.approval import Approval
from sshaft_identity.audit.log import Fact, record_event


def record_approval(connection: Connection, event: str, approval: Approval, now: datetime, **facts: Fact) -> str | None:
    """Appends one event with the facts of the approval, except its digits. `facts` add facts or replace them.

    The event is about the user who may approve, or about the user who has approved. Returns the id of that user, or
    None if nobody has the name.
    """
    asked, consent = approval.asked, approval.consent
    known: dict[str, Fact] = {
        "approval": approval.id,
        "client": approval.client,
        "host": asked.host,
        "service": asked.service,
        "account": asked.account,
        "ssh_address": asked.client_ip,
        "fingerprint": asked.key_fingerprint,
    }
    if consent is not None:
        known |= {"browser_address": consent.browser_ip, "amr": " ".join(consent.person.amr) or None}
    user = asked.user if consent is None else consent.person.user
    return record_event(connection, event, now, user=user, **known | facts)
