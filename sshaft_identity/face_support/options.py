"""What a client is registered with for each face it may come through. Each face reads its own and no other."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from sshaft.config import Url

CLOUDS = {
    "public": "https://login.microsoftonline.com",
    "us": "https://login.microsoftonline.us",
    "china": "https://login.partner.microsoftonline.cn",
}
KEY = "private_key_jwt"
"""Beside the faces: the keys of a client that has no secret, `{"jwks": ...}` (`oauth`)."""
Guid = Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
App = Annotated[str, Field(min_length=1, max_length=80)]
Member = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,40}(\.[A-Za-z0-9_-]{1,40}){0,4}$")]
"""`attributes.username` is a member of a member."""


class OpenIdClient(BaseModel):
    """The client's face `openid`. `app`: what people are told they log in to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    redirect_uris: tuple[str, ...] = Field(min_length=1)
    pkce: bool = True
    app: App | None = None


class EntraClient(BaseModel):
    """The client's face `entra`. `app_id` is that of the app registration over there; `domain` is what is cut off from
    people's names to get ours; `authority` that of the cloud.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    app_id: Guid
    tenants: tuple[Guid, ...] = Field(min_length=1)
    authority: Url = CLOUDS["public"]
    domain: str | None = None

    @property
    def redirect_uri(self) -> str:
        return f"{self.authority}/common/federation/externalauthprovider"

    @property
    def metadata_url(self) -> str:
        return f"{self.authority}/common/v2.0/.well-known/openid-configuration"


class CodeBackClient(BaseModel):
    """The client's face `code_back`: what the fields are called, and what people are told they log in to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    user: Member = "user"
    code: Member = "code"
    ip: Member = "ip"
    result: Member = "result"
    app: App | None = None


class Auth0Client(BaseModel):
    """The client's face `auth0`. `domain`: of the tenant, as browsers see it; `salt`: what its key is made with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    domain: Annotated[
        str, Field(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+$", max_length=253)
    ]
    salt: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{16,64}$")]
    app: App | None = None


class CasClient(BaseModel):
    """The client's face `cas`. `wrong_codes`: how many in an hour, of all its people together; then all wait."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    app: App | None = None
    wrong_codes: int = Field(default=100, ge=1, le=1000)


class IbmVerifyClient(BaseModel):
    """The client's face `ibm_verify`. `capability`: what the factor is called over there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    app: App | None = None
    capability: Member = "ssh"


class ValidateClient(BaseModel):
    """The client's face `validate`. `mode`: people see the ssh command and wait, or type what ssh printed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Literal["poll", "interactive"] = "poll"
    app: App | None = None


class CibaClient(BaseModel):
    """The client's face `ciba`. `notification_endpoint`: where it is told that a login has ended (ping); None: it asks
    (poll).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    app: App | None = None
    notification_endpoint: Url | None = None


class KeycloakCibaClient(BaseModel):
    """The client's face `keycloak_ciba`. `notification_endpoint`: where the realm hears how a login has ended."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    notification_endpoint: Url
    app: App | None = None


NOTIFIED: dict[str, type[CibaClient | KeycloakCibaClient]] = {"ciba": CibaClient, "keycloak_ciba": KeycloakCibaClient}
"""The faces whose clients are told of ends of logins."""
FACES: dict[str, type[BaseModel]] = {
    "openid": OpenIdClient,
    "entra": EntraClient,
    "code_back": CodeBackClient,
    "keycloak_ciba": KeycloakCibaClient,
    "auth0": Auth0Client,
    "cas": CasClient,
    "ibm_verify": IbmVerifyClient,
    "validate": ValidateClient,
    "ciba": CibaClient,
}
