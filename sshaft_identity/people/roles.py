"""Decides who may use the help desk (`desk` in identity.json), and whether a member may change anything there."""

from collections.abc import Collection
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from sshaft_identity.common.fields import UserName

Group = Annotated[str, Field(min_length=1, max_length=255)]


class Role(StrEnum):
    DESK = "desk"
    """May look and change."""
    READER = "reader"
    """May look."""


class Holders(BaseModel):
    """The people who have a role."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    users: tuple[UserName, ...] = Field(
        default=(), description="ids of users, as `sshaft identity user list --json` prints them"
    )
    groups: tuple[Group, ...] = Field(default=(), description="values of `oidc.groups_claim`, compared exactly")


class DeskSettings(BaseModel):
    """`desk` in identity.json. Without a holder the help desk is off."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    desk: Holders = Field(default_factory=Holders, description="may look and, after a fresh SSH login, change")
    reader: Holders = Field(default_factory=Holders, description="may only look")
    groups_seconds: int = Field(
        default=3600, ge=900, le=86400, description="seconds until the provider must name the groups of a member again"
    )
    may_invite: bool = Field(
        default=False, description="whether the help desk may invite people: an invitation can take an account over"
    )

    @property
    def is_on(self) -> bool:
        return any((self.desk.users, self.desk.groups, self.reader.users, self.reader.groups))

    @property
    def groups(self) -> frozenset[str]:
        """Returns the groups that have a role. A session keeps no others."""
        return frozenset((*self.desk.groups, *self.reader.groups))

    def role_of(self, user_id: str, groups: Collection[str]) -> Role | None:
        """Returns the role of the user with this id. `groups` are those that the provider named at the sign-in."""
        for role, holders in ((Role.DESK, self.desk), (Role.READER, self.reader)):
            if user_id in holders.users or not set(holders.groups).isdisjoint(groups):
                return role
        return None
