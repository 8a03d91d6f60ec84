"""Reads accounts.json, which says what the agent may ask for, and judges requests by it.

The file belongs to root. So an agent that somebody took over can do nothing outside of it.
"""

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from sshaft_accounts.backends import BACKENDS
from sshaft_accounts.host import only_root_writes
from sshaft_accounts.requests import Adopt, Create, Groups, Request

# A policy can only be stricter. No name begins with "-" (an option), has a ":" (a field of passwd) or is a number.
NAME = re.compile(r"[a-z](?:[a-z0-9._-]{0,30}[a-z0-9_-])?")
PATH = re.compile(r"(?:/(?!\.\.?(?:/|$))[A-Za-z0-9._+@-]+)+")
# The system's own accounts, and the uids of systemd: homes, DynamicUser, "nobody", foreign users and containers.
# See https://systemd.io/UIDS-GIDS/
RESERVED = (
    (0, 999),
    (60001, 60513),
    (61184, 65519),
    (65534, 65535),
    (524288, 1879048191),
    (2147483648, 4294967295),
)
LISTS = ("shells", "groups")


class PolicyError(Exception):
    """accounts.json cannot be used. The text says what to do."""


@dataclass(frozen=True)
class Policy:
    """What the agent may ask for. The members are those of accounts.json."""

    uid_first: int = 70000
    """The first uid and gid."""
    uid_last: int = 99999
    """The last uid and gid."""
    names: str = NAME.pattern
    """A regular expression for the whole name. It can only be stricter than the default."""
    home: str = "/home/{user}"
    """The home directory; `{user}` stands for the name."""
    create_home: bool = True
    """Whether the home directory is made. If not, `pam_mkhomedir` can make it."""
    shell: str = "/bin/bash"
    """The shell."""
    shells: tuple[str, ...] = ()
    """Other shells that the agent may choose, for example by a role."""
    groups: tuple[str, ...] = ()
    """The groups of this host that the agent may give. A group with rights of root gives these to the agent too."""
    agent: str = "sshaft"
    """The account of the agent."""
    backend: str = "passwd"
    """Where new accounts are kept: `passwd`, or `userdb` for JSON records in /etc/userdb."""

    def home_of(self, user: str) -> str:
        return self.home.replace("{user}", user)


def read(path: Path) -> Policy:
    """Returns the policy. Raises `PolicyError`, also if somebody else than root may change the file."""
    try:
        with path.open("rb") as file:
            safe = only_root_writes(os.fstat(file.fileno())) and only_root_writes(path.parent.stat())
            data = file.read()
    except OSError as error:
        raise PolicyError(f"{path}: {error.strerror}") from None
    if not safe:
        raise PolicyError(f"{path}: the file and its folder must belong to root, and nobody else may write there")
    try:
        return from_members(json.loads(data))
    except (ValueError, RecursionError) as error:
        raise PolicyError(f"{path}: {error}") from None


def from_members(members: Any) -> Policy:
    """Returns the policy of these members of accounts.json. Raises `ValueError`."""
    if not isinstance(members, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - a wrong file, not a wrong call
    if unknown := set(members) - {field.name for field in fields(Policy)}:
        raise ValueError(f"unknown member {min(unknown)!a}")
    for name, value in members.items():
        wanted = list if name in LISTS else type(getattr(Policy, name))
        if type(value) is not wanted or (wanted is list and not all(type(each) is str for each in value)):
            raise ValueError(f"{name}: not of the right type")
    policy = Policy(**{**members, **{name: tuple(members.get(name, ())) for name in LISTS}})
    _check(policy)
    return policy


def _check(policy: Policy) -> None:
    if not 1000 <= policy.uid_first <= policy.uid_last < 2**31:
        raise ValueError("uid_first and uid_last: must be 1000 or more, in this order")
    try:
        re.compile(policy.names)
    except re.error:
        raise ValueError("names: not a regular expression") from None
    if policy.home.count("{user}") != 1 or not PATH.fullmatch(policy.home_of("x")):
        raise ValueError("home: must be an absolute path with {user} in it")
    if not all(PATH.fullmatch(each) for each in (policy.shell, *policy.shells)):
        raise ValueError("shell and shells: must be absolute paths")
    if "root" in policy.groups or not all(NAME.fullmatch(each) for each in policy.groups):
        raise ValueError("groups: must be names of groups, and not root")
    if policy.backend not in BACKENDS:
        raise ValueError(f"backend: must be one of {', '.join(BACKENDS)}")


def refusal(policy: Policy, request: Request, taken: Iterable[tuple[int, int]] = ()) -> str:
    """Returns why the policy refuses the request, or an empty text. `taken` are the ranges of /etc/subuid and subgid.

    An account that exists can be locked and removed, and can lose groups, also after the policy became stricter.
    """
    match request:
        case Create():
            return _refusal_of_create(policy, request, taken)
        case Adopt() if not NAME.fullmatch(request.user) or request.user == policy.agent:
            return "user: this name is not allowed"
        case Groups() if not set(request.add) <= set(policy.groups):
            return "groups: a group is not in accounts.json"
    return ""


def _refusal_of_create(policy: Policy, request: Create, taken: Iterable[tuple[int, int]]) -> str:
    if not NAME.fullmatch(request.user) or not re.fullmatch(policy.names, request.user):
        return "user: this name is not allowed"
    if not policy.uid_first <= request.uid <= policy.uid_last:
        return f"uid: not between {policy.uid_first} and {policy.uid_last}"
    if reason := refusal_of_uid(request.uid, taken):
        return reason
    if request.home not in ("", policy.home_of(request.user)):
        return "home: not the one of accounts.json"
    if request.shell not in ("", policy.shell, *policy.shells):
        return "shell: not one of accounts.json"
    return ""


def refusal_of_uid(uid: int, taken: Iterable[tuple[int, int]]) -> str:
    """Returns why no account of this program may have the uid, whatever accounts.json says, or an empty text."""
    if any(first <= uid <= last for first, last in (*RESERVED, *taken)):
        return "uid: in a range that the system or containers use"
    return ""
