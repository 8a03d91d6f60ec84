"""Serves every relying party as an OpenID Provider (OpenID Connect Core 1.0 §3.1, the authorization code flow)."""

from sshaft_identity.faces.openid_provider.face import FACE

__all__ = ["FACE"]
