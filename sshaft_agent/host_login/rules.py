"""Describes in config.json who may log in, and which account belongs to each person."""

import re
import unicodedata
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from sshaft import config
from sshaft.config import Pattern, Text
from sshaft.errors import ConfigurationError
from sshaft.oauth.client_authentication import ClientCredentials
from sshaft_agent.host_login.claims import ClaimName, Conditions
from sshaft_agent.host_login.first_login.settings import CreateSettings
from sshaft_agent.host_login.roles.assurance import Assurance
from sshaft_agent.host_login.roles.settings import Role
from sshaft_oidc.entra import Tenant
from sshaft_oidc.settings import ClientSettings, Endpoints

MAX_FILE = 1024 * 1024
"""Bytes. A file may list many people."""


def _map(value: Any) -> Any:
    """Returns the map, read from its file if the value is a path, with a tuple of accounts for each claim value."""
    if isinstance(value, str):
        try:
            value = config.parse_object(Path(value), config.read_trusted_file(Path(value), MAX_FILE)[0])
        except ConfigurationError as error:
            raise ValueError(str(error)) from None
    return {name: as_tuple(accounts) for name, accounts in value.items()} if isinstance(value, dict) else value


def as_tuple(value: Any) -> Any:
    """Returns a list of JSON as a tuple, and a text as the only part of one."""
    if isinstance(value, list):
        return tuple(value)
    return (value,) if isinstance(value, str) else value


def _composed(value: str) -> str:
    if unicodedata.normalize("NFC", value) != value:
        raise ValueError("is not in the normal form NFC of Unicode")
    return value


_Map = Annotated[
    dict[Annotated[Text, AfterValidator(_composed)], Annotated[tuple[Text, ...], Field(min_length=1)]],
    BeforeValidator(_map),
]


class Allow(Conditions):
    """Who may log in. One of `everyone`, `users`, `groups`, `entitlements` and `subjects` must be there.

    Each member that is there must hold, but of `groups`, `entitlements` and `subjects` one is enough.
    """

    users: tuple[Text, ...] | None = Field(default=None, description="accounts of this host")
    subjects: tuple[Text, ...] | None = Field(
        default=None, description="people one by one, as the provider numbers them (`sub`)"
    )
    entitlements: Annotated[tuple[Text, ...], Field(min_length=1)] | None = Field(
        default=None, description="groups and roles as AARC-G069 writes them; `entitlement_match` says how many"
    )
    entitlement_claim: ClaimName = Field(default="eduperson_entitlement", description="the claim that has them")
    entitlement_match: Literal["one", "all"] | Annotated[int, Field(ge=1)] = Field(
        default="one", description="how many of `entitlements` a person needs: one, all, or a number"
    )
    mapped: bool = Field(default=False, description="true: a person whom `map` names needs none of these three")
    scopes: tuple[Text, ...] | None = Field(
        default=None, description="scopes of the access token; all of them must have been granted"
    )
    acr: tuple[Text, ...] | None = Field(default=None, description="values of acr; one of them must be there")
    amr: tuple[Text, ...] | None = Field(default=None, description="values of amr; all of them must be there")
    publickey: bool = Field(default=False, description="sshd must have accepted a key or a certificate before")

    @model_validator(mode="after")
    def _names_somebody(self) -> "Allow":
        if not (self.everyone or self.users or self.groups or self.entitlements or self.subjects):
            raise ValueError('names nobody; use "groups", "entitlements", "users", "subjects", or "everyone": true')
        return self

    @model_validator(mode="after")
    def _entitlements_are_enough(self) -> "Allow":
        """Refuses a number that nobody can have."""
        if self.entitlements is None and self.model_fields_set & {"entitlement_claim", "entitlement_match"}:
            raise ValueError("entitlement_claim and entitlement_match need entitlements")
        if isinstance(self.entitlement_match, int) and self.entitlement_match > len(self.entitlements or ()):
            raise ValueError(f"entitlement_match is {self.entitlement_match}, but entitlements has fewer")
        return self


class HostRules(BaseModel):
    """Rules of the host, for the people of all providers."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    roles: tuple[Role, ...] = Field(default=(), description="rights on this host by groups and claims")
    create: CreateSettings | None = Field(
        default=None, description="accounts for names that the host does not know; without it, accounts must exist"
    )

    @model_validator(mode="after")
    def _roles_have_accounts(self) -> "HostRules":
        if self.roles and self.create is None:
            raise ValueError('roles needs create: "create": {}')
        return self


class ProviderRules(ClientSettings, HostRules):
    """One provider, this host as its client, who may log in, and to which account."""

    allow: Allow
    """Who may log in."""
    client_secret: SecretStr | None = Field(
        default=None, min_length=1, description="the secret itself, instead of client_secret_file"
    )
    endpoints: Endpoints = Field(default=Endpoints(), description="addresses that replace those of the metadata")
    claim: ClaimName | None = Field(
        default=None,
        description="names the account; people must not be able to change it. "
        "Without it: preferred_username, and username with introspection",
    )
    map: _Map | None = Field(
        default=None,
        description="the accounts of each value of `claim`, or the path of a JSON file with them. A value in the map "
        "is decided by the map alone; others need `match`, `name` or `uid_claim`",
    )
    match: Pattern | None = Field(
        default=None, description="a regular expression for the whole value of the claim; without it: (.+)"
    )
    name: Annotated[str, Field(pattern=r"^(?:[A-Za-z0-9._@+-]|\\[1-9])+$")] | None = Field(
        default=None, description=r"the account, from the groups of `match`; without it: \1"
    )
    uid_claim: ClaimName | None = Field(
        default=None, description="instead of `match` and `name`: the account is the one with this uid on this host"
    )
    groups_claim: ClaimName = "groups"
    """The claim with the groups. A list names objects that hold one another."""
    assurance: Assurance | None = Field(
        default=None, description="the shell of a new account, by how sure the provider is of the person"
    )

    @property
    def has_proof(self) -> bool:
        """Whether this client can show the provider who it is."""
        return any((self.client_secret, self.client_secret_file, self.private_key_file))

    def credentials(self) -> ClientCredentials:
        """Returns what proves this client. Raises `ConfigurationError` if a file of it cannot be used."""
        if self.client_secret is None:
            return super().credentials()
        return ClientCredentials(self.client_id, self.token_endpoint_auth_method, self.client_secret.get_secret_value())

    @property
    def named_by(self) -> ClaimName:
        """Returns the claim that names the account, unless `uid_claim` does."""
        return self.claim or "preferred_username"

    @property
    def subject_claims(self) -> tuple[str, ...]:
        """Returns the claims that name the person, of which the first one that is there counts."""
        return ("sub",)

    @property
    def needed_scopes(self) -> frozenset[str]:
        """Returns the scopes that the access token must have."""
        return frozenset(self.allow.scopes or ())

    @property
    def tenant(self) -> Tenant | None:
        """Returns the tenant of Entra. None: another provider."""
        return None

    @property
    def rule(self) -> tuple[str, str] | None:
        """Returns `match` and `name` for a value that is not in the map. None: nobody else gets in by a name."""
        if self.uid_claim is not None or (self.map is not None and self.match is None and self.name is None):
            return None
        return self.match or "(.+)", self.name or r"\1"

    @model_validator(mode="after")
    def _has_one_secret(self) -> "ProviderRules":
        if self.client_secret is not None and (self.client_secret_file or self.private_key_file):
            raise ValueError("client_secret stands beside client_secret_file or private_key_file; keep one")
        return self

    @model_validator(mode="after")
    def _account_has_one_rule(self) -> "ProviderRules":
        """Refuses rules that contradict each other, and a template that names a group which `match` does not have."""
        if self.uid_claim is not None and (self.match is not None or self.name is not None):
            raise ValueError("uid_claim stands beside match or name; keep one rule")
        if self.uid_claim is not None and self.claim is not None and self.map is None:
            raise ValueError("uid_claim and claim are both there without a map; keep one")
        if self.create is not None and self.uid_claim is not None:
            raise ValueError("create needs a rule that names the account: match and name, or map, instead of uid_claim")
        if self.rule is not None:
            match, name = self.rule
            groups = re.compile(match, re.ASCII).groups
            if any(int(number) > groups for number in re.findall(r"\\([1-9])", name)):
                raise ValueError(f"name uses a group that match does not have: it has {groups}")
        return self
