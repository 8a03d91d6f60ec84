"""Reads motley_cue.conf: each section `[authorisation.NAME]` is a provider whose access tokens are taken."""

from typing import Any

from sshaft_agent.host_login.foreign import ini
from sshaft_agent.host_login.foreign.ini import Ini, Section
from sshaft_agent.host_login.foreign.members import Converted, Member, MemberError, Note

_LOG = "the agent and host-api write to the log of the system"
_NO_PAGES = "host-api has no such pages"
_IN_MEMORY = "one-time passwords are in the memory of the agent alone"
_OPTIONS = (
    "op_url", "scopes", "authorise_all", "authorised_vos", "vo_claim", "vo_match", "authorised_users", "audience",
    "authorised_admins", "authorise_admins_for_all_ops",
)  # fmt: skip
TIERS = ("full", "limited", "restricted")
"""The shells of accounts in feudal_adapter.conf: `shell`, `shell_limited`, `shell_restricted`."""
_TIER, _DEFAULT_TIER, _MAX_TIER = (f"assurance_based_shell_{each}" for each in ("tier_", "default_tier", "max_tier"))
_ASSURANCE = ("assurance_prefix", "assurance_claims", _DEFAULT_TIER, _MAX_TIER, *(_TIER + each for each in TIERS))
_PROVIDER = {name: Member() for name in (*_OPTIONS, *_ASSURANCE)}
TABLES = {
    "mapper": {
        "log_level": Member(lost=_LOG),
        "log_file": Member(lost=_LOG),
        **{name: Member(lost=_NO_PAGES) for name in ("enable_docs", "docs_url", "redoc_url")},
        "api_version": Member(lost="host-api serves every mount point"),
    },
    "mapper.otp": {
        "use_otp": Member(lost="a person may always ask for a one-time password: it needs a good token"),
        **{name: Member(lost=_IN_MEMORY) for name in ("backend", "db_location", "keyfile")},
    },
    "privacy": {
        "privacy_contact": Member(lost="write the address into the statement itself"),
        "privacy_file": Member(lost="name it in host-api.json (`privacy_file`); it is plain text or HTML there"),
    },
    "DEFAULT": _PROVIDER,
    "authorisation.": _PROVIDER,
}
_AUDIENCE = "tokens for other services are refused here. motley_cue did so only with ops_that_support_audience"
_ANY_AUDIENCE = (
    "is empty, so tokens that were made for any other service of this provider open accounts here too. "
    "Better ask the provider for an audience of this host, and write it to `audience`, with `form` jwt or introspection"
)
_TO_THE_LETTER = "compare it with `issuer` in the metadata of the provider, to the letter: a slash at its end counts"
_OWNERS = (
    "preferred_username names the account. The first person with this name gets it, also if the host has it already: "
    "bind the accounts that exist to their owners before (`sshaft host accounts bind`)"
)


def read(text: str) -> Converted:
    """Returns our members. Raises `MemberError`."""
    file = Ini("motley_cue.conf", text)
    notes = file.check(TABLES)
    found: dict[str, dict[str, Any]] = {}
    for name in file.names("authorisation."):
        try:
            provider = _provider(name, file.section(name), notes)
        except MemberError as error:
            raise MemberError(f"[{name}] {error}") from None
        if provider is None:
            continue
        if (key := _canonical(provider["issuer"])) in found:
            raise MemberError(f"[{name}] op_url: another section has this provider too")
        found[key] = provider
    if not found:
        raise MemberError("no section [authorisation.NAME] lets anybody in")
    if len(found) > 1:
        for each in found.values():
            if each.get("form") == "userinfo":
                each["opaque"] = False
        notes.append(
            Note("op_url", "a token that does not name its provider is shown to none of several: see `opaque`")
        )
    return Converted({"tokens": list(found.values())}, "", [*notes, Note("preferred_username", _OWNERS)])


def _provider(name: str, section: Section, notes: list[Note]) -> dict[str, Any] | None:
    """Returns an entry of `tokens`. None: nobody of this provider may log in."""
    issuer = ini.one_line(section, "op_url")
    allow = _allow(section)
    if not issuer or not allow:
        notes.append(Note(f"[{name}]", "is left out: it lets nobody in" if issuer else "is left out: it has no op_url"))
        return None
    notes.append(Note(f"[{name}] op_url", _TO_THE_LETTER))
    audience = _audience(section)
    notes.append(Note(f"[{name}] audience", _AUDIENCE if audience else _ANY_AUDIENCE))
    only = audience[0] if len(audience) == 1 else ""
    entry: dict[str, Any] = {"issuer": issuer if "://" in issuer else f"https://{issuer}"}
    entry |= {"audience": audience} if audience else {"any_audience": True, "form": "userinfo"}
    entry["allow"] = allow
    if admins := ini.listed(section, "authorised_admins"):
        entry["admins"] = admins
    if ini.boolean(section, "authorise_admins_for_all_ops"):
        entry["admins_for_all"] = True
    if assurance := _assurance(section):
        entry["assurance"] = assurance
    entry["advertise"] = {"scopes": ini.listed(section, "scopes"), "audience": only}
    return entry


def _allow(section: Section) -> dict[str, Any]:
    """Returns `allow`. Empty: nobody. Who is one of all needs no other rule."""
    if ini.boolean(section, "authorise_all"):
        return {"everyone": True}
    allow: dict[str, Any] = {}
    if required := ini.listed(section, "authorised_vos"):
        allow["entitlements"] = required
        allow["entitlement_claim"] = ini.one_line(section, "vo_claim", "eduperson_entitlement")
        allow["entitlement_match"] = _match(ini.one_line(section, "vo_match", "one"))
    if users := ini.listed(section, "authorised_users"):
        allow["subjects"] = users
    return allow


def _match(value: str) -> str | int:
    if value in ("one", "all"):
        return value
    if not value.isascii() or not value.isdigit():
        raise MemberError("vo_match must be one, all or a number")
    return int(value)


def _assurance(section: Section) -> dict[str, Any]:
    """Returns `assurance`, with tiers in place of their shells. Empty: every account has the full shell."""
    rules = {tier: ini.one_line(section, _TIER + tier) for tier in TIERS}
    best = _tier(section, _MAX_TIER, "full")
    default = _tier(section, _DEFAULT_TIER, "restricted" if any(rules.values()) else "full")
    shells = [{"when": rule, "shell": max(tier, best, key=TIERS.index)} for tier, rule in rules.items() if rule]
    otherwise = max(default, best, key=TIERS.index)
    if otherwise == "full":
        shells.append({"when": "*", "shell": "full"})
    if otherwise == "full" and all(each["shell"] == "full" for each in shells):
        return {}
    found: dict[str, Any] = {"shells": shells, "otherwise": TIERS[-1] if otherwise == "full" else otherwise}
    if claims := ini.listed(section, "assurance_claims"):
        found["claims"] = claims
    if prefix := ini.one_line(section, "assurance_prefix"):
        found["prefix"] = prefix
    return found


def _tier(section: Section, option: str, default: str) -> str:
    value = ini.one_line(section, option) or default
    if value not in TIERS:
        raise MemberError(f"{option} must be one of {', '.join(TIERS)}")
    return value


def _audience(section: Section) -> list[str]:
    value = section.get("audience", "").strip()
    if value.startswith("["):
        return ini.listed(section, "audience")
    value = ini.one_line(section, "audience").strip("\"'")
    return [value] if value else []


def _canonical(issuer: str) -> str:
    """Returns what two names of one provider have in common, as motley_cue compares them."""
    return issuer.lower().partition("://")[2].removeprefix("www.").removesuffix("/")
