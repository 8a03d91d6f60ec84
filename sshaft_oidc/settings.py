"""`oidc` in identity.json: the organisation's OpenID Provider, by which people may sign in to "my keys"."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from sshaft.config import Text, Url


def _issuer(value: str) -> str:
    if "?" in value:
        raise ValueError("must not carry a query")
    return value


class ProviderSettings(BaseModel):
    """We are registered there as a client whose only redirect URI is `PUBLIC_URL/sign-in/oidc/callback`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    issuer: Annotated[Url, AfterValidator(_issuer)] = Field(description="as its metadata and its id_tokens name it")
    client_id: Text
    client_secret_file: str | None = Field(default=None, description="none: a public client, by PKCE alone")
    scopes: tuple[Annotated[str, Field(pattern=r"^[\x21\x23-\x5B\x5D-\x7E]+$")], ...] = ("openid", "profile")
    user_claim: str = Field(
        default="preferred_username",
        min_length=1,
        description="which claim is the user name here; not the person's to change",
    )
    create_users: bool = Field(default=False, description="whether who signs in for the first time becomes a user")
    label: str = Field(default="your organisation", min_length=1, max_length=80, description="what the button calls it")
    ca_file: str | None = Field(default=None, description="PEM bundle to trust instead of the public authorities")
