"""Describes `host_login.tokens` in config.json: the providers whose access tokens open accounts, and their rules."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from sshaft.config import Text
from sshaft_agent.host_login.claims import ClaimName
from sshaft_agent.host_login.rules import HostRules, ProviderRules, as_tuple
from sshaft_oidc.entra import tenant_of
from sshaft_oidc.settings import ScopeName

_Texts = Annotated[tuple[Text, ...], Field(min_length=1), BeforeValidator(as_tuple)]


class Advertise(BaseModel):
    """What clients are told to ask the provider for."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    scopes: tuple[Text, ...] | None = Field(default=None, description="without it: those that a token must have")
    audience: Annotated[str, Field(max_length=1024)] | None = Field(
        default=None, description="without it: the only `audience`, if it is one"
    )


class TokenProvider(ProviderRules):
    """One provider whose access tokens are taken. Three lines are enough: issuer, audience, allow."""

    client_id: Text = Field(default="sshaft", description="this host at the provider, for introspection")
    scopes: tuple[ScopeName, ...] = Field(default=(), description="scopes that a token must have")
    audience: _Texts | None = Field(default=None, description="a token must be for one of these (`aud`)")
    any_audience: bool = Field(default=False, description="true: also tokens that were made for other services")
    form: Literal["jwt", "introspection", "userinfo"] = Field(
        default="jwt", description="jwt: RFC 9068; otherwise the provider is asked whose token it is"
    )
    opaque: bool = Field(
        default=True, description="false: a provider that is asked sees tokens alone that name it as their issuer"
    )
    admins: tuple[Text, ...] = Field(default=(), description="values of `sub`: they may suspend people")
    admins_for_all: bool = Field(default=False, description="true: the admins may suspend people of all providers")
    advertise: Advertise = Advertise()
    """What clients are told to ask the provider for."""

    @property
    def takes_opaque(self) -> bool:
        """Whether the provider is asked about tokens that name none."""
        return self.form != "jwt" and self.opaque

    @property
    def named_by(self) -> ClaimName:
        return self.claim or ("username" if self.form == "introspection" else "preferred_username")

    @property
    def needed_scopes(self) -> frozenset[str]:
        return super().needed_scopes | frozenset(self.scopes)

    @model_validator(mode="after")
    def _fits(self) -> "TokenProvider":
        """Refuses what could let nobody in, or would let in tokens of other services by mistake."""
        if (self.audience is None) != self.any_audience:
            raise ValueError('audience is required; "any_audience": true takes tokens for every service instead')
        if self.form == "userinfo" and self.any_audience and self.needed_scopes:
            raise ValueError("form userinfo does not say which scopes a token has: use audience, or leave scopes out")
        if self.form == "introspection" and not (self.has_proof and "client_id" in self.model_fields_set):
            raise ValueError(
                "form introspection needs client_id, and client_secret_file or private_key_file (RFC 7662 §2.1)"
            )
        if tenant_of(self.issuer, None, None, anywhere=False) is not None:
            raise ValueError("access tokens of Entra cannot be used: they are not made by RFC 9068")
        for name in HostRules.model_fields:
            if name in self.model_fields_set:
                raise ValueError(f"{name} belongs into host_login itself")
        return self
