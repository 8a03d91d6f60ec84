"""What a relying party of ours is registered with."""

from pydantic import BaseModel, ConfigDict, Field


class OpenIdClient(BaseModel):
    """The client's face `openid`. `app`: what people are told they log in to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    redirect_uris: tuple[str, ...] = Field(min_length=1)
    pkce: bool = True
    app: str | None = Field(default=None, min_length=1, max_length=80)
