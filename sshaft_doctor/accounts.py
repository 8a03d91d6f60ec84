"""Examines the two accounts of sshd: the login account, and the account that runs the keys command."""

import grp
import os
import posixpath
import pwd
import time
from dataclasses import dataclass
from pathlib import Path

from sshaft_doctor import keys_command
from sshaft_doctor.effective import Effective
from sshaft_doctor.findings import Finding, error, needs_root, note, warning

_NO_SHELLS = ("nologin", "false", "true", "sync")


@dataclass(frozen=True)
class Account:
    name: str
    uid: int
    gid: int
    groups: frozenset[int]
    home: str = "/"
    shell: str = "/bin/sh"
    password: str = "x"


@dataclass(frozen=True)
class Shadow:
    """An account's password field and last day (in days since 1970) from shadow(5)."""

    password: str
    expires: int | None = None


def find(name: str) -> Account | None:
    """Returns the account of this name from the system's user database, or None."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    groups = frozenset({entry.pw_gid, *os.getgrouplist(name, entry.pw_gid)})
    return Account(name, entry.pw_uid, entry.pw_gid, groups, entry.pw_dir, entry.pw_shell, entry.pw_passwd)


def of_uid(uid: int) -> Account:
    """Returns the account of a uid. A uid without a name gets its number as name."""
    try:
        return find(pwd.getpwuid(uid).pw_name) or Account(str(uid), uid, uid, frozenset({uid}))
    except KeyError:
        return Account(str(uid), uid, uid, frozenset({uid}))


def read_shadow(name: str, root: Path = Path("/")) -> Shadow | None:
    """Reads the account's line of /etc/shadow, or returns None without one. Raises `PermissionError`."""
    try:
        lines = (root / "etc/shadow").read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return None
    for line in lines:
        fields = line.split(":")
        if fields[0] == name and len(fields) >= 8:
            return Shadow(fields[1], int(fields[7]) if fields[7].isdigit() else None)
    return None


def examine(settings: Effective, login_user: str, root: Path = Path("/")) -> list[Finding]:
    """Returns findings about both accounts of this host."""
    login = find(login_user)
    pam = settings.get("UsePAM", "no").lower() == "yes"
    found: list[Finding] = []
    if login is None:
        what = f"no account {login_user}: sshd refuses the name and never runs the command"
        remedy = f"useradd --system --no-create-home --home-dir /var/empty --shell /bin/sh --password '*' {login_user}"
        found.append(error("account.login", what, "/etc/passwd", remedy))
    else:
        found += judge_login(login)
        found += _shadow(login, pam, root)
        found += judge_home(login)
        found += _groups(settings, login)
    found += _nologin(pam, root)
    name = keys_user(settings, login_user)
    if name:
        found += judge_keys_user(name, find(name), login)
    return found


def keys_user(settings: Effective, login_user: str) -> str:
    """Returns the name in AuthorizedKeysCommandUser, with `%u` replaced, or an empty string."""
    name = settings.get("AuthorizedKeysCommandUser", "none")
    return "" if name.lower() == "none" else keys_command.expand(name, {"u": login_user})


def judge_login(login: Account) -> list[Finding]:
    """Checks uid and shell of the login account."""
    found = []
    if login.uid == 0:
        found.append(error("account.login", f"{login.name} is root", "/etc/passwd", "take an account of its own"))
    shell, remedy = login.shell or "/bin/sh", f"usermod --shell /bin/sh {login.name}"
    where = f"/etc/passwd, {login.name}"
    if posixpath.basename(shell) in _NO_SHELLS:
        what = f"the shell is {shell}: keys are accepted, and then sshaft-login is not run"
        found.append(error("account.shell", what, where, remedy))
    elif not os.access(shell, os.X_OK) or not Path(shell).is_file():
        what = f"the shell {shell} is missing or no program: sshd refuses the account and never runs the command"
        found.append(error("account.shell", what, where, remedy))
    elif posixpath.basename(shell) != "sh":
        what = f"the shell is {shell}; bash reads ~/.bashrc before sshaft-login, others have files of their own"
        found.append(warning("account.shell", what, where, remedy))
    return found


def judge_password(login: Account, shadow: Shadow | None, pam: bool, today: int) -> list[Finding]:
    """Checks whether the login account is locked or expired: sshd then never runs the command (auth.c allowed_user)."""
    password = shadow.password if shadow else login.password
    where, found = f"/etc/shadow, {login.name}", []
    if password.startswith("!") and not pam:
        what = f"{login.name} is locked (its password begins with !): sshd refuses it and never runs the command"
        found.append(error("account.locked", what, where, f"usermod --password '*' {login.name}"))
    elif not password:
        what = f"{login.name} has an empty password"
        found.append(error("account.locked", what, where, f"usermod --password '*' {login.name}"))
    if shadow and shadow.expires is not None and 0 <= shadow.expires < today and not pam:
        what = f"{login.name} has expired: sshd refuses it and never runs the command"
        found.append(error("account.expired", what, where, f"chage --expiredate -1 {login.name}"))
    return found


def _shadow(login: Account, pam: bool, root: Path) -> list[Finding]:
    try:
        shadow = read_shadow(login.name, root)
    except PermissionError:
        return [needs_root("account.locked", f"whether {login.name} is locked", "/etc/shadow")]
    return judge_password(login, shadow, pam, int(time.time() // 86400))


def judge_home(login: Account) -> list[Finding]:
    """Checks whether the home of the login account exists and only root can write to it."""
    home = Path(login.home or "/")
    try:
        status = home.stat()
    except OSError:
        what = f"the home {home} is not there: everybody is told so at login"
        return [warning("account.home", what, str(home), f"install -d -m 0755 {home}")]
    if status.st_uid != 0 or status.st_mode & 0o022:
        what = f"the home {home} can be written to by others than root: files in it steer sessions"
        remedy = f"install -d -m 0755 /var/empty && usermod --home /var/empty {login.name}"
        return [warning("account.home", what, str(home), remedy)]
    return []


def _groups(settings: Effective, login: Account) -> list[Finding]:
    names = {group.gr_name for group in (_group(gid) for gid in login.groups) if group}
    found = []
    for keyword, refuses in (("DenyGroups", True), ("AllowGroups", False)):
        wanted = {word for line in settings.all(keyword) for word in line.split()}
        if wanted and bool(wanted & names) == refuses and not any("*" in word or "?" in word for word in wanted):
            what = f"{keyword} keeps {login.name} out: the command is not even run"
            found.append(error(f"sshd.{keyword.lower()}", what, settings.where(keyword), f"change {keyword}"))
    return found


def _group(gid: int) -> grp.struct_group | None:
    try:
        return grp.getgrgid(gid)
    except KeyError:
        return None


def _nologin(pam: bool, root: Path) -> list[Finding]:
    if pam or not (root / "etc/nologin").exists():
        return []
    return [error("account.nologin", "/etc/nologin keeps everybody but root out", "/etc/nologin", "rm /etc/nologin")]


def judge_keys_user(name: str, keys: Account | None, login: Account | None) -> list[Finding]:
    """Checks the account of the keys command. `keys` is None if the host has no such account."""
    where = f"AuthorizedKeysCommandUser {name}"
    if keys is None:
        what = f"no account {name}: sshd does not run the command, and sshd -t is silent"
        remedy = f"useradd --system --no-create-home --home-dir /var/empty --shell /usr/sbin/nologin {name}"
        return [error("account.keys", what, where, remedy)]
    if keys.uid == 0 and name != "root":  # `lint` checks the name root
        return [error("account.keys", f"{name} is root by another name", where, "take an account of its own")]
    if login is not None and keys.uid == login.uid:
        what = f"{name} is also the account that people log in to: their sessions could ask the agent for keys"
        return [warning("account.keys", what, where, "AuthorizedKeysCommandUser _sshaft-keys")]
    if login is not None and keys.gid in login.groups:
        what = f"{login.name} is in the group of {name}: its sessions reach the keys socket"
        return [warning("account.keys", what, where, f"gpasswd --delete {login.name} {name}")]
    if keys.uid != 0 and keys.gid == 0:
        return [note("account.keys", f"{name} is in the group of root", where, f"give {name} a group of its own")]
    return []
