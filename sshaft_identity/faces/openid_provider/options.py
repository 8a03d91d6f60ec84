"""Defines the options of a relying party."""

from pydantic import Field

from sshaft_identity.face_support.options import AppOptions

NAME = "openid"


class OpenIdClient(AppOptions):
    """`pkce`: whether the client must use PKCE (RFC 7636)."""

    redirect_uris: tuple[str, ...] = Field(min_length=1)
    pkce: bool = True
