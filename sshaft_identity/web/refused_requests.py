"""Records a refused request as one event in the audit log."""

from sshaft.log import get_logger
from sshaft_identity.audit.log import record_event
from sshaft_identity.common.fields import one_line
from sshaft_identity.web.browsers import client_address
from sshaft_identity.web.call import Call

_MAX_ADDRESS_LENGTH = 64


def note(call: Call, face: str, error: str, reason: str) -> None:
    """`reason` must not hold foreign text. Only an authenticated client is recorded, never a claimed name."""
    address = client_address(call.request)
    get_logger().warning("request.refused", face=face, error=error, reason=reason, client=call.caller, address=address)
    facts = {
        "face": face,
        "error": error,
        "reason": reason,
        "client": call.caller,
        "client_ip": one_line(address or "")[:_MAX_ADDRESS_LENGTH] or None,
    }
    with call.state.store.database.write() as connection:
        record_event(connection, "request.refused", call.state.clock(), user=None, **facts)
