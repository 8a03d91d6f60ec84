"""Reads config.json of pam_oauth2_device in C++ (ICS-MU), and of its fork by STFC.

The module asks UserInfo. Each section is another way in: `users` names the accounts of a person, and `group` gives
the members of one group the account of their own name.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from sshaft_agent.host_login.foreign.members import (
    Converted,
    Member,
    MemberError,
    Note,
    endpoints,
    flatten,
    issuer_of,
    lost,
    without_root,
)

_BYPASS = "*bypass*"
_CLOUD = "sshaft asks no OpenStack for groups: whoever came in by this section alone is refused"
_LDAP = "sshaft asks no LDAP server: whoever came in by this section alone is refused"
_NO_BYPASS = "nobody passes without a device login: write accounts that must into break_glass= of the PAM line"
TABLE = {
    "oauth.client.id": Member(required=True),
    "oauth.client.secret": Member(required=True),
    "oauth.scope": Member(required=True),
    "oauth.device_endpoint": Member(required=True),
    "oauth.token_endpoint": Member(required=True),
    "oauth.userinfo_endpoint": Member(required=True),
    "oauth.username_attribute": Member(required=True),
    "oauth.local_username_suffix": Member(),
    "oauth.require_mfa": Member(bool),
    "oauth.request_mfa": Member(bool),
    "qr.error_correction_level": Member(int),
    "users": Member(dict),
    "group.access": Member(bool),
    "group.service_name": Member(),
    "tls.ca_bundle": Member(),
    "tls.ca_path": Member(lost="a folder is not read: write its certificates into one file, and name it in ca_bundle"),
    "http_basic_auth": Member(bool),
    "client_debug": Member(bool, lost="answers of a provider are not logged: they hold tokens"),
    **{f"cloud.{name}": Member(lost=_CLOUD) for name in ("endpoint", "username", "metadata_file")},
    "cloud.access": Member(bool, lost=_CLOUD),
    **{
        f"ldap.{name}": Member(lost=_LDAP)
        for name in ("host", "basedn", "user", "passwd", "scope", "filter", "filter_local", "attr")
    },
    "ldap.hosts": Member(list, lost=_LDAP),
    "ldap.preauth": Member(lost=_NO_BYPASS),
}
_SECTIONS = {name.partition(".")[0] for name, member in TABLE.items() if "." in name or member.kind is dict}


def read(data: Mapping[str, Any], open_object: Callable[[str], dict[str, Any]]) -> Converted:
    """Returns our members. `open_object` reads a file that stands in the place of an object. Raises `MemberError`."""
    found = flatten(_whole(data, open_object), TABLE)
    for name in ("oauth.require_mfa", "oauth.request_mfa"):
        if found.get(name):
            raise MemberError(f"{name} cannot be kept: use a configuration of our own, with allow.acr or allow.amr")
    listed = found.get("users", {})
    users, notes = without_root({person: names for person, names in listed.items() if person != _BYPASS})
    if _BYPASS in listed:
        notes.append(Note(f"users.{_BYPASS}", _NO_BYPASS))
    members = {
        "issuer": issuer_of(found["oauth.token_endpoint"]),
        "client_id": found["oauth.client.id"],
        "scopes": found["oauth.scope"].split(),
        "endpoints": endpoints(found),
        "identity_from": "userinfo",
        "claim": found["oauth.username_attribute"],
        **_qr(found.get("qr.error_correction_level", -1)),
        **_allowed(found, users),
    }
    if found.get("tls.ca_bundle"):
        members["ca_file"] = found["tls.ca_bundle"]
    if found.get("http_basic_auth") is False:
        members["token_endpoint_auth_method"] = "client_secret_post"
    return Converted(members, found["oauth.client.secret"], lost(found, TABLE) + notes)


def _whole(data: Mapping[str, Any], open_object: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """Returns the file with the objects for which it names other files."""
    whole = {
        name: open_object(value) if name in _SECTIONS and isinstance(value, str) else value
        for name, value in data.items()
    }
    oauth = whole.get("oauth")
    if isinstance(oauth, dict) and isinstance(oauth.get("client"), str):
        whole["oauth"] = oauth | {"client": open_object(oauth["client"])}
    return whole


def _allowed(found: Mapping[str, Any], users: dict[str, list[str]]) -> dict[str, Any]:
    """Returns `allow`, and the rules that give a person an account."""
    if not found.get("group.access"):
        if not users:
            raise MemberError("users and group let nobody in")
        return {"map": users, "allow": {"everyone": True}}
    if not found.get("group.service_name"):
        raise MemberError("missing: group.service_name")
    own_name = {"match": f"(.+){re.escape(found.get('oauth.local_username_suffix', ''))}", "name": r"\1"}
    groups = {"groups": [found["group.service_name"]]}
    if not users:
        return own_name | {"allow": groups}
    return own_name | {"map": users, "allow": groups | {"mapped": True}}


def _qr(level: int) -> dict[str, Any]:
    """Returns the members for a level as the module reads it: below 0 is no QR code, and above 2 is the lowest."""
    return {"qr": "off"} if level < 0 else {"qr_error_correction": {1: "M", 2: "H"}.get(level, "L")}
