"""Records refused requests in the audit log: the first as events of their own, and the others as one with a count."""

from typing import TYPE_CHECKING

from sshaft.addresses import source_of
from sshaft.log import get_logger
from sshaft_identity.audit.log import record_event
from sshaft_identity.common.fields import one_line
from sshaft_identity.web.browsers import client_address
from sshaft_identity.web.refusals import Refusal
from sshaft_identity.web.state import AppState

if TYPE_CHECKING:
    from sshaft_identity.web.call import Call

_MAX_ADDRESS_LENGTH = 64


def note(call: "Call", face: str, error: str, reason: str) -> None:
    """`reason` must not hold foreign text. Only an authenticated client is recorded, never a claimed name."""
    address = one_line(client_address(call.request) or "")[:_MAX_ADDRESS_LENGTH] or None
    refusal = Refusal(face, error, reason, call.caller, address and source_of(address))
    if call.state.refusals.is_event(refusal, call.state.clock()):
        _write(call.state, refusal, address)


def record_counts(state: AppState) -> None:
    """Records one event for all refusals of a kind, client and source that got no event of their own."""
    for refusal, count in state.refusals.take_counts().items():
        _write(state, refusal, refusal.source, count=count)


def _write(state: AppState, refusal: Refusal, address: str | None, **more: int) -> None:
    facts = {"face": refusal.face, "error": refusal.error, "reason": refusal.reason, "client": refusal.client} | more
    get_logger().warning("request.refused", address=address, **facts)
    with state.store.database.write() as connection:
        record_event(connection, "request.refused", state.clock(), user=None, client_ip=address, **facts)
