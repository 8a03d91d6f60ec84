"""Reads config.yml of pam_oauth2_device in Python (ondrejvelisek), which Oracle's article for IDCS uses as well.

The module asks UserInfo. `users` names the accounts of each `sub`; Oracle's variant compares uids instead.
"""

from collections.abc import Mapping
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

_OWN_PROMPT = "the prompt has a fixed order here: the address and the code stand in lines of their own. See messages"
TABLE = {
    "oauth.client.id": Member(required=True),
    "oauth.client.secret": Member(),
    "oauth.scope": Member(list, required=True),
    "oauth.device_endpoint": Member(required=True),
    "oauth.token_endpoint": Member(required=True),
    "oauth.userinfo_endpoint": Member(required=True),
    **{f"qr.{name}": Member(lost=_OWN_PROMPT) for name in ("before_line", "after_line")},
    **{f"qr.{name}": Member(bool, lost="the QR code is small, and light on dark") for name in ("big", "inverse")},
    "texts.prompt": Member(lost=_OWN_PROMPT),
    "users": Member(dict),
}
_SCIM_ME = "/admin/v1/Me"


def read(data: Mapping[str, Any]) -> Converted:
    """Returns our members. Raises `MemberError`."""
    found = flatten(data, TABLE)
    users, notes = without_root(found.get("users", {}))
    members = {
        "issuer": issuer_of(found["oauth.token_endpoint"]),
        "client_id": found["oauth.client.id"],
        "scopes": found["oauth.scope"],
        "endpoints": endpoints(found),
        "identity_from": "userinfo",
        "allow": {"everyone": True},
    }
    if found["oauth.userinfo_endpoint"].endswith(_SCIM_ME):
        members |= {"subject_claim": "id", "uid_claim": "uidNumber"}
        notes.append(Note("oauth.userinfo_endpoint", "uidNumber counts only at the top level of the answer"))
        if "users" in found:
            notes.append(Note("users", f"{_SCIM_ME} has no sub: the uid decides, as in Oracle's variant"))
    elif users:
        members |= {"claim": "sub", "map": users}
    else:
        raise MemberError("users lets nobody in")
    return Converted(members, found.get("oauth.client.secret", ""), lost(found, TABLE) + notes)
