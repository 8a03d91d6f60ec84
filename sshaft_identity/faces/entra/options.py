"""Defines the options of a client for Microsoft Entra ID."""

from typing import Annotated

from pydantic import Field

from sshaft.config import Url
from sshaft_identity.face_support.options import Options

NAME = "entra"
CLOUDS = {
    "public": "https://login.microsoftonline.com",
    "us": "https://login.microsoftonline.us",
    "china": "https://login.partner.microsoftonline.cn",
}
Guid = Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]


class EntraClient(Options):
    """`app_id`: the id of the app registration at Microsoft. `authority`: the address of the cloud. `domain`: removed
    from the names of accounts, which gives the user names here.
    """

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
