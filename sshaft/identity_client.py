"""Calls the identity API: list, accept, reject, enrol (docs/identity-api.md). `authorized_client` retries."""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ValidationError

from sshaft import listing
from sshaft.clocks import correction, shifted
from sshaft.config import Config
from sshaft.deadline import Deadline
from sshaft.errors import IDENTITY, ConfigurationError, IdentityServiceError
from sshaft.http_client import Answer, HttpClient
from sshaft.listing import Context, ContextMessage, Grant, Listing
from sshaft.oauth.authorized_client import AuthorizedClient
from sshaft.public_key import PublicKey
from sshaft.validation import OptionalMember

MAX_CHOICES = 9
"""A person chooses by one digit."""


def _fingerprint_limit(text: str | None) -> int:
    """Returns how many keys the server takes in one question; 1 if the header is missing or malformed."""
    return max(1, int(text)) if text and text.isascii() and text.isdigit() and len(text) < 4 else 1


def _or_absent(kind: type) -> BeforeValidator:
    """Returns a validator that reads a member of another type as absent: the other members stay usable."""
    return BeforeValidator(lambda value: value if type(value) is kind else None)


def _readable_choices(value: Any) -> list[Any]:
    """Returns the first items that name a challenge, and leaves out malformed ones."""
    items = value if isinstance(value, list) else []
    return [item for item in items if isinstance(item, dict) and isinstance(item.get("challenge"), str)][:MAX_CHOICES]


class _Choice(BaseModel):
    """One of several logins that wait."""

    challenge: str
    context: Annotated[ContextMessage | None, _or_absent(dict)] = None


class _Ending(BaseModel):
    """How a login ended that is over."""

    at: OptionalMember[AwareDatetime] = None
    reason: OptionalMember[str] = None
    fingerprint: OptionalMember[str] = None
    key_name: OptionalMember[str] = None


class _Problem(BaseModel):
    """The members of a problem (RFC 9457) that choose the sentence for the person."""

    error: Annotated[str | None, _or_absent(str)] = None
    attempts_left: Annotated[int | None, _or_absent(int)] = None
    context: Annotated[ContextMessage | None, _or_absent(dict)] = None
    reason: Annotated[str | None, _or_absent(str)] = None
    retry_after: Annotated[int | None, _or_absent(int)] = None
    choices: Annotated[list[_Choice], BeforeValidator(_readable_choices)] = []
    ending: OptionalMember[_Ending] = None


def _readable_code(value: Any) -> str | None:
    return value if isinstance(value, str) and re.fullmatch("[0-9]{1,12}", value) else None


class _Passed(BaseModel):
    """The body of a 2xx answer. The original's server sends none, and need not."""

    state: Annotated[str | None, _or_absent(str)] = None
    code: Annotated[str | None, BeforeValidator(_readable_code)] = None
    context: Annotated[ContextMessage | None, _or_absent(dict)] = None


@dataclass(frozen=True)
class Claim:
    """The user, key, challenge and address of an attempt: the body of accept and reject."""

    user: str
    challenge: str | None = None
    code: str | None = None
    fingerprint: str | None = None
    key_type: str | None = None
    client_ip: str | None = None
    verified: bool = False
    """The key line had `verify-required`."""
    confirmed: bool = False
    """The person has seen what is approved and has said yes."""
    knows_challenges: bool = True

    @classmethod
    def of(
        cls, grant: Grant, signed: PublicKey | None, code: str | None, client_ip: str, *, confirmed: bool = False
    ) -> "Claim":
        """Returns the claim of a grant. `signed` is None where sshd does not say which key signed."""
        return cls(
            user=grant.user,
            challenge=grant.challenge,
            code=code,
            fingerprint=signed.fingerprint if signed else None,
            key_type=signed.type if signed else None,
            client_ip=client_ip or None,
            verified=grant.verify_required,
            confirmed=confirmed,
            knows_challenges=grant.knows_challenges,
        )

    def body(self) -> dict[str, str | bool]:
        """Returns the JSON body. A server without challenges gets the user only, as the original sent it."""
        if not self.knows_challenges:
            return {"user": self.user}
        named = {
            "user": self.user,
            "challenge": self.challenge,
            "code": self.code,
            "fingerprint": self.fingerprint,
            "key_type": self.key_type,
            "client_ip": self.client_ip,
            "verified": self.verified or None,
            "confirmed": self.confirmed or None,
        }
        return {name: value for name, value in named.items() if value is not None}


@dataclass(frozen=True)
class Choice:
    """One of several logins among which the person chooses."""

    challenge: str
    context: Context


@dataclass(frozen=True)
class Ending:
    """How a login ended that is over. All text is foreign."""

    at: datetime
    reason: str | None = None
    key: str | None = None
    """The name of the key, or its fingerprint."""


@dataclass(frozen=True)
class Outcome:
    """The answer of the identity service.

    `state` is `accepted`, `rejected` (after reject), `presented` (the person types `code` in the web login), or the
    reason for a no:

    `code_required`, `confirm_required`, `choice_required`, `invalid_code`, `other_user`, `unknown_key`, `no_challenge`,
    `already_used`, `expired`, `cancelled`, `already_rejected`, `too_many_attempts`, `address_mismatch`,
    `verification_required`, `refused`.
    """

    state: str
    attempts_left: int | None = None
    code: str | None = field(default=None, repr=False)
    context: Context | None = None
    reason: str | None = None
    """Why a key may not be registered (`key_refused`)."""
    retry_after: int | None = None
    """The seconds until the service looks at codes again (`too_many_attempts`)."""
    choices: tuple[Choice, ...] = ()
    ending: Ending | None = None

    def fields(self, now: datetime) -> dict[str, str]:
        """Returns the fields of the agent's answer to sshaft-login. Only `state` is always there.

        `app`, `address` and `age` (in seconds) describe what is approved. `choices` is a number, and
        `app_a`, `app_b` and so on describe the choices. `ended_ago` (in seconds), `ended_with` (a key) and
        `ended_because` describe how a login ended.
        """
        named = {
            "state": self.state,
            "attempts_left": self.attempts_left,
            "retry_after": self.retry_after,
            "code": self.code,
            "choices": len(self.choices) or None,
            **_described(self.context or Context(), now),
            **({} if self.ending is None else _ended(self.ending, now)),
        }
        for letter, choice in zip("abcdefghi", self.choices, strict=False):
            named |= {f"{name}_{letter}": value for name, value in _described(choice.context, now).items()}
        return {name: str(value) for name, value in named.items() if value is not None}

    def shifted(self, by: timedelta) -> "Outcome":
        """Returns the same by the clock of a host that is `by` ahead."""
        choices = tuple(replace(choice, context=choice.context.shifted(by)) for choice in self.choices)
        ending = self.ending and replace(self.ending, at=shifted(self.ending.at, by))
        return replace(self, context=self.context and self.context.shifted(by), choices=choices, ending=ending)


def _described(context: Context, now: datetime) -> dict[str, str | int | None]:
    age = None if context.started_at is None else max(0, int((now - context.started_at).total_seconds()))
    return {"app": context.app, "address": context.ip, "age": age}


def _ended(ending: Ending, now: datetime) -> dict[str, str | int | None]:
    ago = max(0, int((now - ending.at).total_seconds()))
    return {"ended_ago": ago, "ended_with": ending.key, "ended_because": ending.reason}


_BY_STATUS = {403: "refused", 404: "no_challenge", 409: "already_used", 410: "expired", 429: "too_many_attempts"}
_BY_ERROR = {
    "code_required": "code_required",
    "invalid_code": "invalid_code",
    "unknown_key": "unknown_key",
    "no_challenge": "no_challenge",
    "already_used": "already_used",
    "expired": "expired",
    "cancelled": "cancelled",
    "rejected": "already_rejected",
    "too_many_attempts": "too_many_attempts",
    "confirm_required": "confirm_required",
    "choice_required": "choice_required",
    "other_user": "other_user",
    "address_mismatch": "address_mismatch",
    "verification_required": "verification_required",
}
_OF_ENROLMENT = {
    "invalid_code",
    "no_enrolment",
    "already_presented",
    "key_taken",
    "already_registered",
    "key_refused",
    "too_many_attempts",
}
_MISCONFIGURED = {"not_found": "check the endpoint", "insufficient_scope": "check token_scope"}
"""Problems of the configuration and not of a login: a failure for the operator, and no answer for the person."""


class IdentityClient:
    """A client of the identity API. Safe for several threads.

    The times in its answers are corrected to this host's clock, `now`, which may differ from the service's clock.
    """

    def __init__(
        self,
        config: Config,
        *,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        config.credentials.check()
        certificate = None
        if config.client_certificate_file and config.client_certificate_key_file:
            certificate = (config.client_certificate_file, config.client_certificate_key_file)
        self.config = config
        self._now = now
        http = HttpClient(ca_file=config.ca_file, proxy=config.proxy, certificate=certificate, peer=IDENTITY)
        token_endpoint, scope = config.token_endpoint, config.token_scope
        self._client = AuthorizedClient(http, config.credentials, token_endpoint, scope, sleep=sleep)
        self.access_tokens = self._client.access_tokens

    def close(self) -> None:
        self._client.close()

    def list_keys(self, fingerprints: Sequence[str], deadline: Deadline, request_id: str) -> Listing:
        """Returns the listing for these keys, or for all keys if `fingerprints` is empty.

        Ask for several keys only if an earlier listing of this server says how many it `takes`. Raises
        `RemoteServiceError`.
        """
        parameters = {"fingerprint": list(fingerprints)}

        def once() -> Answer:
            return self._client.send("GET", self.config.mfa_list_endpoint, deadline, request_id, params=parameters)

        answer = self._client.retry(once, deadline, may_repeat=True)
        if answer.status != 200:
            raise IdentityServiceError(f"{self.config.mfa_list_endpoint}: answered {answer.status}")
        listed = listing.parse(answer.body, self.config.allowed_key_types)
        listed = replace(listed, takes=_fingerprint_limit(answer.headers.get("Sshaft-Fingerprints")))
        ahead = correction(answer.headers.get("Date"), self._now())
        return listed.shifted(ahead) if ahead else listed

    def accept(self, claim: Claim, attempt: str, deadline: Deadline, request_id: str) -> Outcome:
        """Reports that ssh has proven the key. The service counts repetitions with the same `attempt` once."""
        return self._report(self.config.mfa_accept_endpoint, "accepted", claim, attempt, deadline, request_id)

    def reject(self, claim: Claim, attempt: str, deadline: Deadline, request_id: str) -> Outcome:
        """Reports that the person denies the login."""
        if self.config.mfa_reject_endpoint is None:
            raise ConfigurationError("mfa_reject_endpoint is not configured: this identity service takes no denials")
        return self._report(self.config.mfa_reject_endpoint, "rejected", claim, attempt, deadline, request_id)

    def enrol(self, key: PublicKey, code: str, client_ip: str | None, deadline: Deadline, request_id: str) -> Outcome:
        """Presents a key that ssh has just proven, with an enrolment code. The state is `presented` or why not."""
        url = self.config.mfa_enrol_endpoint
        if url is None:
            return Outcome("no_enrolment")
        body = {"code": code, "authorized_key": str(key), "fingerprint": key.fingerprint}
        if client_ip is not None:
            body["client_ip"] = client_ip

        def once() -> Answer:
            return self._client.send("POST", url, deadline, request_id, json=body)

        # A wrong code that arrives twice counts twice.
        answer = self._client.retry(once, deadline, may_repeat=False)
        if answer.status == 200:
            return Outcome("presented")
        problem = _problem(answer.body)
        if problem.error not in _OF_ENROLMENT:
            what = problem.error or "no reason given"
            raise IdentityServiceError(f"{url}: answered {answer.status} ({what}): check mfa_enrol_endpoint and scope")
        return Outcome(problem.error, reason=problem.reason, retry_after=problem.retry_after)

    def _report(
        self, url: str, success: str, claim: Claim, attempt: str, deadline: Deadline, request_id: str
    ) -> Outcome:
        def once() -> Answer:
            headers = {"Idempotency-Key": attempt}
            return self._client.send("POST", url, deadline, request_id, json=claim.body(), headers=headers)

        # Only a server with challenges promises that the same report may arrive twice.
        answer = self._client.retry(once, deadline, may_repeat=claim.knows_challenges)
        outcome = self._outcome(url, answer, success)
        ahead = correction(answer.headers.get("Date"), self._now())
        return outcome.shifted(ahead)

    @staticmethod
    def _outcome(url: str, answer: Answer, success: str) -> Outcome:
        if 200 <= answer.status < 300:
            return _passed(answer.body, success)
        problem = _problem(answer.body)
        if problem.error in _MISCONFIGURED:
            raise IdentityServiceError(
                f"{url}: answered {answer.status} ({problem.error}): {_MISCONFIGURED[problem.error]}"
            )
        state = _BY_ERROR.get(problem.error or "") or _BY_STATUS.get(answer.status)
        if state is None:
            raise IdentityServiceError(f"{url}: answered {answer.status}")
        choices = tuple(Choice(each.challenge, _context_of(each) or Context()) for each in problem.choices)
        if state == "choice_required" and not choices:
            raise IdentityServiceError(f"{url}: answered `choice_required` without choices")
        return Outcome(
            state,
            problem.attempts_left,
            context=_context_of(problem),
            retry_after=problem.retry_after,
            choices=choices,
            ending=_ending_of(problem.ending),
        )


def _passed(body: bytes, success: str) -> Outcome:
    """Returns the outcome of a 2xx: `success` whatever the body is, unless the body says `presented`."""
    try:
        passed = _Passed.model_validate_json(body)
    except ValidationError:
        return Outcome(success)
    context = _context_of(passed)
    if passed.state != "presented":
        return Outcome(success, context=context)
    if passed.code is None:
        raise IdentityServiceError("the answer to accept says `presented` and gives no code of 1 to 12 digits")
    return Outcome("presented", code=passed.code, context=context)


def _context_of(answer: _Passed | _Problem | _Choice) -> Context | None:
    return None if answer.context is None else answer.context.value


def _ending_of(answer: _Ending | None) -> Ending | None:
    if answer is None or answer.at is None:
        return None
    return Ending(answer.at, answer.reason, answer.key_name or answer.fingerprint)


def _problem(body: bytes) -> _Problem:
    try:
        return _Problem.model_validate_json(body)
    except ValidationError:
        return _Problem()
