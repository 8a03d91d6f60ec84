"""Reads config.json of pam_oauth2_device in Rust, and of its fork for Microsoft Entra ID.

The original asks the introspection endpoint: the token is active, its user name is the account, it has all scopes and
an expiry. The fork verifies the ID token of one tenant instead.
"""

from collections.abc import Mapping
from typing import Any

from sshaft_agent.host_login.foreign.members import (
    Converted,
    Member,
    MemberError,
    Note,
    flatten,
    issuer_of,
    lost,
    split,
)

_MESSAGES = {
    "prompt_complete": "Scan the QR code above or open the following link in your web browser:",
    "prompt_no_qr_complete": "Open the following link in your web browser:",
    "prompt_incomplete": "Scan the QR code above or open the following link in your web browser:",
    "prompt_no_qr_incomplete": "Open the following link in your web browser:",
    "prompt_code": "Once you're in, enter the following code:",
    "prompt_enter": 'Press "ENTER" after successful authentication...',
}
"""The module's own texts. A file may repeat them; ours replace them, because here the QR code stands below."""
TABLE = {
    "client_id": Member(required=True),
    "client_secret": Member(required=True),
    "oauth_auth_url": Member(lost="a device login does not use it"),
    "oauth_device_url": Member(required=True),
    "oauth_token_url": Member(required=True),
    "oauth_token_introspect_url": Member(),
    "oauth_device_token_polling_timeout": Member(int),
    "scope": Member(),
    "scopes": Member(),
    "qr_enabled": Member(bool),
    **{f"messages.{name}": Member() for name in _MESSAGES},
    "tenant_id": Member(),
    "allowed_groups": Member(list),
    "local_group": Member(lost="sshaft makes no accounts and no members of groups: an account must exist beforehand"),
}
_ANY_TENANT = ("common", "organizations", "consumers")


def read(data: Mapping[str, Any]) -> Converted:
    """Returns our members. Raises `MemberError`."""
    found = flatten(data, TABLE)
    members: dict[str, Any] = {"client_id": found["client_id"], "scopes": _scopes(found)}
    notes = lost(found, TABLE)
    if "tenant_id" in found or "oauth_token_introspect_url" not in found:
        members |= _of_tenant(found)
        if "oauth_token_introspect_url" in found:
            notes.append(Note("oauth_token_introspect_url", "the fork for Entra lets the ID token decide"))
    else:
        members |= _of_introspection(found)
    if "oauth_device_token_polling_timeout" in found:
        members["login_seconds"] = found["oauth_device_token_polling_timeout"]
    if found.get("qr_enabled") is False:
        members["qr"] = "off"
    given = {name: found[f"messages.{name}"] for name in _MESSAGES if f"messages.{name}" in found}
    if messages := {name: text for name, text in given.items() if text != _MESSAGES[name]}:
        members["messages"] = messages
    return Converted(members, found["client_secret"], notes)


def _scopes(found: Mapping[str, Any]) -> list[str]:
    """Returns the scopes. The module reads `scopes`; its documents and its installer write `scope`."""
    scopes: str = found.get("scopes", found.get("scope", "openid profile"))
    if scopes != found.get("scope", scopes):
        raise MemberError("scope and scopes are both there and differ; keep one")
    return scopes.split()


def _of_introspection(found: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the members for a provider that says which token is whose. All scopes must be granted anyway."""
    if "allowed_groups" in found:
        raise MemberError("allowed_groups needs tenant_id: only the fork for Entra has groups")
    return {
        "issuer": issuer_of(found["oauth_token_url"]),
        "endpoints": {
            "device_authorization_endpoint": found["oauth_device_url"],
            "token_endpoint": found["oauth_token_url"],
            "introspection_endpoint": found["oauth_token_introspect_url"],
        },
        "identity_from": "introspection",
        "claim": "username",
        "allow": {"everyone": True},
    }


def _of_tenant(found: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the members for Entra, whose metadata has the endpoints."""
    parts = split(found["oauth_device_url"])
    in_url = parts.path.split("/")[1] if parts.path.endswith("/oauth2/v2.0/devicecode") else ""
    if not in_url:
        raise MemberError("missing: oauth_token_introspect_url (or, for Entra, an oauth_device_url of a tenant)")
    tenant = found.get("tenant_id", in_url)
    if in_url not in (tenant, *_ANY_TENANT):
        raise MemberError("tenant_id is not the tenant of oauth_device_url")
    groups = {"groups": found["allowed_groups"]} if "allowed_groups" in found else {"everyone": True}
    return {
        "issuer": f"{parts.scheme}://{parts.netloc}/{tenant}/v2.0",
        "entra": {"other_issuer": f"https://sts.windows.net/{tenant}/"},
        "claim": "preferred_username",
        "allow": groups,
    }
