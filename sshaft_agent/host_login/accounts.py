"""Finds the account of this host that belongs to an identity, and decides whether the person may use it.

Everything here is a plain function: no network, no files except the host's own accounts.
"""

import pwd
import re
from dataclasses import dataclass
from typing import Any

from sshaft_agent.host_login.settings import HostLoginSettings

_FIRST_UID = 1000
_SYSTEM_RANGES = (range(61184, 65520), range(65534, 65536), range(2**32 - 2, 2**32))
"""systemd's DynamicUser, nobody, and the values that mean "no user"."""
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@+-]{0,63}")


@dataclass(frozen=True)
class Account:
    name: str
    uid: int


def find(name: str) -> Account | None:
    """Returns an account that a person may have. None: unknown, root, of the system, or no name of a person.

    Asks every source that the host uses (nsswitch.conf), so it may block.
    """
    if not _USER.fullmatch(name):
        return None
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    is_person = entry.pw_uid >= _FIRST_UID and not any(entry.pw_uid in system for system in _SYSTEM_RANGES)
    return Account(entry.pw_name, entry.pw_uid) if is_person and entry.pw_name == name else None


def belongs(account: Account, settings: HostLoginSettings, value: Any) -> bool:
    """Whether the value of `uid_claim`, or else of `claim`, names this account."""
    if settings.uid_claim is not None:
        number = int(value) if isinstance(value, str) and re.fullmatch("[0-9]{1,10}", value) else value
        return type(number) is int and number == account.uid
    if not isinstance(value, str) or len(value) > 256:
        return False
    found = re.fullmatch(settings.match, value)
    return found is not None and found.expand(settings.name) == account.name


def refusal(account: Account, settings: HostLoginSettings, claims: dict[str, Any], groups: Any) -> str | None:
    """Returns why the policy refuses this person, or None. What cannot be decided is refused."""
    allow = settings.allow
    if allow.users is not None and account.name not in allow.users:
        return "allow.users does not name the account"
    if allow.groups is not None and not set(allow.groups) & _texts(groups):
        return f"no group of allow.groups is in {settings.groups_claim}"
    if allow.acr is not None and claims.get("acr") not in allow.acr:
        return "acr is not in allow.acr"
    if allow.amr is not None and not set(allow.amr) <= _texts(claims.get("amr")):
        return "amr lacks a method of allow.amr"
    return None


def _texts(value: Any) -> set[str]:
    return {each for each in value if isinstance(each, str)} if isinstance(value, list) else set()
