"""Decides what the roles of a person give: a function from settings and claims to rights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from sshaft_agent.host_login.claims import ClaimName, claim, has_one, texts
from sshaft_agent.host_login.roles.settings import Role
from sshaft_agent.host_login.rules import ProviderRules


@dataclass(frozen=True)
class Granted:
    """What all roles of a person give together. None: no role says anything of it."""

    local_groups: frozenset[str] = frozenset()
    shell: str | None = None
    temporary: timedelta | None = None

    def __str__(self) -> str:
        """Returns a sentence for an operator."""
        what = [f"the local groups {', '.join(sorted(self.local_groups))}"] if self.local_groups else []
        what += [f"the shell {self.shell}"] if self.shell else []
        what += [f"an account for {str(self.temporary).removesuffix(', 0:00:00')}"] if self.temporary else []
        return f"they give {'; '.join(what)}" if what else "no role is this person's"


def rights_of(settings: ProviderRules, claims: Mapping[str, Any]) -> Granted:
    """Returns what the person gets by roles, and the shell by `assurance`, which comes before that of a role."""
    rights = granted(settings.roles, settings.groups_claim, claims)
    shell = settings.assurance.shell_of(claims) if settings.assurance is not None else None
    return rights if shell is None else replace(rights, shell=shell)


def granted(roles: Sequence[Role], groups_claim: ClaimName, claims: Mapping[str, Any]) -> Granted:
    """Returns the groups of all roles that the person has. Shell and expiry are those of the first role with one."""
    held = [role for role in roles if _has(role, texts(claim(claims, groups_claim)), claims)]
    return Granted(
        frozenset(group for role in held for group in role.local_groups),
        next((role.shell for role in held if role.shell), None),
        next((role.temporary for role in held if role.temporary), None),
    )


def _has(role: Role, groups: set[str], claims: Mapping[str, Any]) -> bool:
    """Whether a person with these groups and claims has the role. What is missing gives nothing."""
    is_member = role.groups is None or bool(groups & set(role.groups))
    return is_member and all(has_one(claims.get(name), values) for name, values in (role.claims or {}).items())
