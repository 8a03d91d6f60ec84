"""Finds the account of this host that belongs to an identity, and decides whether the person may use it.

Everything here is a plain function: no network, no files except the host's own accounts.
"""

import pwd
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sshaft.text import printable
from sshaft_agent.host_login import USER_NAME
from sshaft_agent.host_login.settings import HostLoginSettings

_FIRST_UID = 1000
_SYSTEM_RANGES = (range(61184, 65520), range(65534, 65536), range(2**32 - 2, 2**32))
"""systemd's DynamicUser, nobody, and the values that mean "no user"."""


@dataclass(frozen=True)
class Account:
    name: str
    uid: int


def find(name: str) -> Account | None:
    """Returns an account that a person may have. None: unknown, root, of the system, or no name of a person.

    Asks every source that the host uses (nsswitch.conf), so it may block.
    """
    if not USER_NAME.fullmatch(name):
        return None
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    is_person = entry.pw_uid >= _FIRST_UID and not any(entry.pw_uid in system for system in _SYSTEM_RANGES)
    return Account(entry.pw_name, entry.pw_uid) if is_person and entry.pw_name == name else None


@dataclass(frozen=True)
class Check:
    """One rule of the configuration, and what it says of a person. `rule` is the member's name; `detail` is foreign."""

    rule: str
    passed: bool
    detail: str


def checks(account: Account | None, settings: HostLoginSettings, claims: Mapping[str, Any]) -> Iterator[Check]:
    """Yields the checks of a login in their order. Every one must pass; what cannot be decided does not."""
    if account is None:
        yield Check("account", passed=False, detail="no account of a person has this name on this host")
        return
    yield Check("account", passed=True, detail=f"{account.name} has the uid {account.uid}")
    rule = "uid_claim" if settings.uid_claim else "claim"
    value = claims.get(settings.named_by)
    yield Check(rule, passed=_belongs(account, settings, value), detail=f"{settings.named_by} is {_shown(value)}")
    yield from _policy(account, settings, claims)


def wanted(settings: HostLoginSettings) -> set[str]:
    """Returns the claims that may come from UserInfo. `acr` and `amr` count only in the ID token."""
    return {settings.named_by} | ({settings.groups_claim} if settings.allow.groups else set())


def _belongs(account: Account, settings: HostLoginSettings, value: Any) -> bool:
    """Whether the value of `uid_claim`, or else of `claim`, names this account."""
    if settings.uid_claim is not None:
        number = int(value) if isinstance(value, str) and re.fullmatch("[0-9]{1,10}", value) else value
        return type(number) is int and number == account.uid
    if not isinstance(value, str) or len(value) > 256:
        return False
    found = re.fullmatch(settings.match, value)
    return found is not None and found.expand(settings.name) == account.name


def _policy(account: Account, settings: HostLoginSettings, claims: Mapping[str, Any]) -> Iterator[Check]:
    """Yields a check for each member of `allow` that is there."""
    allow = settings.allow
    groups, amr = claims.get(settings.groups_claim), claims.get("amr")
    if allow.users is not None:
        yield Check("allow.users", account.name in allow.users, f"the account is {account.name}")
    if allow.groups is not None:
        is_member = bool(set(allow.groups) & _texts(groups))
        yield Check("allow.groups", is_member, f"{settings.groups_claim} is {_shown(groups)}")
    if allow.acr is not None:
        yield Check("allow.acr", claims.get("acr") in allow.acr, f"acr is {_shown(claims.get('acr'))}")
    if allow.amr is not None:
        yield Check("allow.amr", set(allow.amr) <= _texts(amr), f"amr is {_shown(amr)}")


def _texts(value: Any) -> set[str]:
    return {each for each in value if isinstance(each, str)} if isinstance(value, list) else set()


def _shown(value: Any) -> str:
    return "missing" if value is None else printable(repr(value))
