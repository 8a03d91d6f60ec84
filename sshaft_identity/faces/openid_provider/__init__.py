"""The OpenID Provider: a login by SSH for every relying party (OpenID Connect Core 1.0 §3.1, the code flow)."""

from sshaft_identity.faces.openid_provider.face import FACE

__all__ = ["FACE"]
