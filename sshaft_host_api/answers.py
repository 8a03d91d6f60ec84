"""Reads the answers of the agent into values. An answer that is not of its form is a failure, never a permission."""

from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Json, ValidationError, model_validator

from sshaft.errors import ReachError
from sshaft.validation import first_fault

State = Literal["not_deployed", "deployed", "pending", "rejected", "suspended", "limited", "unknown"]
Flag = Annotated[bool, BeforeValidator(lambda value: value == "1")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class Answer(_Part):
    kind: ClassVar[str]


class Provider(_Part):
    issuer: str
    scopes: tuple[str, ...] = ()
    audience: str | tuple[str, ...] = ""


class Info(Answer):
    """What the host says about itself, for everybody."""

    kind: ClassVar[str] = "info"
    login_info: dict[str, Any] = {}
    providers: tuple[Provider, ...] = ()


class Authorisation(Answer):
    """Which people of an issuer may log in."""

    kind: ClassVar[str] = "authorisation"
    issuer: str
    type: Literal["all users", "individual users", "VO-based", "not configured", "not supported"]
    info: str
    vos: tuple[str, ...] = ()
    audience: str | tuple[str, ...] = ""


class Change(_Part):
    """What the question has changed."""

    created: bool = False
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    request: Literal["new", "updated", "unchanged"] = "unchanged"
    """The request for an approval."""
    done: bool = False
    """Whether the account was suspended or resumed."""


class Account(Answer):
    """The account of a person. The name is empty if there is no account."""

    kind: ClassVar[str] = "user"
    state: State
    name: str = ""
    subject: str = ""
    issuer: str = ""
    change: Json[Change] = Change()
    supported: Flag = False
    successful: Flag = False

    @model_validator(mode="after")
    def _account_has_a_name(self) -> "Account":
        if self.state in ("deployed", "suspended", "limited") and self.name.split() != [self.name]:
            raise ValueError("the account has no name without blanks")
        return self


class Verification(Answer):
    kind: ClassVar[str] = "verify"
    state: State
    verified: Flag


class Denied(Answer):
    """A refusal or a failure. `detail` is safe to show."""

    kind: ClassVar[str] = "denied"
    status: Literal["unauthenticated", "forbidden", "busy", "failed"] = "failed"
    reason: str = ""
    detail: str = ""
    reference: str = ""


AnAnswer = TypeVar("AnAnswer", bound=Answer)


def read(model: type[AnAnswer], kind: str, fields: dict[str, str]) -> AnAnswer:
    """Returns an answer of the agent as a value. Raises `ReachError`."""
    if kind != model.kind:
        raise _unreadable(f"it is {kind}, not {model.kind}")
    try:
        return model.model_validate_json(fields["json"]) if "json" in fields else model.model_validate(fields)
    except ValidationError as error:
        raise _unreadable(first_fault(error)) from None


def _unreadable(fault: str) -> ReachError:
    return ReachError(f"the agent gave an answer that cannot be read: {fault}", peer="agent")
