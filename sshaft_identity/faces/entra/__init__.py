"""Serves the external MFA of Microsoft Entra ID: an OpenID Provider in Microsoft's own profile."""

from sshaft_identity.faces.entra.face import FACE

__all__ = ["FACE"]
