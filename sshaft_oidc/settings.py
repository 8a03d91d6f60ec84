"""Describes an OpenID Provider, and a program as its client, in a configuration."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from sshaft import files
from sshaft.config import Text, Url, refuse_byte_order_mark
from sshaft.errors import ConfigurationError
from sshaft.http_client import HttpClient
from sshaft.oauth.client_authentication import Algorithm, ClientCredentials
from sshaft_oidc.remote_keys import MAX_ANSWER


def _issuer(value: str) -> str:
    if "?" in value:
        raise ValueError("must not carry a query")
    return value


ScopeName = Annotated[str, Field(pattern=r"^[\x21\x23-\x5B\x5D-\x7E]+$")]
"""`scope-token` of RFC 6749 §3.3."""


class Endpoints(BaseModel):
    """Addresses at a provider. Each one replaces the address that its metadata names."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    device_authorization_endpoint: Url | None = None
    """Begins a login with a browser (RFC 8628)."""
    token_endpoint: Url | None = None
    """Gives tokens. With the device authorization endpoint, no metadata is read."""
    jwks_uri: Url | None = None
    """The keys that sign ID tokens and access tokens."""
    userinfo_endpoint: Url | None = None
    """For `userinfo`."""
    introspection_endpoint: Url | None = None
    """For `introspection` (RFC 7662)."""
    revocation_endpoint: Url | None = None
    """Ends tokens after their use (RFC 7009)."""

    @property
    def are_enough(self) -> bool:
        """Whether a device login needs no metadata. Then nothing is fetched, and only these addresses are used."""
        return self.device_authorization_endpoint is not None and self.token_endpoint is not None


class ClientSettings(BaseModel):
    """An OpenID Provider, and what proves this program as its client."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    issuer: Annotated[Url, AfterValidator(_issuer)] = Field(description="as its metadata and its id_tokens name it")
    client_id: Text
    """This program at the provider."""
    client_secret_file: str | None = Field(default=None, description="without it and private_key_file: a public client")
    token_endpoint_auth_method: Literal["client_secret_basic", "client_secret_post"] = Field(
        default="client_secret_basic",
        description="how the secret is sent; client_secret_post also where the metadata does not list the other one",
    )
    private_key_file: str | None = Field(default=None, description="PEM private key for private_key_jwt")
    private_key_id: Text | None = Field(default=None, description="`kid` of the assertion")
    private_key_algorithm: Algorithm = "ES256"
    """The algorithm of the assertion."""
    scopes: tuple[ScopeName, ...] = ("openid", "profile")
    """What is asked for."""
    ca_file: str | None = Field(default=None, description="PEM bundle to trust instead of the public authorities")

    @model_validator(mode="after")
    def _has_one_proof(self) -> "ClientSettings":
        if self.client_secret_file is not None and self.private_key_file is not None:
            raise ValueError("client_secret_file and private_key_file are both there; keep one")
        return self

    def credentials(self) -> ClientCredentials:
        """Returns what proves this client, with the secret read from its file.

        Raises `ConfigurationError` if a file cannot be read, is empty, or holds a key that cannot sign.
        """
        if self.private_key_file is not None:
            key = Path(self.private_key_file), self.private_key_id, self.private_key_algorithm
            credentials = ClientCredentials(self.client_id, "private_key_jwt", "", *key)
            credentials.check()
            return credentials
        if self.client_secret_file is None:
            return ClientCredentials(self.client_id, "none")
        secret = _secret(Path(self.client_secret_file))
        return ClientCredentials(self.client_id, self.token_endpoint_auth_method, secret)

    def http_client(self, peer: str, usual: Path | None = None) -> HttpClient:
        """Returns a client for requests to the provider. `peer` names it in failures. Raises `ConfigurationError`.

        `usual` has the authorities to trust without `ca_file`. Without both, they are those of the library.
        """
        ca_file = Path(self.ca_file) if self.ca_file else None
        if ca_file is not None:
            refuse_byte_order_mark(ca_file)
        return HttpClient(ca_file=ca_file or usual, max_answer=MAX_ANSWER, peer=peer)


class ProviderSettings(ClientSettings):
    """The organisation's OpenID Provider, at which people sign in to "my keys". One redirect URI belongs to it."""

    user_claim: str = Field(
        default="preferred_username",
        min_length=1,
        description="the claim that is the user name here; the person must not be able to change it",
    )
    groups_claim: str | None = Field(
        default=None,
        min_length=1,
        description="the claim with the groups of the person, if groups may use the help desk",
    )
    create_users: bool = Field(default=False, description="whether a person becomes a user at the first sign-in")
    label: str = Field(
        default="your organisation", min_length=1, max_length=80, description="the provider's name on the button"
    )


def _secret(path: Path) -> str:
    try:
        secret = files.read_text(path).strip()
    except (OSError, files.NotTextError) as error:
        reason = getattr(error, "strerror", None) or f"it is {error}"
        raise ConfigurationError(f"client_secret_file {path} cannot be read: {reason}") from error
    if not secret:
        raise ConfigurationError(f"client_secret_file {path} is empty")
    return secret
