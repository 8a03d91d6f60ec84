"""Puts pam_sshaft into the PAM stack of this host's sshd, and takes it out again. For first logins, NSS too.

Both leave everything else in the files as it is. A change that sshd refuses is undone.
"""

import glob
import os
import pwd
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sshaft import files
from sshaft.errors import ConfigurationError
from sshaft.host import nsswitch
from sshaft_agent.host_login import USER_NAME
from sshaft_agent.host_login.commands import check, first_login, pam_file, ways
from sshaft_agent.host_login.commands.check import Module
from sshaft_agent.host_login.commands.first_login import Create
from sshaft_agent.host_login.commands.pam_file import Arguments

_GRACE_SECONDS = 300
_MARGIN = 20
TIMEOUT_SECONDS = _GRACE_SECONDS - _MARGIN
"""The module gives up before sshd does."""
_SHORTEST_GRACE = 60
SOCKET = Path("/run/sshaft/host/agent.sock")
"""The socket that the module asks if the stack names none."""
_SSHD_LINES = f"""\
# Written by `sshaft host enable`. `sshaft host disable` removes this file.
UsePAM yes
KbdInteractiveAuthentication yes
LoginGraceTime {_GRACE_SECONDS}
"""
_FEW_STARTUPS, _MORE_STARTUPS = "10:30:100", "MaxStartups 50:30:200\n"
"""sshd's own value lets ten logins wait; here each one waits for minutes."""
_NEEDED = {"usepam": "yes", "kbdinteractiveauthentication": "yes"}
_MAIN_FILE = Path("/etc/ssh/sshd_config")
_AUTHSELECT = Path("/etc/authselect")
_BY_AUTHSELECT = "change the line for passwd in a profile of your own (docs/host-login.md, NSS)"
_VENDORS = ("/usr/etc/pam.d", "/usr/share/pam.d", "/usr/lib/pam.d")
_MODULES = ("/usr/lib/*/security", "/usr/lib/security", "/usr/lib64/security", "/lib/security", "/lib/*/security")


@dataclass(frozen=True)
class SshdFiles:
    """The files that change."""

    pam: Path = Path("/etc/pam.d/sshd")
    sshd: Path = Path("/etc/ssh/sshd_config.d/30-sshaft.conf")
    backup: Path = Path("/var/backups/sshaft-pam.d-sshd")
    names: Path = nsswitch.PATH


@dataclass(frozen=True)
class Options:
    """What the operator wants. `break_glass` names accounts that the other modules decide about.

    `create` is what the agent needs for names that the host does not know, or None if every account must exist.
    """

    socket: Path = SOCKET
    break_glass: tuple[str, ...] = ()
    require_approval: bool = False
    create: Create | None = None


def enable(options: Options, where: SshdFiles | None = None) -> list[str]:
    """Puts the module before the other methods, and returns the ways to log in that need no agent.

    Raises `ConfigurationError`, and then nothing has changed.
    """
    where = where or SshdFiles()
    emergency = {name: _has_password(name) for name in options.break_glass}
    if options.create is not None:
        first_login.refuse(options.create, where.pam, require_approval=options.require_approval)
    check.refuse_silence(Module(installed_module(), options.socket, timeout=_MARGIN))
    before = _read_stack(where.pam)
    plain = pam_file.without_module(before)
    settings_before: dict[str, str] = {}
    with suppress(ConfigurationError):  # our own settings may be what it lacks: AuthenticationMethods needs them
        settings_before = _sshd_settings()
    with _undoing(where):
        if not pam_file.has_module(before):
            where.backup.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            files.replace(where.backup, before)
        # The module comes first: without it, sshd's new settings would open passwords.
        _replace(where.pam, _stack(plain, options, TIMEOUT_SECONDS))
        _write_sshd(where.sshd, settings_before)
        settings = _sshd_settings()
        _refuse_settings(settings, settings_before, where, options)
        if options.create is not None:
            first_login.refuse_grace(options.create, settings)
        has_key = _root_has_key(settings)
        found = list(
            ways.remaining(settings, emergency, require_approval=options.require_approval, root_has_key=has_key)
        )
        if not found:
            raise ConfigurationError(_NO_WAY_IN)
        _replace(where.pam, _stack(plain, options, _timeout(settings)))
        # It comes last: the account line stands before the first name gets a uid.
        _switch(where.names, with_ours=options.create is not None)
    return found


def _switch(path: Path, *, with_ours: bool) -> bool:
    """Puts our source behind the others of nsswitch.conf, or takes it out. Whether the file has changed."""
    if not path.exists() and not with_ours:
        return False
    before = _read(path)
    plain = nsswitch.without_ours(before)
    after = nsswitch.with_ours(plain) if with_ours else plain
    if after == before:
        return False
    if _AUTHSELECT in path.resolve().parents:
        if not with_ours:  # it does no harm there: without the account line the agent reserves no uid
            return False
        raise ConfigurationError(f"{path} is written by authselect: {_BY_AUTHSELECT}")
    _replace(path, after)
    return True


def _stack(plain: bytes, options: Options, timeout: int) -> bytes:
    socket = None if options.socket == SOCKET else str(options.socket)
    arguments = Arguments(timeout, socket, options.break_glass)
    return pam_file.with_module(plain, arguments, require_approval=options.require_approval)


def installed_module() -> Path:
    """Returns the module that this machine's libpam can load. Raises `ConfigurationError` if there is none."""
    found = [name for folder in _MODULES for name in sorted(glob.glob(f"{folder}/pam_sshaft.so"))]  # noqa: PTH207
    reason = "pam_sshaft.so is not installed: make -C native install-pam"
    for path in map(Path, found):  # a machine may have libraries of two architectures
        try:
            check.load(path)
        except ConfigurationError as error:
            reason = str(error)
        else:
            return path
    raise ConfigurationError(reason)


def disable(where: SshdFiles | None = None) -> bool:
    """Takes the module out. Whether it was there. Raises `ConfigurationError`, and then nothing has changed."""
    where = where or SshdFiles()
    before = _read_stack(where.pam)
    plain = pam_file.without_module(before)
    with _undoing(where):
        # It comes first: no name gets a uid after the account line is gone.
        is_changed = _switch(where.names, with_ours=False)
        if not pam_file.has_module(before) and not where.sshd.exists():
            return is_changed
        where.sshd.unlink(missing_ok=True)
        _sshd_settings()
        _replace(where.pam, plain)  # last: without the module, sshd's settings would open passwords
    where.backup.unlink(missing_ok=True)
    return True


_NO_WAY_IN = (
    "nobody could log in while the agent is away: name an account that has a password (--break-glass NAME), or allow "
    "keys (PubkeyAuthentication yes, no AuthenticationMethods that wants more; with --require-approval: a key of root)"
)


def _refuse_settings(
    settings: Mapping[str, str], before: Mapping[str, str], where: SshdFiles, options: Options
) -> None:  # fmt: skip
    """Raises `ConfigurationError` if sshd would not ask for host login, or would let in more than before."""
    for name, value in _NEEDED.items():
        if settings.get(name) != value:
            raise ConfigurationError(f"sshd still has {name} {settings.get(name)}: {_reason(where)}")
    service = settings.get("pamservicename", where.pam.name)
    if service != where.pam.name:
        raise ConfigurationError(
            f"sshd uses the PAM service {service} (PAMServiceName), and this command changes only {where.pam}"
        )
    if not ways.asks_for_host_login(settings):
        methods = settings["authenticationmethods"]
        raise ConfigurationError(
            f"AuthenticationMethods is {methods}: add keyboard-interactive:pam to one of its lists"
        )
    if 0 < int(settings.get("logingracetime", "0")) < _SHORTEST_GRACE:
        seconds = settings["logingracetime"]
        raise ConfigurationError(f"LoginGraceTime is {seconds} s, too short for a browser: {_reason(where)}")
    if not ways.takes_passwords(before) and "root" not in options.break_glass:
        _refuse_root(settings)


def _refuse_root(settings: Mapping[str, str]) -> None:
    """Raises `ConfigurationError` if sshd permits root's password, which the host has not asked for until now."""
    where = "sshd's settings" if settings.get("permitrootlogin") == "yes" else ""
    for path in (_MAIN_FILE, *sorted(_MAIN_FILE.parent.glob("sshd_config.d/*.conf"))):
        if path.is_file() and ways.permits_root_in_match(path.read_text(errors="replace")):
            where = f"a Match block of {path}"
    if where:
        raise ConfigurationError(
            f"root could log in by its password from now on: PermitRootLogin is yes in {where}, and the module leaves "
            "root to the other modules. Write PermitRootLogin prohibit-password, or allow it by --break-glass root"
        )


def _reason(where: SshdFiles) -> str:
    text = _MAIN_FILE.read_text(errors="replace")
    if where.sshd.exists() and re.search(r"^\s*include\s", text, re.IGNORECASE | re.MULTILINE):
        return f"another file, or a line before the Include, sets it before {where.sshd}"
    make = "" if where.sshd.parent.is_dir() else f"make the folder {where.sshd.parent}, and "
    return (
        f"sshd does not read {where.sshd}: {make}write this line at the top of /etc/ssh/sshd_config: "
        f"Include {where.sshd.parent}/*.conf"
    )


def _write_sshd(path: Path, before: Mapping[str, str]) -> None:
    """Writes sshd's settings, if this host has a folder for them."""
    few = before.get("maxstartups") == _FEW_STARTUPS or (path.exists() and _MORE_STARTUPS in path.read_text())
    if path.parent.is_dir():
        _replace(path, (_SSHD_LINES + (_MORE_STARTUPS if few else "")).encode())


def _timeout(settings: Mapping[str, str]) -> int:
    """Returns the seconds of the module: below LoginGraceTime, which another file may have set."""
    grace = int(settings.get("logingracetime", "0"))
    return min(TIMEOUT_SECONDS, grace - _MARGIN) if grace else TIMEOUT_SECONDS


def _has_password(name: str) -> bool:
    """Whether the account has a password, here or in a directory. Raises `ConfigurationError` without an account."""
    if not USER_NAME.fullmatch(name):
        raise ConfigurationError(f"{name!r} is not the name of an account")
    try:
        pwd.getpwnam(name)
    except KeyError:
        raise ConfigurationError(f"this host has no account {name!r} for --break-glass") from None
    for line in _read(Path("/etc/shadow")).split(b"\n"):
        fields = line.split(b":")
        if fields[0] == name.encode():
            return fields[1][:1] not in (b"", b"!", b"*")
    return True


def _root_has_key(settings: Mapping[str, str]) -> bool:
    """Whether root has a file with keys where sshd looks for it."""
    home = Path(pwd.getpwuid(0).pw_dir)
    names = settings.get("authorizedkeysfile", "none").replace("%h", str(home)).replace("%u", "root").split()
    files = [home / name for name in names if name != "none"]
    return any(path.is_file() and path.stat().st_size > 0 for path in files)


def _sshd_settings() -> dict[str, str]:
    """Returns sshd's settings as it reads them now. Raises `ConfigurationError` if it refuses them."""
    try:
        done = subprocess.run(["/usr/sbin/sshd", "-T"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigurationError(f"/usr/sbin/sshd -T: {getattr(error, 'strerror', None) or 'no answer'}") from None
    if done.returncode != 0:
        raise ConfigurationError(f"sshd refuses its configuration: {done.stderr.strip()}")
    pairs = (line.partition(" ") for line in done.stdout.splitlines())
    return {name.lower(): value for name, _, value in pairs}


@contextmanager
def _undoing(where: SshdFiles) -> Iterator[None]:
    """Puts the files back if the block raises. Raises `ConfigurationError` for a file that cannot change."""
    before = {
        path: path.read_bytes() if path.exists() else None
        for path in (where.pam, where.sshd, where.backup, where.names)
    }
    try:
        yield
    except BaseException as error:
        for path, data in reversed(before.items()):
            if data is None:
                path.unlink(missing_ok=True)
            elif path.read_bytes() != data:
                _replace(path, data)
        if isinstance(error, OSError):
            hint = ": run the command as root" if isinstance(error, PermissionError) else ""
            raise ConfigurationError(f"{error.filename}: {error.strerror}{hint}") from None
        raise


def _replace(path: Path, data: bytes) -> None:
    """Writes a file whole. It keeps its owner, its mode and its attributes (SELinux context, ACL).

    A symbolic link stays: the file that it names changes. Raises `ConfigurationError` if others could change that file.
    """
    target = path.resolve()
    old = target.stat() if target.exists() else None
    if old is not None and (old.st_uid != 0 or old.st_mode & 0o022):
        raise ConfigurationError(f"{target}: other accounts than root can change this file: chown root, chmod go-w")
    with files.replacing(target, 0o644 if old is None else old.st_mode & 0o7777, keep_owner=True) as file:
        file.write(data)
        if old is not None:
            with suppress(NotImplementedError):
                for name in os.listxattr(target):
                    os.setxattr(file.fileno(), name, os.getxattr(target, name))


def _read_stack(path: Path) -> bytes:
    """Returns the service file. Raises `ConfigurationError`, also where the distribution keeps it elsewhere."""
    vendor = next((own for folder in _VENDORS if (own := Path(folder) / path.name).exists()), None)
    if vendor is not None and not path.exists():
        raise ConfigurationError(f"{path} is missing; libpam reads {vendor}: cp {vendor} {path}")
    return _read(path)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        hint = ": run the command as root" if isinstance(error, PermissionError) else ""
        raise ConfigurationError(f"{path}: {error.strerror}{hint}") from None
