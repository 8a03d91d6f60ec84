"""Describes `host_login.roles` in config.json: whom a role is for, and what it gives."""

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from sshaft.config import Period
from sshaft_agent.host_login.claims import Conditions
from sshaft_agent.host_login.first_login.settings import PathInPasswd


def _not_root(value: str) -> str:
    if value == "root":
        raise ValueError("must not be root")
    return value


GroupName = Annotated[str, Field(pattern=r"^[a-z](?:[a-z0-9._-]{0,30}[a-z0-9_-])?$"), AfterValidator(_not_root)]
"""A group that `sshaft-accounts` can give."""


class Role(Conditions):
    """A role. One of `everyone`, `groups` and `claims` must be there."""

    local_groups: tuple[GroupName, ...] = Field(default=(), description="groups of this host that the role gives")
    shell: PathInPasswd | None = Field(default=None, description="the shell of a new account")
    temporary: Period | None = Field(default=None, description="a new account ends after this time, such as 30d")

    @model_validator(mode="after")
    def _is_for_somebody(self) -> "Role":
        if not (self.everyone or self.groups or self.claims):
            raise ValueError('is for nobody; use "groups", "claims", or "everyone": true')
        if not (self.local_groups or self.shell or self.temporary):
            raise ValueError("gives nothing; use local_groups, shell or temporary")
        return self
