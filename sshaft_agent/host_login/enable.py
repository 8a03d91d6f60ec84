"""Puts pam_sshaft into the PAM stack of this host's sshd, and takes it out again.

Both leave everything else in the files as it is. A change that sshd refuses is undone.
"""

import glob
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sshaft import files
from sshaft.errors import ConfigurationError
from sshaft_agent.host_login import USER_NAME

_BEGIN = "# sshaft: begin. `sshaft host disable` removes these lines.\n"
_END = "# sshaft: end\n"
_GRACE_SECONDS = 300
_SSHD_LINES = f"""\
# Written by `sshaft host enable`. `sshaft host disable` removes this file.
UsePAM yes
KbdInteractiveAuthentication yes
LoginGraceTime {_GRACE_SECONDS}
"""
_NEEDED = {"usepam": "yes", "kbdinteractiveauthentication": "yes"}
_MODULES = ("/usr/lib/*/security", "/usr/lib/security", "/usr/lib64/security", "/lib/security", "/lib/*/security")


@dataclass(frozen=True)
class SshdFiles:
    """The files of sshd that change."""

    pam: Path = Path("/etc/pam.d/sshd")
    sshd: Path = Path("/etc/ssh/sshd_config.d/30-sshaft.conf")
    backup: Path = Path("/var/backups/sshaft-pam.d-sshd")


def enable(break_glass: Sequence[str], where: SshdFiles | None = None) -> list[str]:
    """Puts the module before the other methods, and returns the other ways to log in that remain.

    Raises `ConfigurationError`, and then nothing has changed.
    """
    where = where or SshdFiles()
    if wrong := [name for name in break_glass if not USER_NAME.fullmatch(name)]:
        raise ConfigurationError(f"{wrong[0]!r} is not the name of an account")
    if not any(glob.glob(f"{folder}/pam_sshaft.so") for folder in _MODULES):  # noqa: PTH207
        raise ConfigurationError("pam_sshaft.so is not installed: make -C native install-pam")
    before = _read(where.pam)
    with _undoing(where):
        if _BEGIN not in before:
            files.replace(where.backup, before.encode())
        files.replace(where.pam, _with_module(_without_module(before), break_glass).encode(), 0o644)
        files.replace(where.sshd, _SSHD_LINES.encode(), 0o644)
        settings = _sshd_settings()
        for name, value in _NEEDED.items():
            if settings.get(name) != value:
                raise ConfigurationError(
                    f"sshd still has {name} {settings.get(name)}: another file sets it before {where.sshd}"
                )
        remaining = [*_other_ways(settings), *(f"{name}, by the password of this host" for name in break_glass)]
        if not remaining:
            raise ConfigurationError(
                "nobody could log in while the agent is away: allow keys (PubkeyAuthentication yes), or name an "
                "account with a password: --break-glass NAME"
            )
    return remaining


def disable(where: SshdFiles | None = None) -> bool:
    """Takes the module out. Whether it was there. Raises `ConfigurationError`, and then nothing has changed."""
    where = where or SshdFiles()
    before = _read(where.pam)
    if _BEGIN not in before and not where.sshd.exists():
        return False
    with _undoing(where):
        files.replace(where.pam, _without_module(before).encode(), 0o644)
        where.sshd.unlink(missing_ok=True)
        _sshd_settings()
    where.backup.unlink(missing_ok=True)
    return True


def _with_module(text: str, break_glass: Sequence[str]) -> str:
    """Returns the stack with the module before its first `auth` line."""
    emergency = f" break_glass={','.join(break_glass)}" if break_glass else ""
    line = f"auth [success=done ignore=ignore default=die] pam_sshaft.so timeout={_GRACE_SECONDS - 20}{emergency}\n"
    found = re.search(r"^(?:-?auth\s|@include\s+common-auth\b)", text, re.MULTILINE)
    if found is None:
        raise ConfigurationError("/etc/pam.d/sshd has no auth line: this stack lets nobody in")
    return text[: found.start()] + _BEGIN + line + _END + text[found.start() :]


def _without_module(text: str) -> str:
    return re.sub(re.escape(_BEGIN) + ".*?" + re.escape(_END), "", text, flags=re.DOTALL)


def _other_ways(settings: dict[str, str]) -> Iterator[str]:
    """Yields the ways to log in that do not pass the stack's auth lines."""
    ways = {"pubkeyauthentication": "keys", "hostbasedauthentication": "hosts", "gssapiauthentication": "Kerberos"}
    for name, way in ways.items():
        if settings.get(name) == "yes":
            yield way


def _sshd_settings() -> dict[str, str]:
    """Returns sshd's settings as it reads them now. Raises `ConfigurationError` if it refuses them."""
    done = subprocess.run(["/usr/sbin/sshd", "-T"], capture_output=True, text=True, timeout=30, check=False)
    if done.returncode != 0:
        raise ConfigurationError(f"sshd refuses its configuration: {done.stderr.strip()}")
    return {name.lower(): value for name, _, value in (line.partition(" ") for line in done.stdout.splitlines())}


@contextmanager
def _undoing(where: SshdFiles) -> Iterator[None]:
    """Puts the files back if the block raises. Raises `ConfigurationError` for a file that cannot change."""
    before = {path: path.read_bytes() if path.exists() else None for path in (where.pam, where.sshd, where.backup)}
    try:
        yield
    except BaseException as error:
        for path, data in before.items():
            if data is None:
                path.unlink(missing_ok=True)
            elif path.read_bytes() != data:
                files.replace(path, data, 0o600 if path == where.backup else 0o644)
        if isinstance(error, OSError):
            raise ConfigurationError(f"{error.filename}: {error.strerror}: run the command as root") from None
        raise


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from None
