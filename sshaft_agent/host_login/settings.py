"""Describes `host_login` in config.json: the OpenID Provider, who may log in, and the account of each person."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from sshaft.config import Text
from sshaft_agent.host_login.texts import Drawing, ErrorCorrection, Messages
from sshaft_oidc.settings import ClientSettings

_SECONDS = Annotated[float, Field(gt=0, le=3600)]


def _pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from None
    return value


class Allow(BaseModel):
    """Who may log in. Each member that is there must hold; one of `everyone`, `users` and `groups` must be there."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    everyone: bool = Field(default=False, description="whoever the provider lets in")
    users: tuple[Text, ...] | None = Field(default=None, description="accounts of this host")
    groups: tuple[Text, ...] | None = Field(default=None, description="values of `groups_claim`; one of them is enough")
    acr: tuple[Text, ...] | None = Field(default=None, description="values of acr; one of them must be there")
    amr: tuple[Text, ...] | None = Field(default=None, description="values of amr; all of them must be there")

    @model_validator(mode="after")
    def _names_somebody(self) -> "Allow":
        if not (self.everyone or self.users or self.groups):
            raise ValueError('names nobody; use "groups", "users", or "everyone": true')
        return self


class HostLoginSettings(ClientSettings):
    """Host login at one OpenID Provider. Four lines are enough: issuer, client_id, client_secret_file, allow."""

    allow: Allow
    claim: Text = Field(
        default="preferred_username", description="names the account; people must not be able to change it"
    )
    match: Annotated[str, Field(max_length=512), AfterValidator(_pattern)] = Field(
        default=r"(.+)", description="a regular expression for the whole value of the claim"
    )
    name: Annotated[str, Field(pattern=r"^(?:[A-Za-z0-9._@+-]|\\[1-9])+$")] = Field(
        default=r"\1", description=r"the account, from the groups of `match`: \1"
    )
    uid_claim: Text | None = Field(
        default=None, description="instead of `claim`: the account is the one that has this uid on this host"
    )
    groups_claim: Text = "groups"
    state_directory: Path = Field(
        default=Path("/var/lib/sshaft-agent"), description="which identity has which account; the agent writes there"
    )
    messages: Messages = Messages()
    qr: Drawing = Field(default="utf8", description="ascii: for clients without UTF-8")
    qr_error_correction: ErrorCorrection = "L"
    enter: Literal["always", "never"] = Field(
        default="always",
        description="never: the login goes on by itself; OpenSSH before 10.3 shows no code then",
    )
    login_seconds: _SECONDS = Field(
        default=300, description="a login ends after this time, or when the provider ends it"
    )
    pending_per_user: Annotated[int, Field(ge=1, le=100)] = Field(
        default=1, description="logins that wait for one account from one address"
    )
    pending_per_source: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=3, description="logins that wait from one address (IPv6: network of 64 bits)"
    )

    @property
    def named_by(self) -> str:
        """Returns the claim that names the account."""
        return self.uid_claim or self.claim

    @model_validator(mode="after")
    def _template_fits(self) -> "HostLoginSettings":
        """Refuses a template that names a group which `match` does not have."""
        groups = re.compile(self.match).groups
        if any(int(number) > groups for number in re.findall(r"\\([1-9])", self.name)):
            raise ValueError(f"name uses a group that match does not have: it has {groups}")
        return self
