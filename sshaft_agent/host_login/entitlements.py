"""Compares entitlements of AARC-G069 and AARC-G002: URNs in which a provider names groups and roles of a person.

    urn:geant:example.org:group:physics:students:role=member#authority

A member of a subgroup is a member of the groups above it. A role holds in its own group alone.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sshaft_agent.host_login.claims import texts

Match = Literal["one", "all"] | int
"""How many of the required entitlements a person needs."""
_ROLE = "role="
_PART = re.compile(r"[^:?#\s]+")


@dataclass(frozen=True)
class Entitlement:
    """An entitlement. `namespace` is compared without case, and all of it."""

    namespace: tuple[str, ...]
    groups: tuple[str, ...]
    role: str | None

    def gives(self, required: "Entitlement") -> bool:
        """Whether a person who has this entitlement has what is required."""
        if self.namespace != required.namespace:
            return False
        if required.role is not None:
            return (self.groups, self.role) == (required.groups, required.role)
        return self.groups[: len(required.groups)] == required.groups


def parse(value: str) -> Entitlement | None:
    """Returns the parts of an entitlement. None: the text names no group by AARC-G069.

    The first part `group` ends the namespace. With a later one, somebody who may only name subgroups could make a
    group `group`, and in it a group with the name of another one. The end behind `?+`, `?=` or `#` counts for nothing
    (RFC 8141 §3), and so does the authority of AARC-G002.
    """
    name = re.split(r"#|\?[+=]", value, maxsplit=1)[0]
    parts = name.split(":")
    if not all(_PART.fullmatch(each) for each in parts) or parts[0].lower() != "urn" or "group" not in parts[3:]:
        return None
    start = parts.index("group", 3)
    groups = [_normal(each) for each in parts[start + 1 :]]
    role = groups.pop().removeprefix(_ROLE) if groups and groups[-1].startswith(_ROLE) else None
    if not groups or role == "" or any(each.startswith(_ROLE) for each in groups):
        return None
    return Entitlement(tuple(each.lower() for each in parts[1:start]), tuple(groups), role)


def _normal(part: str) -> str:
    """Returns a part with `%2f` as `%2F`: both are the same sign (RFC 8141 §3.1)."""
    return re.sub("%[0-9A-Fa-f]{2}", lambda found: found[0].upper(), part)


def fulfils(found: Any, required: Sequence[str], match: Match) -> bool:
    """Whether the value of a claim has as many of the required entitlements as `match` says."""
    held = {found} if isinstance(found, str) else texts(found)
    needed = len(required) if match == "all" else 1 if match == "one" else match
    return 1 <= needed <= sum(_has(held, each) for each in required)


def _has(held: Collection[str], required: str) -> bool:
    """Whether one of the texts gives what is required. A text that is no entitlement must be the same."""
    wanted = parse(required)
    if wanted is None:
        return required in held
    return any(each.gives(wanted) for each in map(parse, held) if each is not None)
