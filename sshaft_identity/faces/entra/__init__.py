"""Microsoft Entra ID's external MFA: our OpenID Provider as Microsoft asks for it."""

from sshaft_identity.faces.entra.face import FACE

__all__ = ["FACE"]
