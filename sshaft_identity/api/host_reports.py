"""Takes the reports of hosts: who is logged in there, and which approvals they remember."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, Field, Strict, model_validator
from starlette.responses import Response
from starlette.routing import Route

from sshaft.log import get_logger
from sshaft_identity.api.answers import EndedEntries, HostReportAnswer
from sshaft_identity.clients.clients import Client, Scope
from sshaft_identity.common.errors import RegistryError
from sshaft_identity.common.fields import Fingerprint, Line
from sshaft_identity.host_logins.entries import Kind, Reported
from sshaft_identity.web.call import Call, Message, in_thread
from sshaft_identity.web.problem import ProblemError

MAX_BODY = 1024 * 1024
MAX_ENTRIES = 10_000

EntryId = Annotated[str, Field(pattern="^[A-Za-z0-9_-]{1,64}$")]
Name = Annotated[Line, Field(max_length=255)]


def _of_this_age(time: datetime) -> datetime:
    """Refuses a time that cannot be stored and shown in UTC, or that no clock says."""
    if not 1970 < time.year < 2400:
        raise ValueError("must be a time between 1971 and 2399")
    return time


Time = Annotated[AwareDatetime, Strict(strict=False), AfterValidator(_of_this_age)]


class RememberedMessage(Message):
    """An approval that the host remembers."""

    id: EntryId
    approval: EntryId
    account: Name
    service: Name
    network: Name
    key_fingerprint: Fingerprint | None = None
    until: Time
    used_at: Time | None = None

    def reported(self) -> Reported:
        return Reported(
            Kind.REMEMBERED, self.id, self.account, self.service, self.network, self.key_fingerprint, self.approval,
            until=self.until, used_at=self.used_at,
        )  # fmt: skip


class SessionMessage(Message):
    """A session that is open at the host. The person has approved it here, or has an account at a provider."""

    id: EntryId
    account: Name
    service: Name
    source: Name | None = None
    began: Time
    approval: EntryId | None = None
    iss: Annotated[str, Field(max_length=2048)] | None = None
    sub: Annotated[str, Field(max_length=255)] | None = None

    def reported(self, call: Call, client: Client) -> Reported:
        is_ours = self.iss == call.state.settings.base_url and self.sub is not None
        user_id = call.state.store.subjects.user_id_of(client, self.sub or "") or self.sub if is_ours else None
        return Reported(
            Kind.SESSION, self.id, self.account, self.service, self.source, None, self.approval, user_id,
            None if is_ours else self.iss, None if is_ours else self.sub, began_at=self.began,
        )  # fmt: skip


class HostReport(Message):
    """The whole present state of a host."""

    host: Annotated[Name, Field(min_length=1)]
    remembered: list[RememberedMessage] = Field(max_length=MAX_ENTRIES)
    sessions: list[SessionMessage] = Field(max_length=MAX_ENTRIES)

    @model_validator(mode="after")
    def _limit(self) -> "HostReport":
        if len(self.remembered) + len(self.sessions) > MAX_ENTRIES:
            raise ValueError(f"a report has {MAX_ENTRIES} entries at the most")
        return self


def report(call: Call) -> Response:
    """Stores the state of a host of this client, and says what must end there."""
    client, state = call.client(Scope.APPROVALS), call.state
    now, wanted = state.clock(), call.message(HostReport)
    source = f"{client.client_id} {wanted.host}"
    if not state.report_throttle.allows(source, now):
        wait = state.report_throttle.wait(source, now)
        raise ProblemError("too_many_reports", headers={"Retry-After": str(max(1, wait))})
    entries = [each.reported() for each in wanted.remembered]
    entries += [each.reported(call, client) for each in wanted.sessions]
    try:
        over = state.store.host_reports.take(client.client_id, wanted.host, entries, now)
    except RegistryError as error:
        raise ProblemError("too_many_hosts", detail=str(error)) from None
    ended = {kind: [entry for of, entry in over if of == kind] for kind in Kind}
    if over:
        counts = {f"ended_{kind}": len(ids) for kind, ids in ended.items()}
        get_logger().info("host_report.answered", client=client.client_id, host=wanted.host, **counts)
    return HostReportAnswer(
        ended=EndedEntries(remembered=ended[Kind.REMEMBERED], sessions=ended[Kind.SESSION])
    ).response()


ROUTES = [Route("/api/v1/approvals/report", in_thread(report, largest=MAX_BODY), methods=["POST"])]
