"""Describes `host_login` in config.json: the OpenID Provider, who may log in, and the account of each person."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from sshaft.config import Text, Url
from sshaft_agent.host_login.approval.settings import ApprovalSettings
from sshaft_agent.host_login.claims import ClaimName
from sshaft_agent.host_login.recheck.settings import OFFLINE_ACCESS, RecheckSettings
from sshaft_agent.host_login.rules import HostRules, ProviderRules
from sshaft_agent.host_login.texts import Drawing, ErrorCorrection, Messages
from sshaft_agent.host_login.token_login.settings import TokenProvider
from sshaft_oidc.entra import Tenant, tenant_of

_LONGEST_INFO = 16 * 1024
_SECONDS = Annotated[float, Field(gt=0, le=3600)]


def _short(value: dict[str, Any]) -> dict[str, Any]:
    """Refuses what does not fit into a message of the agent."""
    if len(json.dumps(value)) > _LONGEST_INFO:
        raise ValueError(f"is longer than {_LONGEST_INFO} characters")
    return value


class Entra(BaseModel):
    """Microsoft Entra ID: the identity is the tenant and the object id (`tid`, `oid`)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    graph_endpoint: Url | None = Field(
        default=None, description="Microsoft Graph, which is asked for the groups that do not fit into an ID token"
    )
    other_issuer: Url | None = Field(
        default=None, description="the other name of the same tenant, https://sts.windows.net/TENANT/, in ID tokens"
    )


Method = Literal["approval", "device", "token"]
_MEMBERS: dict[Method, str] = {"approval": "approval", "device": "issuer", "token": "tokens"}
"""The member that configures each method."""


class HostSettings(HostRules):
    """What holds for the whole host. There may be `approval`, `tokens`, or both, without a device login."""

    approval: ApprovalSettings | None = Field(
        default=None, description="approvals on a page of our identity service, which open accounts"
    )
    tokens: tuple[TokenProvider, ...] = Field(default=(), description="providers whose access tokens open accounts")
    methods: tuple[Method, ...] | None = Field(
        default=None,
        description="the ways to log in, in their order; without it: approval, device and token, as far as they are "
        "configured. A way that is left out is off. The first prompt takes a token, wherever token stands",
    )
    when_away: Literal["deny", "next"] = Field(
        default="deny", description="what follows if the service of a method cannot be reached: no login, or the next"
    )
    messages: Messages = Messages()
    """Sentences that people read in ssh."""
    qr: Drawing = Field(default="utf8", description="ascii: for clients without UTF-8")
    qr_error_correction: ErrorCorrection = "L"
    """How much of the QR code may be unreadable: L is the least."""
    ask_first: bool = Field(
        default=False,
        description="true: a person without a key presses Enter before a service is asked; scanners do not reach it",
    )
    pending_per_user: Annotated[int, Field(ge=1, le=100)] = Field(
        default=1, description="logins that wait for one account from one address"
    )
    pending_per_source: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=3, description="logins that wait from one address (IPv6: network of 64 bits)"
    )
    login_info: Annotated[dict[Text, Any], AfterValidator(_short)] = Field(
        default={}, description="what the HTTP API says of this host, such as description, login_help and ssh_host"
    )
    recheck: RecheckSettings | None = Field(
        default=None, description="checks of people who have logged in before; without it, no refresh token is kept"
    )
    state_directory: Path = Field(
        default=Path("/var/lib/sshaft-agent"), description="which identity has which account; the agent writes there"
    )

    @property
    def configured(self) -> tuple[Method, ...]:
        """Returns the methods of which there are settings."""
        settings: dict[Method, object] = {"approval": self.approval, "device": self._device, "token": self.tokens}
        return tuple(name for name, each in settings.items() if each)

    @property
    def used_methods(self) -> tuple[Method, ...]:
        """Returns the methods that are in use, in their order."""
        return self.configured if self.methods is None else self.methods

    @property
    def _rules(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in HostRules.model_fields}

    @property
    def token_providers(self) -> tuple[TokenProvider, ...]:
        """Returns `tokens`, each one with the rules of the host. Empty: no token opens anything."""
        if "token" not in self.used_methods:
            return ()
        return tuple(each.model_copy(update=self._rules) for each in self.tokens)

    @property
    def approver(self) -> ApprovalSettings | None:
        """Returns `approval` with the rules of the host. None: approvals are not in use."""
        if self.approval is None or "approval" not in self.used_methods:
            return None
        return self.approval.model_copy(update=self._rules)

    @property
    def _device(self) -> "HostLoginSettings | None":
        return None

    @property
    def device(self) -> "HostLoginSettings | None":
        """Returns the settings of the device login. None: it is not in use."""
        return self._device if "device" in self.used_methods else None

    @property
    def providers(self) -> tuple[ProviderRules, ...]:
        """Returns each provider with this host as its client."""
        return (*(each for each in (self.approver, self.device) if each is not None), *self.token_providers)

    @property
    def has_secret(self) -> bool:
        """Whether a secret itself stands here, and not only the name of its file."""
        providers = (self.approval, self._device, *self.tokens)
        return any(each is not None and each.client_secret is not None for each in providers)

    @model_validator(mode="after")
    def _methods_are_configured(self) -> "HostSettings":
        if not self.configured:
            raise ValueError("names no provider; use issuer, approval or tokens")
        if self.methods is not None:
            if not self.methods or len(set(self.methods)) < len(self.methods):
                raise ValueError("methods is empty, or names a method twice")
            for name in self.methods:
                if name not in self.configured:
                    raise ValueError(f"methods names {name}, but {_MEMBERS[name]} is missing")
        return self

    @model_validator(mode="after")
    def _linked_people_are_of_a_provider(self) -> "HostSettings":
        """Refuses approvals for people of providers that name a person by another number to each client."""
        if self.approval is None or self.approval.identity == "user":
            return self
        if set(self.configured) == {"approval"}:
            raise ValueError("approval.identity linked needs issuer or tokens: whose people log in?")
        if self._device is not None and self._device.subject_claims[0] != "sub":
            raise ValueError("approval.identity linked needs a provider that names people by sub")
        return self

    @model_validator(mode="after")
    def _key_is_apart(self) -> "HostSettings":
        if self.recheck is not None and self.state_directory in self.recheck.key_file.parents:
            raise ValueError("recheck.key_file is in state_directory: a copy of the folder would have both")
        return self

    @model_validator(mode="after")
    def _token_providers_are_distinct(self) -> "HostSettings":
        """Refuses what would leave open to which provider a token goes."""
        issuers = [each.issuer for each in self.tokens]
        if len(set(issuers)) < len(issuers):
            raise ValueError("tokens names an issuer twice")
        if sum(each.takes_opaque for each in self.tokens) > 1:
            raise ValueError(
                "tokens has several providers that would be shown opaque tokens; keep one, and write "
                '"opaque": false at the others: no provider may see a token of another one'
            )
        if self.create is None and any(each.assurance is not None for each in self.providers):
            raise ValueError("assurance chooses the shell of new accounts, so it needs create")
        if self.create is not None and any(each.uid_claim is not None for each in self.tokens):
            raise ValueError("create needs a rule that names the account: match and name, or map, instead of uid_claim")
        return self


class HostLoginSettings(ProviderRules, HostSettings):
    """Host login at one OpenID Provider. Four lines are enough: issuer, client_id, client_secret_file, allow."""

    identity_from: Literal["id_token", "introspection", "userinfo"] = Field(
        default="id_token", description="what proves who has approved"
    )
    subject_claim: Text | None = Field(
        default=None, description="with userinfo: names the person at a provider whose answer has no `sub`"
    )
    entra: Entra | None = Field(default=None, description="needed only for other values than the usual ones")
    enter: Literal["auto", "always", "never"] = Field(
        default="auto",
        description="whether the person presses Enter after the approval; auto: where sshd is older than OpenSSH 10.3, "
        "which would show no code without that",
    )
    login_seconds: _SECONDS = Field(
        default=300, description="a login ends after this time, or when the provider ends it"
    )

    @property
    def _device(self) -> "HostLoginSettings":
        return self

    @property
    def asked_scopes(self) -> tuple[str, ...]:
        """Returns what a login asks for: `scopes`, and what makes the provider give a refresh token."""
        needs_more = self.recheck is not None and self.recheck.offline_access and OFFLINE_ACCESS not in self.scopes
        return (*self.scopes, OFFLINE_ACCESS) if needs_more else self.scopes

    @property
    def named_by(self) -> ClaimName:
        return self.claim or ("username" if self.identity_from == "introspection" else "preferred_username")

    @property
    def needed_scopes(self) -> frozenset[str]:
        return super().needed_scopes | frozenset(self.scopes if self.identity_from == "introspection" else ())

    @property
    def subject_claims(self) -> tuple[str, ...]:
        if self.tenant is not None:
            return ("oid",)  # `sub` is another one for each client
        return {
            "id_token": ("sub",),
            "introspection": ("sub", "username"),
            "userinfo": (self.subject_claim or "sub",),
        }[self.identity_from]

    @property
    def tenant(self) -> Tenant | None:
        """Returns the tenant of Entra. None: another provider. Raises `ValueError` for an issuer of several tenants."""
        rules = self.entra or Entra()
        return tenant_of(self.issuer, rules.graph_endpoint, rules.other_issuer, anywhere=self.entra is not None)

    @model_validator(mode="after")
    def _identity_can_be_proved(self) -> "HostLoginSettings":
        """Refuses what could let nobody in, or could not prove who it is."""
        source = self.identity_from
        if source == "introspection" and not self.has_proof:
            raise ValueError("identity_from introspection needs client_secret_file or private_key_file (RFC 7662 §2.1)")
        if source != "userinfo" and self.subject_claim is not None:
            raise ValueError("subject_claim needs identity_from userinfo")
        if source == "userinfo" and (self.allow.acr is not None or self.allow.amr is not None):
            raise ValueError("allow.acr and allow.amr need identity_from id_token or introspection")
        needed = {"id_token": "jwks_uri", "introspection": "introspection_endpoint", "userinfo": "userinfo_endpoint"}
        if self.endpoints.are_enough and getattr(self.endpoints, needed[source]) is None:
            raise ValueError(f"endpoints.{needed[source]} is missing: identity_from {source} needs it")
        if self.subject_claims[0] != "sub" and any(each.issuer == self.issuer for each in self.tokens):
            raise ValueError("tokens has the same issuer, and names people by sub: leave subject_claim out")
        if self.tenant is not None and source != "id_token":
            raise ValueError(f"identity_from {source} does not work with Entra: only the ID token has tid and oid")
        return self
