"""Reads the formats of lines with `name = value`: ssh-aad.conf and pam-weblogin.conf."""

import re
from collections.abc import Mapping

from sshaft_agent.host_login.foreign.members import Converted, Member, MemberError, flatten, lost

_AAD = {"AUTHORITY": Member(required=True), "CLIENT_ID": Member(required=True)}
_OWN_SERVICE = "pam-weblogin asks a service of its own; sshaft asks an OpenID Provider"
_EACH_LOGIN = "each login needs an approval of its own"
WEBLOGIN = {
    "url": Member(lost=_OWN_SERVICE),
    "token": Member(lost=f"{_OWN_SERVICE}, with client_id and client_secret_file"),
    "retries": Member(lost="nobody types a code: the approval in the browser decides"),
    "attribute": Member(lost=f"{_OWN_SERVICE}; `claim` names the account"),
    "cache_duration": Member(lost=_EACH_LOGIN),
    "cache_per_rhost": Member(lost=_EACH_LOGIN),
    "verify": Member(lost=f"{_OWN_SERVICE}; `ca_file` names the certificates to trust"),
}


def pairs(text: str) -> dict[str, str]:
    """Returns the values of the lines. A line without a name counts by its number: it may be part of a secret."""
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        name, _, value = line.partition("=")
        if line.strip() and not line.lstrip().startswith("#"):
            found[name.strip() if re.fullmatch(r"\w+", name.strip()) else f"line {number}"] = value.strip()
    return found


def read(data: Mapping[str, str]) -> Converted:
    """Returns our members; none for pam-weblogin. Raises `MemberError`."""
    if "AUTHORITY" in data:
        return _ssh_aad(flatten(data, _AAD))
    if "url" in data and "token" in data:
        return Converted({}, "", lost(flatten(data, WEBLOGIN), WEBLOGIN))
    raise MemberError("is in no format that sshaft knows")


def _ssh_aad(found: Mapping[str, str]) -> Converted:
    """Returns the members for a public client at Entra: the user principal name is the account."""
    members = {
        "issuer": f"{found['AUTHORITY'].rstrip('/')}/v2.0",
        "client_id": found["CLIENT_ID"],
        "claim": "preferred_username",
        "allow": {"everyone": True},
    }
    return Converted(members, "", [])
