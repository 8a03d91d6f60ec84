"""Writes the two commands that sshd starts: files with an interpreter line and the path of the packages.

The scripts that pip makes start ten times slower, because they need `site`. sshd starts these several times a login.
"""

import os
import stat
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from sshaft import files
from sshaft.authorized_keys import is_safe_word
from sshaft.errors import ConfigurationError

_COMMANDS = {"sshaft-keys": "sshaft_keys", "sshaft-login": "sshaft_login"}
MAX_INTERPRETER_LINE = 127  # execve(2): longer lines are cut

_LAUNCHER = """\
#!{interpreter} -IS
import sys
sys.path += {paths!r}
from {package}.__main__ import main
sys.exit(main())
"""


def install(directory: Path, packages: Path | None = None) -> list[Path]:
    """Writes `sshaft-keys` and `sshaft-login` into `directory`. Returns the files. Raises `ConfigurationError`.

    `packages` is a folder with all Python packages that they need; None: those of this process.
    """
    interpreter = _interpreter()
    if len(interpreter) > MAX_INTERPRETER_LINE - len("#! -IS") or not is_safe_word(interpreter):
        raise ConfigurationError(f"{interpreter}: can't stand in an interpreter line; use a shorter, plain path")
    directory = Path(os.path.abspath(directory))  # noqa: PTH100 - symbolic links stay as the operator named them
    if not is_safe_word(str(directory)):
        raise ConfigurationError(f"{directory}: may hold only letters, digits and ._@+/:-")
    paths = [str(packages)] if packages else module_folders()
    written = []
    try:
        _make(directory)
        for name, package in _COMMANDS.items():
            text = _LAUNCHER.format(interpreter=interpreter, paths=paths, package=package)
            files.replace(directory / name, text.encode(), 0o755)
            written.append(directory / name)
    except OSError as error:
        raise ConfigurationError(f"{directory}: {error.strerror}") from None
    return written


def module_folders() -> list[str]:
    """Returns the folders with the Python packages of this process."""
    here = [str(Path(__file__).resolve().parent.parent), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    return list(dict.fromkeys(here))


def check(directory: Path, folders: Sequence[str]) -> None:
    """Raises `ConfigurationError` if another account than root could change commands in `directory`.

    `folders` have the Python packages of the commands. A source checkout is refused too: its next change would change
    every login.
    """
    for folder in folders:
        if (Path(folder) / "pyproject.toml").exists():
            raise ConfigurationError(f"sshaft runs from the source checkout {folder}. {_INSTALL}")
    if unsafe := unsafe_parts(directory):
        raise ConfigurationError(f"sshd runs no command in {directory}: {unsafe[0]}. {_CHOOSE}")
    for path in (_interpreter(), *folders, __file__):
        if unsafe := unsafe_parts(Path(path)):
            raise ConfigurationError(f"another account could change every login: {unsafe[0]} ({path}). {_INSTALL}")
        if closed := closed_parts(Path(path)):
            raise ConfigurationError(f"sshd's accounts cannot read {closed[0]} ({path}). {_INSTALL}")


_INSTALL = "Install sshaft as docs/install.md says, and run the installed `sshaft install-commands`."
_CHOOSE = "Choose a directory that only root can change, such as /usr/libexec/sshaft."


def unsafe_parts(path: Path) -> list[str]:
    """Returns the files and folders that make sshd refuse an AuthorizedKeysCommand at `path` (misc.c, safe_path).

    A part that does not exist yet is left out.
    """
    real = path.resolve()
    return [
        f"{part} belongs to uid {status.st_uid} and has mode {stat.S_IMODE(status.st_mode):04o}"
        for part in (real, *real.parents)
        if part.exists() and ((status := part.stat()).st_uid != 0 or status.st_mode & 0o022)
    ]


def closed_parts(path: Path) -> list[Path]:
    """Returns the file or folder that other accounts cannot read, and the folders above it that they cannot enter."""
    real = path.resolve()
    read = stat.S_IROTH | (stat.S_IXOTH if real.is_dir() else 0)
    wanted = {real: read, **dict.fromkeys(real.parents, stat.S_IXOTH)}
    return [part for part, bits in wanted.items() if part.exists() and part.stat().st_mode & bits != bits]


def _interpreter() -> str:
    return str(Path(sys.executable).resolve())


def _make(directory: Path) -> None:
    """Makes the folder and those above it. The accounts of sshd can enter them, whatever the umask is."""
    before = os.umask(0o022)
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    finally:
        os.umask(before)
