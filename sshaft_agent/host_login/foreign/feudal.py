"""Reads the parts of feudal_adapter.conf that speak of accounts of this host: `create`, `roles`, and `login_info`."""

from typing import Any

from sshaft_agent.host_login.foreign import ini
from sshaft_agent.host_login.foreign.ini import Ini, Section
from sshaft_agent.host_login.foreign.members import Converted, Member, MemberError, Note

_LOG = "the agent writes to the log of the system"
_GROUPS = "no group of the provider becomes one of this host: write `roles`"
_OWN_GROUP = "each new account has a group of its own"
_NAMES = "preferred_username itself must be the name of the account: nobody gets another name, or one of a pool"
_DIRECTORY = "accounts of a directory come by nsswitch.conf, for example with sssd"
_SHELLS = "chooses the shell of new accounts. Write the shells to `shells` of accounts.json"
_MAIL = "the mail server is asked without a login, with STARTTLS unless it is on this host"


def _lost(reason: str, names: str) -> dict[str, Member]:
    return {name: Member(lost=reason) for name in names.split()}


_LDAP = _lost(
    _DIRECTORY,
    "mode host port connection_pool_size admin_user admin_password tls user_base group_base attribute_oidc_uid "
    "attribute_local_uid shell shell_limited shell_restricted home_base post_create_script uid_min uid_max gid_min "
    "gid_max",
)
TABLES = {
    "DEFAULT": {},
    "ldf_adapter": {
        "backend": Member(),
        "additional_groups": Member(),
        **_lost(_OWN_GROUP, "primary_group fallback_group"),
        **_lost("nobody is asked for a name or a group", "interactive"),
        **_lost("an account stays with its first owner", "backend_supports_preferring_existing_user"),
    },
    "messages": _lost(
        _LOG,
        "log_file log_level log_to_console log_name_changes log_primary_group_definition log_username_creation",
    ),
    "approval": {
        "enabled": Member(),
        "notifier": Member(),
        "user_db_location": Member(lost="people who wait there must ask again"),
    },
    "notifier.email": {
        **dict.fromkeys(("smtp_server", "smtp_port", "sent_from", "admin_email"), Member()),
        **_lost(_MAIL, "use_ssl sent_from_password"),
        "templates_dir": Member(lost="the text of the e-mail has a fixed form"),
    },
    "notifier.courier": _lost("use `notify.command` or `notify.email`", "api_key"),
    "username_generator": _lost(_NAMES, "mode pool_prefix pool_digits strip_sub_groups"),
    "backend.local_unix": {
        **dict.fromkeys(("shell", "shell_limited", "shell_restricted", "home_base"), Member()),
        **_lost("keys of the provider are not installed", "deploy_user_ssh_keys"),
        **_lost(_GROUPS, "punch4nfdi shadow_compatibility_function"),
        "post_create_script": Member(lost="sshaft runs no script for a new account: use PAM's session phase"),
        "use_sudo": Member(lost="sshaft-accounts makes the accounts, and the agent has no rights"),
    },
    "backend.ldap": _LDAP,
    "backend.bonsai_ldap": _LDAP,
    "backend.bwidm": _lost(
        "sshaft makes no accounts at bwIDM",
        "url org_id http_user http_pass service_name log_outgoing_http_requests post_create_script",
    ),
    "groups": _lost(_GROUPS, "policy method mapping supported_entitlements supported_groups"),
    "verbose-info-plugin": _lost("claims of people are written to no file", "active filename dirname"),
}


def add(found: Converted, text: str) -> Converted:
    """Returns the members of motley_cue.conf with those of this file. Raises `MemberError`."""
    file = Ini("feudal_adapter.conf", text)
    notes = file.check(TABLES, free="login_info")
    backend = ini.one_line(file.section("ldf_adapter"), "backend", "local_unix")
    mine = f"[backend.{backend}]"
    notes = [each for each in notes if not each.member.startswith("[backend.") or each.member.startswith(mine)]
    members = dict(found.members)
    if login_info := dict(file.section("login_info")):
        members["login_info"] = login_info
    if backend == "local_unix":
        members |= _local(file, notes)
        members["tokens"] = [_with_shells(each, file, notes) for each in members["tokens"]]
    elif backend in ("ldap", "bonsai_ldap", "bwidm"):
        notes.append(Note("[ldf_adapter] backend", f"{backend}: the accounts must exist. {_DIRECTORY}"))
        members["tokens"] = [_without_shells(each, notes) for each in members["tokens"]]
    else:
        raise MemberError("[ldf_adapter] backend is unknown")
    return Converted(members, "", found.notes + notes)


def _with_shells(provider: dict[str, Any], file: Ini, notes: list[Note]) -> dict[str, Any]:
    """Returns the provider with shells in place of tiers. The full shell is that of `create`."""
    if "assurance" not in provider:
        return provider
    unix = file.section("backend.local_unix")
    shells = {tier: ini.one_line(unix, f"shell_{tier}", "/sbin/nologin") for tier in ("limited", "restricted")}
    notes.append(Note(f"{provider['issuer']}: assurance", _SHELLS))
    assurance = provider["assurance"]
    rules = [
        {"when": each["when"], **({"shell": shells[each["shell"]]} if each["shell"] in shells else {})}
        for each in assurance["shells"]
    ]
    return provider | {"assurance": assurance | {"shells": rules, "otherwise": shells[assurance["otherwise"]]}}


def _without_shells(provider: dict[str, Any], notes: list[Note]) -> dict[str, Any]:
    if "assurance" in provider:
        notes.append(Note(f"{provider['issuer']}: assurance", "has no effect on accounts that sshaft does not make"))
    return {name: value for name, value in provider.items() if name != "assurance"}


def _local(file: Ini, notes: list[Note]) -> dict[str, Any]:
    """Returns what makes accounts on this host."""
    unix = file.section("backend.local_unix")
    create: dict[str, Any] = {"shell": ini.one_line(unix, "shell", "/bin/sh")}
    if home := ini.one_line(unix, "home_base").rstrip("/"):
        create["home"] = f"{home}/{{user}}"
    notes.append(
        Note("[backend.local_unix] shell", "sshaft-accounts has its own limits: write shell and home to accounts.json")
    )
    approval = file.section("approval")
    if ini.boolean(approval, "enabled"):
        create["approve"] = True
        if ini.one_line(approval, "notifier", "email") == "email":
            create["notify"] = _email(file.section("notifier.email"))
        else:
            notes.append(Note("[approval] notifier", "nobody is told of a request: write `create.notify`"))
    groups = ini.one_line(file.section("ldf_adapter"), "additional_groups").strip("[]").replace(",", " ")
    names = [each.strip("\"'") for each in groups.split()]
    if names:
        notes.append(
            Note("[ldf_adapter] additional_groups", "the groups must exist, and accounts.json must allow them")
        )
    return {"create": create, **({"roles": [{"everyone": True, "local_groups": names}]} if names else {})}


def _email(section: Section) -> dict[str, Any]:
    port = ini.one_line(section, "smtp_port", "25")
    if not port.isascii() or not port.isdigit():
        raise MemberError("[notifier.email] smtp_port must be a number")
    return {
        "email": ini.one_line(section, "admin_email", "admin@localhost"),
        "sender": ini.one_line(section, "sent_from", "admin@localhost"),
        "smtp_host": ini.one_line(section, "smtp_server", "localhost"),
        "smtp_port": int(port),
    }
