"""Finds the account of this host that belongs to an identity, and decides whether the person may use it.

Everything here is a plain function: no network, no files except the host's own accounts.
"""

import pwd
import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sshaft_agent.host_login import USER_NAME
from sshaft_agent.host_login.claims import Conditions, claim, first_name, has_one, number, shown, shown_name, texts
from sshaft_agent.host_login.entitlements import fulfils
from sshaft_agent.host_login.first_login.settings import UidOfClaim
from sshaft_agent.host_login.rules import ProviderRules
from sshaft_oidc.entra import groups_are_elsewhere
from sshaft_oidc.identity import subject_of

_FIRST_UID = 1000
_SYSTEM_RANGES = (range(61184, 65520), range(65534, 65536), range(2**32 - 2, 2**32))
"""systemd's DynamicUser, nobody, and the values that mean "no user"."""


@dataclass(frozen=True)
class Account:
    """An account. `is_first_of_uid`: the uid stands for this name, and not for another account with the same uid.

    `is_made` is false for the account that the first login makes. `shell` is None if nobody knows it.
    """

    name: str
    uid: int
    is_first_of_uid: bool = True
    is_made: bool = True
    shell: str | None = None


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
    if not is_person or entry.pw_name != name:
        return None
    return Account(name, entry.pw_uid, _name_of(entry.pw_uid) == name, shell=entry.pw_shell)


def _name_of(uid: int) -> str | None:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


@dataclass(frozen=True)
class Check:
    """One rule of the configuration, and what it says of a person. `rule` is the member's name; `detail` is foreign."""

    rule: str
    passed: bool
    detail: str


def checks(
    account: Account | None, settings: ProviderRules, claims: Mapping[str, Any], scopes: Collection[str]
) -> Iterator[Check]:
    """Yields the checks of a login in their order. Every one must pass; what cannot be decided does not.

    `scopes` are those that the provider has granted.
    """
    if account is None:
        yield Check("account", passed=False, detail="no account of a person has this name on this host")
        return
    when = ", when an operator has approved it" if settings.create is not None and settings.create.approve else ""
    is_new = f"this host does not have {account.name}: the first login makes the account{when}"
    yield Check(
        "account", passed=True, detail=f"{account.name} has the uid {account.uid}" if account.is_made else is_new
    )
    if settings.tenant is not None:
        tenant = claims.get("tid")
        yield Check("tenant", tenant == settings.tenant.id, f"tid is {shown(tenant)}")
    yield _owner(account, settings, claims)
    yield from _policy(account, settings, claims, scopes)


def wanted(settings: ProviderRules) -> set[str]:
    """Returns the claims that may come from UserInfo. `acr` and `amr` count only in the ID token."""
    names = [settings.uid_claim] if settings.uid_claim else [settings.named_by]
    if settings.map is not None:
        names.append(settings.named_by)
    if deciding_groups(settings):
        names.append(settings.groups_claim)
    if settings.allow.entitlements is not None:
        names.append(settings.allow.entitlement_claim)
    if settings.create is not None and isinstance(settings.create.uid, UidOfClaim):
        names.append(settings.create.uid.claim)
    if settings.assurance is not None:
        names += set(settings.assurance.claims) - {"acr", "amr"}
    for conditions in _conditions(settings):
        names += conditions.claims or ()
    return {first_name(name) for name in names}


def deciding_groups(settings: ProviderRules) -> set[str]:
    """Returns the values of `groups_claim` that decide something."""
    return {each for conditions in _conditions(settings) for each in conditions.groups or ()}


def _conditions(settings: ProviderRules) -> tuple[Conditions, ...]:
    return settings.allow, *settings.roles


def person(settings: ProviderRules, claims: Mapping[str, Any]) -> str:
    """Returns the value of the claim that stands in the map. Empty: the map does not name this person."""
    value = _text(claim(claims, settings.named_by))
    return value if value is not None and settings.map is not None and value in settings.map else ""


def names(settings: ProviderRules, claims: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the accounts that the rule gives to a person. `checks` decides of each one. It may block."""
    return tuple(name for name in _names(settings, claims) if USER_NAME.fullmatch(name))


def _names(settings: ProviderRules, claims: Mapping[str, Any]) -> tuple[str, ...]:
    value = _text(claim(claims, settings.named_by))
    if settings.map is not None and value in settings.map:
        return settings.map[value]
    if settings.uid_claim is not None:
        uid = number(claim(claims, settings.uid_claim))
        name = None if uid is None or not _FIRST_UID <= uid < 2**32 else _name_of(uid)
        return () if name is None else (name,)
    if settings.rule is None or not value:
        return ()
    fits = re.fullmatch(settings.rule[0], value, re.ASCII)
    return (fits.expand(settings.rule[1]),) if fits else ()


def _owner(account: Account, settings: ProviderRules, claims: Mapping[str, Any]) -> Check:
    """Returns the check of the one rule that decides whose account it is: the map, `uid_claim`, or the name."""
    found = claim(claims, settings.named_by)
    value, said = _text(found), f"{shown_name(settings.named_by)} is {shown(found)}"
    if settings.map is not None:
        if value is None:
            return Check("map", passed=False, detail=said)
        if value in settings.map:
            return Check("map", account.name in settings.map[value], f"{said}: {', '.join(settings.map[value])}")
    if settings.uid_claim is not None:
        uid = claim(claims, settings.uid_claim)
        return Check("uid_claim", _is_uid_of(account, uid), f"{shown_name(settings.uid_claim)} is {shown(uid)}")
    if settings.rule is None:
        return Check("map", passed=False, detail=f"{said}, which is not in the map")
    match, name = settings.rule
    fits = value and re.fullmatch(match, value, re.ASCII)  # with (?i), other alphabets' letters would be ASCII's
    return Check("claim", bool(fits and fits.expand(name) == account.name), said)


def _text(value: Any) -> str | None:
    """Returns the value of a claim that may name an account, in the normal form NFC. None: it names nobody.

    A sign such as the Kelvin sign becomes an ASCII letter in NFC. Its name is another one at the provider.
    """
    if not isinstance(value, str) or not 1 <= len(value) <= 256:
        return None
    normal = unicodedata.normalize("NFC", value)
    return None if normal.isascii() and normal != value else normal


def _is_uid_of(account: Account, value: Any) -> bool:
    return number(value) == account.uid and account.is_first_of_uid


def _policy(
    account: Account, settings: ProviderRules, claims: Mapping[str, Any], scopes: Collection[str]
) -> Iterator[Check]:
    """Yields a check for each member of `allow` that is there."""
    allow = settings.allow
    amr = claims.get("amr")
    if allow.users is not None:
        yield Check("allow.users", account.name in allow.users, f"the account is {account.name}")
    if not (allow.mapped and person(settings, claims)):
        ways = list(_memberships(settings, claims))
        yield from [each for each in ways if each.passed] or ways
    for name, values in (allow.claims or {}).items():
        found = claims.get(name)
        yield Check(f"allow.claims.{name}", has_one(found, values), f"{name} is {shown(found)}")
    if needed := settings.needed_scopes:
        missing = " ".join(sorted(needed - set(scopes)))
        yield Check("scopes", not missing, f"not granted: {missing}" if missing else "all are granted")
    if allow.acr is not None:
        yield Check("allow.acr", claims.get("acr") in allow.acr, f"acr is {shown(claims.get('acr'))}")
    if allow.amr is not None:
        yield Check("allow.amr", set(allow.amr) <= texts(amr), f"amr is {shown(amr)}")


def _memberships(settings: ProviderRules, claims: Mapping[str, Any]) -> Iterator[Check]:
    """Yields the checks of the members of `allow` of which one is enough."""
    allow = settings.allow
    if allow.groups is not None:
        is_member = bool(set(allow.groups) & texts(claim(claims, settings.groups_claim)))
        said = f"{shown_name(settings.groups_claim)} is {_shown_groups(settings, claims)}"
        yield Check("allow.groups", is_member, said)
    if allow.entitlements is not None:
        found = claim(claims, allow.entitlement_claim)
        passed = fulfils(found, allow.entitlements, allow.entitlement_match)
        yield Check("allow.entitlements", passed, f"{shown_name(allow.entitlement_claim)} is {shown(found)}")
    if allow.subjects is not None:
        subject = subject_of(claims, settings.subject_claims)
        yield Check("allow.subjects", subject in allow.subjects, f"the person is {shown(subject)}")


def _shown_groups(settings: ProviderRules, claims: Mapping[str, Any]) -> str:
    if settings.tenant is not None and groups_are_elsewhere(claims):
        return "missing, because there are too many: a login asks Microsoft Graph"
    return shown(claim(claims, settings.groups_claim))
