"""Checks the members of a foreign file against a table, and says which of them have no counterpart here."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, urlsplit

KINDS = {str: "a text", bool: "true or false", int: "a whole number", list: "a list", dict: "an object"}
_TOKEN_ENDPOINTS = (
    "/protocol/openid-connect/token",  # Keycloak
    "/oauth2/v1/token",  # Okta, Oracle
    "/v1/token",  # Okta, with an authorization server of one's own
    "/oauth2/token",
    "/oauth/token",
    "/token",
)


class MemberError(ValueError):
    """The file cannot be used. The message names the member, without its value."""


@dataclass(frozen=True)
class Member:
    """What a format says of one member. `lost`: why it has no counterpart here; empty: it has one."""

    kind: type = str
    required: bool = False
    lost: str = ""


@dataclass(frozen=True)
class Note:
    """A member that has no effect here, or not its whole effect, and the reason."""

    member: str
    reason: str


@dataclass(frozen=True)
class Converted:
    """The members of `host_login`, without the client's secret, and what has no counterpart among them."""

    members: dict[str, Any]
    secret: str = field(repr=False)
    notes: list[Note]


def flatten(data: Mapping[str, Any], table: Mapping[str, Member]) -> dict[str, Any]:
    """Returns the members of the file by their dotted names, without comments and without null.

    Raises `MemberError` for a member that the table does not have, a value of another kind, or a missing member.
    """
    found = dict(_named(data, table, ""))
    if unknown := [name for name in found if name not in table]:
        raise MemberError(f"unknown: {', '.join(unknown)}")
    for name, value in found.items():
        if type(value) is not table[name].kind:
            raise MemberError(f"{name} must be {KINDS[table[name].kind]}")
    if missing := [name for name, member in table.items() if member.required and name not in found]:
        raise MemberError(f"missing: {', '.join(missing)}")
    return found


def _named(data: Mapping[str, Any], table: Mapping[str, Member], prefix: str) -> Iterator[tuple[str, Any]]:
    for each, value in data.items():
        name = prefix + each
        if each.startswith("_comment") or value is None:
            continue
        if isinstance(value, dict) and any(known.startswith(f"{name}.") for known in table):
            yield from _named(value, table, f"{name}.")
        else:
            yield name, value


def lost(found: Mapping[str, Any], table: Mapping[str, Member]) -> list[Note]:
    """Returns a note for each member that is there and has no counterpart."""
    return [Note(name, table[name].lost) for name in found if table[name].lost]


def issuer_of(token_endpoint: str) -> str:
    """Returns the issuer that most providers with this token endpoint have: the other modules name none."""
    parts = split(token_endpoint)
    path = next((parts.path.removesuffix(end) for end in _TOKEN_ENDPOINTS if parts.path.endswith(end)), "")
    return f"{parts.scheme}://{parts.netloc}{path}"


def split(address: str) -> SplitResult:
    """Returns the parts of an address. Raises `MemberError`. The settings check the rest of it."""
    try:
        return urlsplit(address)
    except ValueError:
        raise MemberError("an endpoint is no address") from None


def endpoints(found: Mapping[str, Any]) -> dict[str, str]:
    """Returns `endpoints` of a file that has them in its section `oauth`."""
    return {
        "device_authorization_endpoint": found["oauth.device_endpoint"],
        "token_endpoint": found["oauth.token_endpoint"],
        "userinfo_endpoint": found["oauth.userinfo_endpoint"],
    }


def without_root(users: Mapping[str, Any]) -> tuple[dict[str, list[str]], list[Note]]:
    """Returns the accounts of each person, and what is left out of them. Raises `MemberError`."""
    kept: dict[str, list[str]] = {}
    notes = []
    for person, names in users.items():
        accounts = [names] if isinstance(names, str) else names
        if not isinstance(accounts, list) or not all(isinstance(each, str) for each in accounts):
            raise MemberError("users must have a list of accounts for each person")
        if "root" in accounts:
            notes.append(Note("users", f"{person!r} does not get root: host login never opens it"))
        if others := [each for each in accounts if each != "root"]:
            kept[person] = others
    return kept, notes
