"""Compares the settings in force with the needs of sshaft and the abilities of this OpenSSH."""

import re
from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatchcase

from sshaft.openssh_version import Version
from sshaft_doctor import keys_command, penalties, rules
from sshaft_doctor.effective import Effective, seconds
from sshaft_doctor.findings import Finding, error, note, warning
from sshaft_doctor.rules import name
from sshaft_doctor.sources import Line

_KEYS_SECONDS = 3.0
"""The longest run of `sshaft-keys`, each time that sshd starts it."""

_GLOBAL = frozenset(
    f"sshd.{keyword}"
    for keyword in ("usepam", "logingracetime", "usedns", "fingerprinthash", "permituserenvironment", "penalties")
)
"""The checks of settings that cannot stand in a Match block (servconf.c)."""


def lint(settings: Effective, version: Version | None, login_user: str = "mfa") -> list[Finding]:
    """Returns all findings about these settings. Without a version the checks that need one are left out.

    A file without sshaft gets one finding only. It may be the host's own file, and advice could lock people out.
    """
    own = _own_line(settings)
    if not has_factor(settings):
        return [_foreign_command(settings, None)]
    found = [finding for rule in rules.RULES for finding in rules.apply(rule, settings)]
    found += rules.forwarding(settings, version)
    found += _keys_command(settings, version)
    for check in _CHECKS:
        found += check(settings)
    found += _allowed(settings, login_user)
    found += penalties.check(settings, version)
    return _below(own.match, found) if own and own.match else found


def has_factor(settings: Effective) -> bool:
    """Whether these settings are meant for the SSH factor: sshaft-keys is in them."""
    return _own_line(settings) is not None or keys_command.is_ours(settings.get("AuthorizedKeysCommand"))


def _own_line(settings: Effective) -> Line | None:
    """Returns the first line that runs sshaft-keys, whether it is in force or not."""
    lines = (line for line in settings.lines if line.keyword == "authorizedkeyscommand")
    return next((line for line in lines if keys_command.is_ours(line.value)), None)


def _below(match: str, found: list[Finding]) -> list[Finding]:
    """Adapts the findings to an sshd that serves others too: remedies go below its Match block, and PAM may stay on."""
    return [
        each
        if each.check in _GLOBAL or not each.remedy
        else replace(each, remedy=f"below Match {match}: {each.remedy}")
        for each in found
        if each.check != "sshd.usepam"
    ]


def _keys_command(settings: Effective, version: Version | None) -> list[Finding]:
    command, where = settings.get("AuthorizedKeysCommand", "none"), settings.where("AuthorizedKeysCommand")
    if not keys_command.is_ours(command):
        return [_foreign_command(settings, _own_line(settings))]
    found = keys_command.check(command, version, where)
    if settings.get("ExposeAuthInfo", "no").lower() != "yes":
        how = warning if "config" in keys_command.options(keys_command.split(command)) else error
        what = "ExposeAuthInfo is no: sshaft-login can't say which key signed"
        found.append(how("sshd.exposeauthinfo", what, settings.where("ExposeAuthInfo"), "ExposeAuthInfo yes"))
    return found


def _foreign_command(settings: Effective, own: Line | None) -> Finding:
    command, where = settings.get("AuthorizedKeysCommand", "none"), settings.where("AuthorizedKeysCommand")
    check = "sshd.authorizedkeyscommand"
    if own is None:
        what = f"nothing of sshaft is in this file (AuthorizedKeysCommand is {command})"
        remedy = "name the file of sshaft's sshd: --sshd-config FILE; sshaft sshd-config writes one"
        return error(check, what, settings.file, remedy)
    if command.lower() == "none" and own.match:
        what = f"no command for this account: ours stands in a Match block that does not match ({own.match})"
        return error(check, what, own.place, "correct the Match line above it")
    what = f"sshd takes the first AuthorizedKeysCommand, {command}; ours at {own.place} comes too late"
    return error(check, what, where, f"remove it, or put before it: AuthorizedKeysCommand {own.value}")


def _authentication(settings: Effective) -> list[Finding]:
    value = settings.get("AuthenticationMethods", "any")
    lists = [methods.split(",") for methods in value.lower().split()]
    if lists == [["publickey"]]:
        return []
    where, right = settings.where("AuthenticationMethods"), "AuthenticationMethods publickey"
    others = [keyword for keyword, default in _OTHER_METHODS.items() if settings.get(keyword, default).lower() == "yes"]
    if lists == [["any"]]:
        if not others:
            return [note(name("AuthenticationMethods"), "any one method is enough; now only keys are on", where, right)]
        what = f"{' and '.join(others)} would let in without a key, and then no forced command runs"
        return [error(name("AuthenticationMethods"), what, where, right)]
    if any(not any(method.startswith("publickey") for method in methods) for methods in lists):
        what = f"AuthenticationMethods is {value}: there is a way in without a key, and then no forced command runs"
        return [error(name("AuthenticationMethods"), what, where, right)]
    what = f"AuthenticationMethods is {value}: people must do more than sign before sshaft-login runs"
    return [warning(name("AuthenticationMethods"), what, where, right)]


_OTHER_METHODS = {
    "PasswordAuthentication": "yes",
    "KbdInteractiveAuthentication": "yes",
    "GSSAPIAuthentication": "no",
    "HostbasedAuthentication": "no",
    "KerberosAuthentication": "no",
}


def _log_level(settings: Effective) -> list[Finding]:
    value = settings.get("LogLevel", "INFO")
    if value.upper() in ("QUIET", "FATAL", "ERROR", "INFO"):
        return []
    what = f"LogLevel is {value}: from VERBOSE on sshd logs the forced command, and the ticket with it"
    return [warning("sshd.loglevel", what, settings.where("LogLevel"), "LogLevel INFO")]


def _idle(settings: Effective) -> list[Finding]:
    found = []
    timeout = settings.get("ChannelTimeout", "none")
    plain = [part for part in timeout.lower().split() if re.match(r"session=", part)]
    if plain:
        what = f"ChannelTimeout {plain[0]} never matches: the types are session:command and the like"
        found.append(
            warning("sshd.channeltimeout", what, settings.where("ChannelTimeout"), "ChannelTimeout session:*=120")
        )
    unused = settings.get("UnusedConnectionTimeout")
    if unused.lower() in ("0", "none"):
        what = "a connection that opens no session (ssh -N) stays for as long as it likes"
        where = settings.where("UnusedConnectionTimeout")
        found.append(note("sshd.unusedconnectiontimeout", what, where, "UnusedConnectionTimeout 30"))
    return found


def _time(settings: Effective) -> list[Finding]:
    tries, grace = seconds(settings.get("MaxAuthTries", "6")), seconds(settings.get("LoginGraceTime", "120"))
    found = []
    needed = (tries + 2) * _KEYS_SECONDS
    where = settings.where("LoginGraceTime")
    right = f"LoginGraceTime {max(45, int(needed + 9))}"
    if grace == 0:
        what = "LoginGraceTime is 0: sshd waits for ever, and nothing else ends a command that hangs"
        found.append(warning("sshd.logingracetime", what, where, right))
    elif grace < needed:
        what = (
            f"LoginGraceTime is {grace:g} s: MaxAuthTries {tries:g} keys at {_KEYS_SECONDS:g} s each, when the "
            f"identity service is slow, may take {needed:g} s"
        )
        found.append(warning("sshd.logingracetime", what, where, right))
    if tries < 6:
        what = f"MaxAuthTries is {tries:g}: people with more keys are cut off before the right one"
        found.append(warning("sshd.maxauthtries", what, settings.where("MaxAuthTries"), "MaxAuthTries 10"))
    if settings.get("MaxSessions", "10") == "0":
        what = "MaxSessions is 0: sshaft-login never runs"
        found.append(error("sshd.maxsessions", what, settings.where("MaxSessions"), "MaxSessions 1"))
    return found


def _accept_env(settings: Effective) -> list[Finding]:
    patterns = [pattern for line in settings.all("AcceptEnv") for pattern in line.split()]
    loose = [
        p for p in patterns if any(fnmatchcase(variable, p) for variable in ("LD_PRELOAD", "LD_LIBRARY_PATH", "ENV"))
    ]
    if not loose:
        return []
    what = f"AcceptEnv {loose[0]}: people could choose what sshaft-login and its shell load"
    return [error("sshd.acceptenv", what, settings.where("AcceptEnv"), "remove the AcceptEnv line")]


def _command_user(settings: Effective) -> list[Finding]:
    user, where = settings.get("AuthorizedKeysCommandUser", "none"), settings.where("AuthorizedKeysCommandUser")
    right = "AuthorizedKeysCommandUser _sshaft-keys"
    if user.lower() == "none":
        what = "AuthorizedKeysCommandUser is not set: sshd does not run the command"
        return [error("sshd.authorizedkeyscommanduser", what, where, right)]
    if user == "root":
        what = "the keys command runs as root, for every connection"
        return [error("sshd.authorizedkeyscommanduser", what, where, right)]
    return []


_CHECKS: tuple[Callable[[Effective], list[Finding]], ...] = (
    _authentication,
    _command_user,
    _log_level,
    _idle,
    _time,
    _accept_env,
)


def _allowed(settings: Effective, login_user: str) -> list[Finding]:
    """Checks AllowUsers and DenyUsers for the name of the login account. `accounts` checks the groups."""
    denied = _patterns(settings, "DenyUsers")
    if any(_matches(login_user, pattern) for pattern in denied):
        what = f"DenyUsers keeps {login_user} out: the command is not even run"
        return [error("sshd.denyusers", what, settings.where("DenyUsers"), f"take {login_user} out of DenyUsers")]
    allowed = _patterns(settings, "AllowUsers")
    if allowed and not any(_matches(login_user, pattern) for pattern in allowed):
        what = f"AllowUsers leaves {login_user} out: the command is not even run"
        return [
            error(
                "sshd.allowusers", what, settings.where("AllowUsers"), f"AllowUsers {' '.join([*allowed, login_user])}"
            )
        ]
    return []


def _patterns(settings: Effective, keyword: str) -> list[str]:
    return [pattern for line in settings.all(keyword) for pattern in line.split()]


def _matches(login_user: str, pattern: str) -> bool:
    return fnmatchcase(login_user, pattern.partition("@")[0])
