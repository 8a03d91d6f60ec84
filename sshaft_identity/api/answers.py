"""What the API answers, as types: for its description (`openapi`). The endpoints build the answers themselves, and the
tests hold every one against these.
"""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

from sshaft_identity.challenges.challenge import Binding, State

Fingerprint = Annotated[str, Field(examples=["SHA256:FotcOXv9UQbnDPUyYt8z4WJ6YbnXzqdhHxx5LLnhK2c"])]
Code = Annotated[str, Field(pattern=r"^[0-9]{6,8}$")]


class Problem(BaseModel):
    """RFC 9457. `error` is what programs read."""

    type: Literal["about:blank"]
    title: str
    status: int
    error: str
    detail: str = ""
    attempts_left: int = Field(default=0, description="with `invalid_code`, where they are known")
    retry_after: int = Field(default=0, description="seconds, with `too_many_attempts`")


class TokenRequest(BaseModel):
    """RFC 6749 §4.4. `client_id` and `client_secret` stand here or in the Authorization header."""

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


class LoginContext(BaseModel):
    """What is being approved, for the person."""

    app: str = ""
    ip: str = ""
    user_agent: str = ""
    started_at: datetime


class OpenEnrolment(BaseModel):
    """Nobody owns the key, and while an invitation is open it may be presented."""

    enrolment: Literal["open"]
    fingerprint: str
    expires_at: datetime


class KeyEntry(BaseModel):
    """A registered key, and one pending challenge of its owner."""

    user: str
    authorized_key: str
    challenge: str | None = Field(default=None, description="absent: a challenge that names nobody")
    expires_at: datetime | None = None
    binding: Binding | None = None
    verify_required: bool = False
    context: LoginContext | None = None


class KeyList(RootModel[list[KeyEntry | OpenEnrolment]]):
    pass


class AcceptAnswer(BaseModel):
    state: Literal["accepted", "presented"]
    challenge: str
    context: LoginContext
    code: Code | None = Field(default=None, description="with `presented`: for the person to type in the browser")


class RejectAnswer(BaseModel):
    state: Literal["rejected"]


class PresentAnswer(BaseModel):
    state: Literal["presented"]
    expires_at: datetime


class EnrolmentAnswer(BaseModel):
    model_config = ConfigDict(title="Enrolment")

    id: str
    state: str
    user: str
    created_at: datetime
    expires_at: datetime
    fingerprint: Fingerprint | None = None
    key_type: str | None = None
    source: str | None = Field(default=None, description="how the key came: ssh, signature")
    client_ip: str | None = None


class InvitedAnswer(EnrolmentAnswer):
    """With what is shown once."""

    model_config = ConfigDict(title="Invitation")

    code: str | None = Field(default=None, description="absent where enrolment over SSH is switched off")
    ssh_command: str | None = None
    page_url: str


class ChallengeAnswer(BaseModel):
    model_config = ConfigDict(title="Challenge")

    id: str
    state: State
    user: str | None
    app: str | None
    binding: Binding
    verify_required: bool
    created_at: datetime
    expires_at: datetime
    accepted_at: datetime | None = None
    fingerprint: Fingerprint | None = None
    key_type: str | None = None
    client_ip: str | None = None
    amr: list[str] | None = Field(default=None, description="RFC 8176")
    acr: str | None = Field(default=None, description="what the SSH login proved about this web login")


class OpenedAnswer(ChallengeAnswer):
    """With what is shown once."""

    model_config = ConfigDict(title="OpenedChallenge")

    code: Code | None = Field(default=None, description="with binding code_in")
    ssh_command: str
    page_url: str


class ConsumedAnswer(ChallengeAnswer):
    model_config = ConfigDict(title="ConsumedChallenge")

    result: str | None = Field(default=None, description="signed: a JWT of type challenge-result+jwt, for five minutes")


class PageState(BaseModel):
    state: str
    attempts_left: int
    expires_in: int


class Status(BaseModel):
    status: str


class KeySet(BaseModel):
    """RFC 7517."""

    keys: list[dict[str, str | list[str]]]
