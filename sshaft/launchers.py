"""Writes the two commands that sshd starts: files with an interpreter line and the path of the packages.

The scripts that pip makes start ten times slower, because they need `site`. sshd starts these several times a login.
"""

import os
import stat
import sys
import sysconfig
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
    interpreter = str(Path(sys.executable).resolve())
    if len(interpreter) > MAX_INTERPRETER_LINE - len("#! -IS") or not is_safe_word(interpreter):
        raise ConfigurationError(f"{interpreter}: can't stand in an interpreter line; use a shorter, plain path")
    directory = Path(os.path.abspath(directory))  # noqa: PTH100 - symbolic links stay as the operator named them
    if not is_safe_word(str(directory)):
        raise ConfigurationError(f"{directory}: may hold only letters, digits and ._@+/:-")
    here = [str(Path(__file__).resolve().parent.parent), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    paths = [str(packages)] if packages else list(dict.fromkeys(here))
    written = []
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        for name, package in _COMMANDS.items():
            text = _LAUNCHER.format(interpreter=interpreter, paths=paths, package=package)
            files.replace(directory / name, text.encode(), 0o755)
            written.append(directory / name)
    except OSError as error:
        raise ConfigurationError(f"{directory}: {error.strerror}") from None
    return written


def unsafe_parts(path: Path) -> list[str]:
    """Returns the files and folders that make sshd refuse an AuthorizedKeysCommand at `path` (misc.c, safe_path)."""
    real = path.resolve()
    return [
        f"{part}: uid {status.st_uid}, mode {stat.S_IMODE(status.st_mode):04o}"
        for part in (real, *real.parents)
        if (status := part.stat()).st_uid != 0 or status.st_mode & 0o022
    ]
