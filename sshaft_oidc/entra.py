"""What is special about Microsoft Entra ID: its issuers, and the groups that do not fit into an ID token.

An ID token holds at most 200 groups. With more it only says that there are groups, and names an address that has them.
That address is never used: the configured Microsoft Graph is asked instead.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from sshaft.deadline import Deadline
from sshaft.http_client import HttpClient
from sshaft_oidc.remote_keys import Document, OpenIdError, parse

GROUPS_CLAIM = "groups"
_MAX_GROUPS = 20
"""Groups that Graph takes in one question."""
_GUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_GRAPHS = {
    "login.microsoftonline.com": "https://graph.microsoft.com",
    "sts.windows.net": "https://graph.microsoft.com",
    "login.microsoftonline.us": "https://graph.microsoft.us",
    "login.partner.microsoftonline.cn": "https://microsoftgraph.chinacloudapi.cn",
}
"""The Graph of each cloud, by the host of its issuers."""


@dataclass(frozen=True)
class Tenant:
    """One tenant: its id, and the address of the Microsoft Graph that knows its groups."""

    id: str
    graph: str


def tenant_of(issuer: str, graph: str | None, other_issuer: str | None, *, anywhere: bool) -> Tenant | None:
    """Returns the tenant of an issuer. None: the issuer is not Entra.

    `anywhere`: Entra may have another host than those of the known clouds. Raises `ValueError` for an issuer of
    several tenants: whoever owns a tenant could log in.
    """
    host = urlsplit(issuer).hostname
    if host not in _GRAPHS and not anywhere:
        return None
    ids = [_tenant_id(each) for each in (issuer, other_issuer) if each is not None]
    if None in ids:
        raise ValueError(
            "the issuer of Entra must name one tenant by its id: "
            "https://login.microsoftonline.com/TENANT-ID/v2.0, never common, organizations or a domain"
        )
    if ids[0] != ids[-1]:
        raise ValueError("entra.other_issuer is another tenant than issuer")
    graph = graph or _GRAPHS.get(host or "")
    if graph is None:
        raise ValueError("entra.graph_endpoint is missing: the issuer is in no cloud that sshaft knows")
    return Tenant(str(ids[0]), graph.rstrip("/"))


def _tenant_id(issuer: str) -> str | None:
    found = re.fullmatch(rf"/({_GUID})(?:/v2\.0|/)?", urlsplit(issuer).path)
    return found and found[1]


class _MemberGroups(Document):
    """The answer of `checkMemberGroups`: those of the groups that hold the person."""

    value: list[str]


def groups_are_elsewhere(claims: Mapping[str, Any]) -> bool:
    """Whether the person has more groups than fit into the ID token."""
    named = claims.get("_claim_names")
    is_named = isinstance(named, dict) and GROUPS_CLAIM in named
    return GROUPS_CLAIM not in claims and (is_named or claims.get("hasgroups") is True)


def groups_with_person(
    tenant: Tenant, groups: Collection[str], access_token: str | None, http: HttpClient, deadline: Deadline
) -> list[str]:
    """Returns those of the groups that hold the person, themselves or by a group in them. Ids only: no other names.

    Graph is asked for the configured groups alone, so the scope User.Read is enough, and no answer is long. Raises
    `OpenIdError` or `RemoteServiceError` for an answer that proves nothing.
    """
    if access_token is None:
        raise OpenIdError("no access_token came back")
    url = f"{tenant.graph}/v1.0/me/checkMemberGroups"
    headers = {"Authorization": f"Bearer {access_token}"}
    ids = [each for each in groups if re.fullmatch(_GUID, each)]
    found = list[str]()
    for first in range(0, len(ids), _MAX_GROUPS):
        asked = ids[first : first + _MAX_GROUPS]
        answer = http.send("POST", url, deadline, headers=headers, json={"groupIds": asked})
        held = parse(_MemberGroups, answer, "Microsoft Graph").value
        found += [each for each in asked if each in held]
    return found
