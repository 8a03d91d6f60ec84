"""Serves the plugins that Keycloak, AD FS, Shibboleth, FreeRADIUS and others have for the API of privacyIDEA."""

from sshaft_identity.faces.privacyidea.face import FACE

__all__ = ["FACE"]
