"""Runs all checks in order, and hands each check the results that it needs."""

import os
import re
import stat
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sshaft import openssh_version
from sshaft.command_line.severity import Severity
from sshaft.errors import ConfigurationError, SshaftError
from sshaft.openssh_version import Version
from sshaft_doctor import (
    accounts,
    agent,
    as_account,
    dry_run,
    effective,
    key_line,
    keys_command,
    lint,
    listening,
    paths,
    program,
    published_key,
    secret_files,
    selinux,
    service,
    sources,
)
from sshaft_doctor.accounts import Account
from sshaft_doctor.effective import Effective
from sshaft_doctor.findings import Finding, error, is_unchecked, needs_root, note, ok
from sshaft_doctor.hardened import OLDEST
from sshaft_doctor.host_api import examination as host_api
from sshaft_doctor.host_login import host as host_login
from sshaft_doctor.host_login.host import HostLogin

HOST = Path("/etc/ssh/sshd_config")
SEPARATE = Path("/etc/ssh/sshaft_sshd_config")
_PERSON = "person"
"""Any name: host login is for all accounts, and a Match block for the login user of the SSH factor is not."""


@dataclass(frozen=True)
class Subject:
    """The files, folders and accounts that the operator named."""

    sshd: Path
    sshd_config: Path | None = None
    config: Path | None = None
    runtime: Path | None = None
    login_user: str = "mfa"
    host_api: Path = Path("/etc/sshaft/host-api.json")
    api_user: str = "sshaft-host-api"


def examine(subject: Subject) -> tuple[Version | None, list[Finding]]:
    """Returns the version of OpenSSH and all findings.

    Without a file of sshd it examines the separate sshd of sshaft, and the host's own sshd if that uses sshaft, too.
    """
    version, found = _version(subject)
    if subject.sshd_config is not None:
        found += _sshd(subject, subject.sshd_config, version)
    elif SEPARATE.exists():
        found += _sshd(subject, SEPARATE, version) + _sshd(subject, HOST, version, if_used=True)
    else:
        found += _sshd(subject, HOST, version)
    return version, _without_doubles(found)


def _sshd(subject: Subject, file: Path, version: Version | None, *, if_used: bool = False) -> list[Finding]:
    """Returns the findings about the sshd with this file. `if_used`: there are none if it does not use sshaft."""
    settings, found = _settings(subject, file)
    if settings is None:
        return found
    host, of_host_login = _host_login(subject, settings, version)
    has_factor = lint.has_factor(settings)
    if if_used and host is None and not has_factor:
        return []
    found += listening.examine(settings) + _sshd_files(settings)
    if host is None or has_factor:
        found += _factor(subject, settings, version)
    return found + of_host_login


def _factor(subject: Subject, settings: Effective, version: Version | None) -> list[Finding]:
    """Returns the findings about the SSH factor: its settings, its accounts, and what the keys command needs."""
    found = _or_ok("sshd.settings", lint.lint(settings, version, subject.login_user), "sshd's settings are right")
    found += _or_ok("account.both", accounts.examine(settings, subject.login_user), "both accounts are as they must be")
    command = settings.get("AuthorizedKeysCommand", "none")
    if keys_command.is_ours(command):
        login = accounts.find(subject.login_user)
        keys_user = accounts.find(accounts.keys_user(settings, subject.login_user))
        found += _command(keys_command.split(command), subject, login, keys_user, version)
    return found


def _host_login(
    subject: Subject, settings: Effective, version: Version | None
) -> tuple[HostLogin | None, list[Finding]]:
    """Returns host login, where this sshd has it, and the findings about it."""
    if lint.has_factor(settings) and settings.get("UsePAM", "no").lower() != "yes":
        return None, []  # an sshd of the SSH factor alone: the host has another one
    with suppress(SshaftError):  # reported already; the settings of the login user must do
        settings = effective.ask(subject.sshd, Path(settings.file), _PERSON, settings.lines)
    config = secret_files.find(subject.config, None)
    try:
        host = host_login.find(settings, subject.sshd, version, config)
    except OSError as failure:
        return None, [needs_root("host.stack", "the PAM stack of sshd", failure.filename or "/etc/pam.d")]
    if host is None:
        return None, []
    found = host_login.examine(host, settings, version, subject.runtime)
    if config is not None and host.provider is not None:
        readers = secret_files.Readers(host_login.agent_account(host, subject.runtime))
        # config.json itself holds no secret of host login
        found += [
            each
            for each in secret_files.examine(config, readers)
            if each.check == "path.config" or each.where != str(config)
        ]
    if lint.has_factor(settings):
        found += host_login.examine_login_account(host, subject.login_user)
    found += _host_api(host, subject, config)
    return host, found + selinux.examine(version, [selinux.AGENT])


def _host_api(host: HostLogin, subject: Subject, config: Path | None) -> list[Finding]:
    """Returns the findings about host-api, which may read neither config.json nor what only the agent may read."""
    private = [] if config is None else [config, *secret_files.named(config)]
    tokens = host_api.TokenLogin(
        host.issuers, [*private, *host.private], host_login.agent_account(host, subject.runtime)
    )
    return host_api.examine(host_api.Chosen(subject.host_api, subject.api_user, subject.login_user), tokens)


def _without_doubles(found: list[Finding]) -> list[Finding]:
    """Leaves out what another part has found before: the parts share packages, the agent and some settings."""
    shared = ("sshd.penalties", "selinux.domains", "selinux.denied", "agent.status")
    first = {each.check: each for each in reversed(found)}
    return list(dict.fromkeys(each for each in found if each.check not in shared or first[each.check] is each))


def _version(subject: Subject) -> tuple[Version | None, list[Finding]]:
    try:
        version = openssh_version.installed(subject.sshd)
    except ConfigurationError as failure:
        return None, [error("sshd.version", str(failure), str(subject.sshd), "sshaft doctor --sshd PATH")]
    if version < OLDEST:
        what = f"OpenSSH {version} is older than {OLDEST}: it lacks what sshaft relies on"
        return version, [error("sshd.version", what, str(subject.sshd), "update OpenSSH")]
    return version, []


def _settings(subject: Subject, file: Path) -> tuple[Effective | None, list[Finding]]:
    """Returns the settings that sshd reports; without sshd the settings of the files, and a finding that says so."""
    where = str(file)
    try:
        lines = sources.read(file)
    except ConfigurationError as failure:
        if os.geteuid() != 0 and file.exists():
            return None, [needs_root("sshd.settings", "sshd's settings", where)]
        return None, [error("sshd.config", str(failure), where, "sshaft doctor --sshd-config FILE")]
    try:
        return effective.ask(subject.sshd, file, subject.login_user, lines), []
    except effective.RefusedError as failure:
        refused = [_refused(str(failure), where)]
    except ConfigurationError as failure:
        refused = [error("sshd.config", f"sshd can't be asked: {failure}", where, "sshaft doctor --sshd PATH")]
    what = "read from the files instead: other Match blocks and what sshd makes of it all are not checked"
    return effective.of_lines(where, lines, subject.login_user), [*refused, note("sshd.effective", what, where)]


def _refused(said: str, where: str) -> Finding:
    missing = re.search(r"[Mm]issing privilege separation directory: (\S+)", said)
    if missing:
        what = f"{missing[1]} is missing, so sshd does not start; systemd removes it when ssh.service stops"
        remedy = f"install -d -m 0755 {missing[1]}; the unit sshaft-sshd keeps it (docs/install-by-hand.md)"
        return error("sshd.directory", what, missing[1], remedy)
    remedy = "sshaft sshd-config writes a file for this version"
    return error("sshd.config", f"sshd does not take its configuration: {said}", where, remedy)


def _sshd_files(settings: Effective) -> list[Finding]:
    """Checks the configuration files, the host keys, and the folder that ExposeAuthInfo writes to."""
    found = []
    for file in sources.files(Path(settings.file), list(settings.lines)):
        found += paths.examine("path.sshd_config", file)
    for name in dict.fromkeys(settings.all("HostKey")):
        found += host_key(Path(name))
    return _or_ok("path.sshd", found + temporary(Path("/tmp")), "sshd's own files are safe")  # noqa: S108 - sshd's folder


def host_key(path: Path) -> list[Finding]:
    """Checks that a host key exists and only root can read it; sshd does not load another one."""
    try:
        own = paths.walk(path)[-1]
    except PermissionError:
        return [needs_root("path.host_key", f"the host key {path}")]
    except OSError as failure:
        remedy = f"ssh-keygen -t ed25519 -N '' -f {path}"
        # a stock sshd_config names several keys, and sshd starts with the existing ones
        return [note("path.host_key", f"{path}: {failure.strerror}", str(path), remedy)]
    if own.uid != 0 or own.mode & 0o077:
        what = f"{path} must be root's alone (uid {own.uid}, mode {stat.S_IMODE(own.mode):04o}): sshd does not load it"
        return [error("path.host_key", what, str(path), f"chown root {path} && chmod 0600 {path}")]
    return []


def temporary(folder: Path) -> list[Finding]:
    """Checks the folder in which sshd, as the login account, writes which key has signed."""
    try:
        full = folder.stat().st_mode & 0o1777 == 0o1777 and not os.statvfs(folder).f_flag & os.ST_RDONLY
    except OSError:
        full = False
    if full:
        return []
    what = f"the login account can't write to {folder}: sshd can't tell sshaft-login which key signed (ExposeAuthInfo)"
    return [
        error(
            "path.tmp",
            what,
            str(folder),
            f"give {folder} the mode that the system gives it; in a container: --tmpfs {folder}",
        )
    ]


def _command(
    words: list[str], subject: Subject, login: Account | None, keys_user: Account | None, version: Version | None
) -> list[Finding]:
    """Checks the keys command, its programs, its agent and its configuration, and runs it once."""
    given = keys_command.options(words)
    found = _program(words, keys_user)
    own_agent = None
    if "agent" in given:
        at = agent.sockets(given["agent"], subject.runtime)
        own_agent = agent.account(at) or agent.usual_account()
        found += agent.examine(at, keys_user, login)
    found += _configuration(
        secret_files.find(subject.config, given.get("config")), secret_files.Readers(own_agent, keys_user, login)
    )
    found += selinux.examine(version, [selinux.AGENT if "agent" in given else selinux.SERVICE, selinux.PYTHON])
    if keys_user is not None:
        found += _dry_run(words, login, keys_user, found)
    if login is not None:
        found += key_line.examine(subject.sshd, login)
    return found


def _program(words: list[str], keys_user: Account | None) -> list[Finding]:
    found = paths.examine("path.command", Path(words[0]))
    try:
        looked = program.look(words)
    except OSError:
        return found  # `paths.examine` has reported it
    found += program.examine(looked, keys_user, dry_run.become(keys_user) if keys_user else None)
    return _or_ok("path.program", found, "the keys command, its interpreter and its packages are root's alone")


def _configuration(path: Path | None, readers: secret_files.Readers) -> list[Finding]:
    if path is None:
        return secret_files.load(None)[1]
    try:
        read = as_account.call(as_account.owner_of(path), partial(_read_and_ask, path))
    except as_account.ChildError as failure:
        return [note("service.config", f"not checked: {failure}", str(path))]
    found = [Finding.of_json(each) for each in read["findings"]]
    found += _without_repetition(found, secret_files.examine(path, readers))
    if read["login_path"]:
        found += login_command(Path(read["login_path"]), readers.login)
    return found


def _read_and_ask(path: Path) -> dict[str, Any]:
    """Reads the configuration and asks the identity service. Returns the findings and the `login_path`."""
    settings, found = secret_files.load(path)
    if settings is not None:
        found += service.examine(settings, str(path)) + published_key.examine(settings)
    return {"findings": [each.as_json() for each in found], "login_path": settings and str(settings.login_path)}


def login_command(path: Path, login: Account | None) -> list[Finding]:
    """Checks the program at `login_path`, which sshd itself does not check before it runs it."""
    found = paths.examine("path.login", path)
    if found:
        return found
    try:
        looked = program.look([str(path)])
    except OSError as failure:
        return [needs_root("path.login", f"{path} ({failure.strerror})", str(path))]
    return program.examine(looked, login, dry_run.become(login) if login else None)


def _without_repetition(reported: list[Finding], more: list[Finding]) -> list[Finding]:
    """Removes findings about files that `config.load` has refused already."""
    return [finding for finding in more if not any(finding.where in earlier.what for earlier in reported)]


def _dry_run(words: list[str], login: Account | None, keys_user: Account, found: list[Finding]) -> list[Finding]:
    if keys_user.uid == 0 and os.geteuid() == 0:
        return [note("keys.dry_run", "no dry run: the command would run as root")]
    unsafe = any(f.severity == Severity.ERROR and f.check in ("path.command", "path.interpreter") for f in found)
    if unsafe and os.geteuid() == 0 and os.path.lexists(words[0]):
        # sshd would not start it either (Debian's sometimes would), and it may be anything
        return [note("keys.dry_run", "no dry run before the way to the command is safe", words[0])]
    return dry_run.examine(words, login, keys_user)


def _or_ok(check: str, found: list[Finding], what: str) -> list[Finding]:
    """Adds that all is right, unless a finding says that something is not or was not checked."""
    if any(finding.severity > Severity.NOTE or is_unchecked(finding) for finding in found):
        return found
    return [*found, ok(check, what)]
