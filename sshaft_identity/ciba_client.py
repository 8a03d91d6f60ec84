"""What a client that logs people in without a browser (CIBA) is registered with."""

from pydantic import BaseModel, ConfigDict, Field

from sshaft_identity.return_urls import ReturnUrl


class CibaClient(BaseModel):
    """The client's face `ciba`. `app`: what people are told they log in to. `notification_endpoint`: where it is told
    that a login has ended (ping); None: it asks (poll).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    app: str | None = Field(default=None, min_length=1, max_length=80)
    notification_endpoint: ReturnUrl | None = None
