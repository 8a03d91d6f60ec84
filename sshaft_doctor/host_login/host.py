"""Examines host login as a whole, where sshd's PAM stack has pam_sshaft or the agent's config.json has host_login."""

import glob
import os
import socket
import stat
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from sshaft.daemon.unix_socket import peer_uid
from sshaft.openssh_version import Version
from sshaft_doctor import accounts, agent, as_account, paths
from sshaft_doctor.accounts import Account
from sshaft_doctor.effective import Effective
from sshaft_doctor.findings import Finding, error, needs_root, note, ok, warning
from sshaft_doctor.host_login import (
    first_login,
    pam_stack,
    provider,
    recheck_checks,
    remember_checks,
    session_checks,
    settings_checks,
    stack_checks,
)
from sshaft_doctor.host_login.create import Create
from sshaft_doctor.host_login.pam_stack import Line, Stack
from sshaft_doctor.host_login.settings_checks import Asked
from sshaft_doctor.host_login.stack_checks import MODULE

_SERVICE_NAME_SINCE = Version(9, 8)
_SOCKET = Path("/run/sshaft/host/agent.sock")
_SECURITY = ("/usr/lib/*/security", "/usr/lib64/security", "/usr/lib/security", "/lib/*/security", "/lib64/security",
             "/lib/security")  # fmt: skip
_INSTALL = "make -C native install-pam"
_CHECK = "sshaft host check NAME, and then: sshaft host enable"


@dataclass(frozen=True)
class HostLogin:
    """What was found of host login. `provider` has the findings about config.json and the provider.

    `create` is the member of `host_login`, or None if every account must exist. `is_rechecked`: whether it has
    `recheck`. `remember` is that of `remember_checks.mode`. `reports`: whether the agent reports sessions to an
    identity service. `issuers` are those of `tokens`. `private` are files and folders that only the agent may read.
    """

    stack: Stack
    provider: list[Finding] | None
    create: Create | None = None
    is_rechecked: bool = False
    remember: str = "off"
    reports: bool = False
    issuers: tuple[str, ...] = ()
    private: tuple[Path, ...] = ()

    @property
    def lines(self) -> tuple[Line, ...]:
        return (*stack_checks.ours(self.stack, "auth"), *stack_checks.ours(self.stack, "account"))


def find(settings: Effective, sshd: Path, version: Version | None, config: Path | None) -> HostLogin | None:
    """Returns what there is of host login, or None without a trace. Raises `OSError` for a stack that is closed."""
    service = (
        sshd.name if version is not None and version < _SERVICE_NAME_SINCE else settings.get("PAMServiceName", "sshd")
    )
    found = _configured(HostLogin(pam_stack.read(service), None), config)
    return found if found.lines or found.provider is not None else None


def _configured(found: HostLogin, config: Path | None) -> HostLogin:
    """Returns `found` with what `host_login` in config.json says. Reads the file as its owner."""
    if config is None:
        return found
    try:
        read: dict[str, Any] = as_account.call(as_account.owner_of(config), partial(provider.read_and_ask, config))
    except as_account.ChildError as failure:
        return replace(found, provider=[note("host.provider", f"not checked: {failure}", str(config))])
    if not read["is_there"]:
        return found
    return replace(
        found,
        provider=[Finding.of_json(each) for each in read["findings"]],
        create=Create.of(read["create"]),
        is_rechecked=read["is_rechecked"],
        remember=read["remember"],
        reports=read["reports"],
        issuers=tuple(read["issuers"]),
        private=tuple(map(Path, read["private"])),
    )


def examine(host: HostLogin, settings: Effective, version: Version | None, runtime: Path | None) -> list[Finding]:
    """Returns findings about the stack, the settings, the module, the agent and the provider."""
    own = stack_checks.ours(host.stack, "auth")
    found = list(host.provider or ())
    if not own:
        file = host.stack.files[0] if host.stack.files else Path("/etc/pam.d/sshd")
        what = f"sshd does not ask for host login: {MODULE} is in no auth line"
        return [*found, warning("host.stack", what, str(file), _CHECK)]
    found += stack_checks.judge(host.stack)
    found += [each for file in host.stack.files for each in paths.examine("host.files", file)]
    timeout = settings_checks.timeout_of(own[0].argument("timeout"))
    root_by_password = stack_checks.opens_by_password(host.stack)
    about_account = bool(stack_checks.ours(host.stack, "account"))
    asked = Asked(own[0].place, timeout, root_by_password, about_account=about_account)
    settings_found = settings_checks.judge(settings, version, asked)
    found += settings_found or [ok("host.settings", "sshd's settings fit host login")]
    for line in host.lines:
        found += module(line)
    for path in _sockets(host, runtime):
        found += examine_socket(path)
    if host.is_rechecked:
        found += recheck_checks.examine_stack(host.stack)
    found += remember_checks.examine(host.remember, settings)
    if host.reports:
        found += session_checks.examine(host.stack, host.create)
    if host.create is not None:
        found += first_login.examine(host.create, host.stack, settings, agent_account(host, runtime))
    return found


def examine_login_account(host: HostLogin, login_user: str) -> list[Finding]:
    """Checks that the account line does not refuse the login account of the SSH factor."""
    return [
        error(
            "host.login_account",
            f"the account line refuses {login_user}, the account of the SSH factor: nobody is approved for it",
            line.place,
            f"sshaft host enable --require-approval --break-glass {login_user}, and its other options",
        )
        for line in stack_checks.ours(host.stack, "account")
        if login_user not in (line.argument("break_glass") or "").split(",")
    ]


def agent_account(host: HostLogin, runtime: Path | None) -> Account | None:
    """Returns the account of the agent: the owner of its socket's folder, or the usual one. None: there is none."""
    with suppress(OSError):
        return accounts.of_uid(_sockets(host, runtime)[0].parent.lstat().st_uid)
    return agent.usual_account()


def _sockets(host: HostLogin, runtime: Path | None) -> list[Path]:
    """Returns the sockets that the lines of the stack name, or the usual one."""
    usual = _SOCKET if runtime is None else runtime / "host" / "agent.sock"
    return list(dict.fromkeys([Path(line.argument("socket") or usual) for line in host.lines])) or [usual]


def module(line: Line) -> list[Finding]:
    """Checks that the module's file is there, and that only root can change it: sshd loads it as root."""
    folders = [folder for pattern in _SECURITY for folder in sorted(glob.glob(pattern))]  # noqa: PTH207 - absolute
    names = [line.module] if line.module.startswith("/") else [f"{folder}/{line.module}" for folder in folders]
    there = [name for name in names if os.path.lexists(name)]
    if not there:
        what = f"{line.module} is not installed, so {line.place} refuses everybody that it decides about"
        return [error("host.module", what, line.place, _INSTALL)]
    return [each for name in there for each in paths.examine("host.module", Path(name))]


def examine_socket(path: Path) -> list[Finding]:
    """Checks the way to the agent's socket by the rules of pam_sshaft, and whether an agent listens there."""
    owner, found = _folders(path)
    if found is not None:
        return [found]
    if os.geteuid() not in (0, owner):
        return [needs_root("host.socket", "whether the agent answers", str(path))]
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(agent.SECONDS)
            connection.connect(str(path))
            peer = peer_uid(connection)
    except PermissionError:
        return [needs_root("host.socket", "whether the agent answers", str(path))]
    except OSError as failure:
        what = f"no agent listens ({failure.strerror or failure}), so nobody gets in by host login"
        remedy = f"{agent.RESTART}; host_login must be in its config.json"
        return [error("host.socket", what, str(path), remedy)]
    if peer not in (0, owner):
        what = f"uid {peer} listens there, and not the owner of the folder: pam_sshaft does not ask it"
        return [error("host.socket", what, str(path), f"end that process; {agent.RESTART}")]
    at = agent.Sockets(path.parent.parent, path.parent.parent / "keys" / "agent.sock")
    return [agent.status(at, accounts.of_uid(owner)), ok("host.socket", "the agent listens for host login", str(path))]


def _folders(path: Path) -> tuple[int, Finding | None]:
    """Returns the agent's uid, and a finding if pam_sshaft does not trust the way to the socket.

    Each folder belongs to root or to one other account, the agent's, and nobody else may write there.
    """
    owner = 0
    for folder in reversed(path.parents):
        try:
            part = paths.part(folder)
        except PermissionError:
            return owner, needs_root("host.socket", "whether the agent answers", str(path))
        except OSError as failure:
            what = f"{folder}: {failure.strerror}: no agent with host_login runs, so nobody gets in by host login"
            return owner, error(
                "host.socket", what, str(path), f"{agent.RESTART}; host_login must be in its config.json"
            )
        if stat.S_ISLNK(part.mode):
            what = f"{folder} is a symbolic link, and pam_sshaft follows none: nobody gets in by host login"
            return owner, error("host.socket", what, str(folder), f"socket={path.resolve()} in the stack")
        if part.uid not in (0, owner) and owner == 0:
            owner = part.uid
        if unsafe := part.unsafe({0, owner}):
            what = f"{folder} {unsafe}: pam_sshaft trusts no socket there, so nobody gets in by host login"
            return owner, error("host.socket", what, str(folder), part.remedy({0, owner}))
    return owner, None
