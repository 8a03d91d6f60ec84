"""Compares what roles give with what accounts.json allows, and with the groups of the host."""

import grp
from collections.abc import Callable

from sshaft_doctor.findings import Finding, error, warning
from sshaft_doctor.host_login.create import POLICY, Create, Policy

_CHECK = "host.roles"


def _is_group(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def examine(create: Create, policy: Policy | None, is_group: Callable[[str], bool] = _is_group) -> list[Finding]:
    """Returns findings about groups and shells that nobody would get."""
    if policy is None:
        return []
    found, where = [], str(POLICY)
    wanted = {group for role in create.roles for group in role.local_groups}
    if refused := sorted(wanted - set(policy.groups)):
        what = f"accounts.json does not allow these groups of roles, so nobody gets them: {', '.join(refused)}"
        found.append(warning(_CHECK, what, where, f'add them to "groups" in {POLICY}'))
    if missing := sorted(group for group in wanted & set(policy.groups) if not is_group(group)):
        what = f"this host does not have these groups of roles, so nobody gets them: {', '.join(missing)}"
        right = "; ".join(f"groupadd --system {group}" for group in missing)
        found.append(warning(_CHECK, what, "/etc/group", right))
    chosen = {role.shell for role in create.roles if role.shell} | set(create.assurance)
    if shells := sorted(chosen - {policy.shell, *policy.shells}):
        what = f"accounts.json does not allow these shells, so no account with them is made: {', '.join(shells)}"
        found.append(error(_CHECK, what, where, f'add them to "shells" in {POLICY}'))
    return found
