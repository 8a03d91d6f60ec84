"""Describes `host_login.approval` in config.json: our identity service, and whom its approvals let in."""

import re
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from sshaft.config import Period, Text, Url
from sshaft_agent.host_login.rules import HostRules, ProviderRules

_ACCOUNT = "{account}"
_NOT_SAID = ("groups", "entitlements", "claims", "scopes")
"""Members of `allow` of which an approval says nothing. Nobody would fulfil them."""
_NOT_HERE = ("scopes", "endpoints", "groups_claim", "uid_claim", "assurance", *HostRules.model_fields)


def _address(value: str) -> str:
    if "?" in value:
        raise ValueError("must not carry a query")
    return value.rstrip("/")


def _user(value: str) -> str:
    if value.count(_ACCOUNT) != 1:
        raise ValueError(f"must have {_ACCOUNT} once")
    return value


class ApprovalSettings(ProviderRules):
    """Approvals on a page of our identity service. Four lines are enough: url, client_id, client_secret_file, allow."""

    issuer: Annotated[Url, AfterValidator(_address)] = Field(
        alias="url", description="the address of the identity service, as people and its metadata name it"
    )
    user: Annotated[Text, AfterValidator(_user)] = Field(
        default=_ACCOUNT, description="the person who may approve: the user name there, made from the account here"
    )
    identity: Literal["user", "linked"] = Field(
        default="user",
        description="to whom accounts belong: the user of the identity service; or the account at the provider that is "
        "linked to the user, so that the device login and access tokens of that provider open the same accounts",
    )
    seconds: Annotated[int, Field(ge=30, le=600)] = Field(
        default=300, description="a login ends after this time, or when the identity service ends it"
    )

    remember: Annotated[Period, Field(ge=timedelta(minutes=5), le=timedelta(days=30))] | None = Field(
        default=None,
        description="an approval counts so long, such as 12h: the same account, key, network and service then need no "
        "new one. Without it, nothing is remembered",
    )
    remember_without_key: bool = Field(
        default=False,
        description="true: logins without a key are remembered, too; everybody at the same address then gets in",
    )
    offline_seconds: Annotated[int, Field(ge=60, le=86_400)] = Field(
        default=900, description="remembered approvals stop counting if no report has reached the service for so long"
    )

    def user_of(self, account: str) -> str:
        """Returns the user who may approve a login to the account: the only one of `map`, or the one of `user`."""
        named = [user for user, accounts in (self.map or {}).items() if account in accounts]
        return named[0] if len(named) == 1 else self.user.replace(_ACCOUNT, account)

    @property
    def rule(self) -> tuple[str, str] | None:
        """Returns what makes the account from the user. Without a rule of the operator: `user`, read backwards."""
        if any((self.match, self.name, self.map)):
            return super().rule
        before, after = map(re.escape, self.user.split(_ACCOUNT))
        return f"{before}(.+){after}", r"\1"

    @model_validator(mode="after")
    def _fits(self) -> "ApprovalSettings":
        """Refuses what could let nobody in, or has no effect here."""
        if not self.has_proof:
            raise ValueError("needs client_secret_file, client_secret or private_key_file")
        if self.remember is None and self.remember_without_key:
            raise ValueError("remember_without_key has no effect without remember")
        for name in _NOT_SAID:
            if getattr(self.allow, name) is not None:
                raise ValueError(f"allow.{name} cannot be used: an approval does not say it")
        for name in _NOT_HERE:
            if name in self.model_fields_set:
                raise ValueError(f"{name} does not belong into approval")
        return self
