"""Defines the JSON answers of the API. The endpoints return these types, and `openapi` describes them."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, RootModel

from sshaft_identity.approvals import approvals
from sshaft_identity.approvals.approval import OPEN, Approval, Consent
from sshaft_identity.approvals.approval import State as ApprovalsState
from sshaft_identity.challenges.challenge import Binding, Challenge, State, Verdict
from sshaft_identity.challenges.challenges import Opened
from sshaft_identity.challenges.endings import Ending
from sshaft_identity.challenges.listing import ListedKey
from sshaft_identity.common.times import rfc3339
from sshaft_identity.enrolment import enrolment as enrolments
from sshaft_identity.people.users import LinkedAccount
from sshaft_identity.settings import Settings

if TYPE_CHECKING:
    from starlette.responses import Response

PassedState = Literal[Verdict.ACCEPTED, Verdict.PRESENTED]
Time = Annotated[datetime, PlainSerializer(rfc3339)]
Fingerprint = Annotated[str, Field(examples=["SHA256:FotcOXv9UQbnDPUyYt8z4WJ6YbnXzqdhHxx5LLnhK2c"])]
Code = Annotated[str, Field(pattern=r"^[0-9]{6,8}$")]
APPROVAL_INTERVAL = 2


class JsonAnswer(BaseModel):
    """An answer leaves out every member that its constructor did not set."""

    def members(self) -> Any:
        """Returns the answer as JSON values."""
        return self.model_dump(mode="json", exclude_unset=True)

    def response(self, status: int = 200, headers: Mapping[str, str] | None = None) -> "Response":
        from starlette.responses import Response  # noqa: PLC0415 - the commands use these types without the web stack

        body = self.model_dump_json(exclude_unset=True)
        return Response(body, status, headers, media_type="application/json")


class Problem(BaseModel):
    """RFC 9457. Programs read `error`."""

    type: Literal["about:blank"]
    title: str
    status: int
    error: str
    detail: str = ""
    attempts_left: int = Field(default=0, description="with `invalid_code`, if their number is known")
    retry_after: int = Field(default=0, description="seconds, with `too_many_attempts` and `too_many_approvals`")
    tries_left: int = Field(default=0, description="with `wrong_digits`")
    state: str = Field(default="", description="that of the approval, with `not_approved`")
    choices: list["Choice"] = Field(default=[], description="the newest first, with `choice_required`")
    ending: "EndingAnswer | None" = Field(
        default=None, description="how a login ended that is over, for the person whose key has signed"
    )


class TokenRequest(BaseModel):
    """RFC 6749 §4.4. The body or the Authorization header holds `client_id` and `client_secret`."""

    grant_type: Literal["client_credentials"]
    scope: str = ""
    client_id: str = ""
    client_secret: str = ""


class TokenAnswer(BaseModel):
    """RFC 6749 §5.1."""

    access_token: str
    token_type: Literal["Bearer"]
    expires_in: int
    scope: str


class TokenError(BaseModel):
    """RFC 6749 §5.2."""

    error: str
    error_description: str


class LoginContext(JsonAnswer):
    """The login that the person approves, as the application described it."""

    app: str = ""
    ip: str = ""
    user_agent: str = ""
    started_at: Time

    @classmethod
    def of(cls, challenge: Challenge) -> Self:
        context = challenge.context
        members = {"app": context.app, "ip": context.ip, "user_agent": context.user_agent}
        known: dict[str, Any] = {name: value for name, value in members.items() if value is not None}
        return cls(started_at=challenge.created_at, **known)


class Choice(JsonAnswer):
    """A login that waits for ssh to print its code."""

    challenge: str
    context: LoginContext


class EndingAnswer(JsonAnswer):
    """When a login ended, and with which key of the person."""

    model_config = ConfigDict(title="Ending")

    at: Time
    reason: str | None = Field(default=None, description="that of the audit log, such as `denied` and `superseded`")
    fingerprint: Fingerprint | None = None
    key_name: str | None = None

    @classmethod
    def of(cls, ending: Ending) -> Self:
        known = {name: value for name, value in asdict(ending).items() if value is not None}
        return cls(**known)


class OpenEnrolment(JsonAnswer):
    """No user owns the key. It may be presented for enrolment until `expires_at`."""

    enrolment: Literal["open"]
    fingerprint: str
    expires_at: Time


class KeyEntry(JsonAnswer):
    """A registered key, and one pending challenge of its owner."""

    user: str
    authorized_key: str
    challenge: str | None = Field(default=None, description="absent: a challenge that names no user")
    expires_at: Time | None = None
    binding: Binding | None = None
    verify_required: bool = False
    context: LoginContext | None = None

    @classmethod
    def of(cls, listed: ListedKey) -> Self:
        user, key, challenge = listed.user, str(listed.key), listed.challenge
        if listed.anonymous and challenge is None:  # the code chooses among the challenges that name no user
            return cls(user=user, authorized_key=key, binding=Binding.CODE_IN)
        if challenge is None:
            return cls(user=user, authorized_key=key, challenge=None)
        return cls(
            user=user,
            authorized_key=key,
            challenge=challenge.id,
            expires_at=challenge.expires_at,
            binding=challenge.binding,
            verify_required=challenge.verify_required,
            context=LoginContext.of(challenge),
        )


class KeyList(JsonAnswer, RootModel[list[KeyEntry | OpenEnrolment]]):
    pass


class AcceptAnswer(JsonAnswer):
    state: PassedState
    challenge: str
    context: LoginContext
    code: Code | None = Field(default=None, description="with `presented`: the person types it in the browser")

    @classmethod
    def of(cls, state: PassedState, challenge: Challenge, code: str | None) -> Self:
        more = {} if code is None else {"code": code}
        return cls(state=state, challenge=challenge.id, context=LoginContext.of(challenge), **more)


class RejectAnswer(JsonAnswer):
    state: Literal["rejected"]


class SshServerAnswer(JsonAnswer):
    """The sshd that people reach. `host_keys`: `TYPE BASE64` each; empty if the operator gave none."""

    model_config = ConfigDict(title="SshServer")

    user: str
    host: str
    port: int
    host_keys: list[str]


class PresentAnswer(JsonAnswer):
    state: Literal["presented"]
    expires_at: Time


class EnrolmentAnswer(JsonAnswer):
    model_config = ConfigDict(title="Enrolment")

    id: str
    state: str
    user: str
    created_at: Time
    expires_at: Time
    fingerprint: Fingerprint | None = None
    key_type: str | None = None
    source: str | None = Field(default=None, description="how the person presented the key: ssh, signature")
    client_ip: str | None = None

    @classmethod
    def of(cls, enrolment: enrolments.Enrolment, state: enrolments.State, **more: Any) -> Self:
        """Returns the answer about an enrolment. `more`: the members of a subclass."""
        if enrolment.key is not None:
            more |= {
                "fingerprint": enrolment.key.fingerprint,
                "key_type": enrolment.key.type,
                "source": enrolment.source,
                "client_ip": enrolment.client_ip,
            }
        return cls(
            id=enrolment.id,
            state=state,
            user=enrolment.user,
            created_at=enrolment.created_at,
            expires_at=enrolment.expires_at,
            **more,
        )


class InvitedAnswer(EnrolmentAnswer):
    """A new enrolment. Only this answer holds the code and the address of the page."""

    model_config = ConfigDict(title="Invitation")

    code: str | None = Field(default=None, description="absent if enrolment over SSH is switched off")
    ssh_command: str | None = None
    page_url: str

    @classmethod
    def of_opened(cls, opened: enrolments.OpenedEnrolment, settings: Settings) -> Self:
        code = enrolments.hyphenate(opened.code)
        over_ssh = {"code": code, "ssh_command": settings.ssh_command("enrol", code)}
        return cls.of(
            opened.enrolment,
            opened.enrolment.state,
            page_url=settings.enrolment_url(opened.page_token),
            **over_ssh if settings.enrolment_over_ssh else {},
        )


class ChallengeAnswer(JsonAnswer):
    model_config = ConfigDict(title="Challenge")

    id: str
    state: State
    user: str | None
    app: str | None
    binding: Binding
    verify_required: bool
    created_at: Time
    expires_at: Time
    accepted_at: Time | None = None
    fingerprint: Fingerprint | None = None
    key_type: str | None = None
    client_ip: str | None = None
    amr: list[str] | None = Field(default=None, description="RFC 8176")
    acr: str | None = Field(default=None, description="what the SSH login proved about this web login")

    @classmethod
    def of(cls, challenge: Challenge, state: State, **more: Any) -> Self:
        """Returns the answer about a challenge. `more`: the members of a subclass."""
        approval = challenge.approval
        if approval is not None:
            more |= {
                "accepted_at": approval.accepted_at,
                "fingerprint": approval.fingerprint,
                "key_type": approval.key_type,
                "client_ip": approval.client_ip,
                "amr": approval.amr,
                "acr": challenge.acr,
            }
        return cls(
            id=challenge.id,
            state=state,
            user=challenge.user,
            app=challenge.context.app,
            binding=challenge.binding,
            verify_required=challenge.verify_required,
            created_at=challenge.created_at,
            expires_at=challenge.expires_at,
            **more,
        )


class OpenedAnswer(ChallengeAnswer):
    """A new challenge. Only this answer holds the code and the address of the page."""

    model_config = ConfigDict(title="OpenedChallenge")

    code: Code | None = Field(default=None, description="with binding code_in")
    ssh_command: str
    page_url: str

    @classmethod
    def of_opened(cls, opened: Opened, settings: Settings) -> Self:
        code = {"code": opened.code} if opened.challenge.binding is Binding.CODE_IN else {}
        return cls.of(
            opened.challenge,
            opened.challenge.state,
            ssh_command=settings.ssh_command(code.get("code")),
            page_url=settings.page_url(opened.page_token),
            **code,
        )


class ConsumedAnswer(ChallengeAnswer):
    model_config = ConfigDict(title="ConsumedChallenge")

    result: str | None = Field(default=None, description="signed: a JWT of type challenge-result+jwt, for five minutes")

    @classmethod
    def of_result(cls, challenge: Challenge, result: str | None) -> Self:
        """Returns the answer with the signed result. It has no member `result` if there is no key to sign with."""
        return cls.of(challenge, challenge.state, **{} if result is None else {"result": result})


ApprovalState = Literal[
    ApprovalsState.PENDING,
    ApprovalsState.APPROVED,
    ApprovalsState.DENIED,
    ApprovalsState.REPORTED,
    ApprovalsState.EXPIRED,
    ApprovalsState.PASSED,
    ApprovalsState.ENDED,
]


class OpenedApprovalAnswer(JsonAnswer):
    """A new approval. Only this answer holds the address of its page."""

    model_config = ConfigDict(title="OpenedApproval")

    id: str
    page: str
    expires_in: int = Field(description="seconds")
    interval: int = Field(description="seconds between two requests without `wait`, at least")

    @classmethod
    def of_opened(cls, opened: approvals.Opened, settings: Settings) -> Self:
        approval, page = opened.approval, settings.approval_url(opened.page_token)
        seconds = int((approval.expires_at - approval.created_at).total_seconds())
        return cls(id=approval.id, page=page, expires_in=seconds, interval=APPROVAL_INTERVAL)


class ApprovalAnswer(JsonAnswer):
    model_config = ConfigDict(title="Approval")

    state: ApprovalState
    expires_in: int = Field(description="seconds; 0 if the approval is over")

    @classmethod
    def of(cls, approval: Approval, now: datetime) -> Self:
        """Returns the answer. For the host an approval has passed as soon as the host has the identity."""
        state = approval.state_at(now)
        left = math.ceil((approval.expires_at - now).total_seconds()) if state in OPEN else 0
        told = ApprovalsState.PASSED if state is ApprovalsState.VERIFIED else state
        return cls(state=told, expires_in=max(0, left))


class LinkedAnswer(JsonAnswer):
    """The account at the organisation's OpenID Provider that is linked to the user."""

    model_config = ConfigDict(title="LinkedAccount")

    iss: str
    sub: str


class VerifiedApprovalAnswer(JsonAnswer):
    """Who has approved. A name may be given to another person later, a `sub` never."""

    model_config = ConfigDict(title="VerifiedApproval")

    iss: str
    sub: str
    user: str
    amr: list[str] = Field(description="RFC 8176: how the person signed in; empty: not known")
    acr: str | None
    auth_time: int = Field(description="when the person signed in, in seconds since 1970 (OpenID Connect Core 1.0 §2)")
    approved_at: Time
    key_fingerprint: Fingerprint | None = Field(default=None, description="as the host has named it")
    linked: LinkedAnswer | None = Field(default=None, description="left out: no account is linked to the user")

    @classmethod
    def of(
        cls, approval: Approval, consent: Consent, subject: str, issuer: str, linked: LinkedAccount | None
    ) -> Self:  # fmt: skip
        person, key = consent.person, approval.asked.key_fingerprint
        more: dict[str, Any] = {} if key is None else {"key_fingerprint": key}
        if linked is not None:
            more["linked"] = LinkedAnswer(iss=linked.issuer, sub=linked.subject)
        return cls(
            iss=issuer,
            sub=subject,
            user=person.user,
            amr=list(person.amr),
            acr=person.acr,
            auth_time=int(person.authenticated_at.timestamp()),
            approved_at=consent.at,
            **more,
        )


class PageState(BaseModel):
    state: str
    attempts_left: int
    expires_in: int


class Status(JsonAnswer):
    status: str


class KeySet(BaseModel):
    """RFC 7517."""

    keys: list[dict[str, str | list[str]]]


class EndedEntries(BaseModel):
    remembered: list[str]
    sessions: list[str]


class HostReportAnswer(JsonAnswer):
    """The host ends these of its entries at once."""

    ended: EndedEntries
