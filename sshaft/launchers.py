"""The two commands that sshd starts, as files: a plain interpreter line and the path of the packages.

What pip makes of an entry point starts ten times slower: it needs `site`, and sshd starts these several times a login.
"""

import os
import stat
import sys
import sysconfig
from pathlib import Path

from sshaft import files
from sshaft.authorized_keys import is_safe_word
from sshaft.errors import ConfigurationError

COMMANDS = {"sshaft-keys": "sshaft_keys", "sshaft-login": "sshaft_login"}
MAX_INTERPRETER_LINE = 127  # execve(2): longer lines are cut

_LAUNCHER = """\
#!{interpreter} -IS
import sys
sys.path += {paths!r}
from {package}.__main__ import main
sys.exit(main())
"""


def install(directory: Path, packages: Path | None = None) -> list[Path]:
    """Write `sshaft-keys` and `sshaft-login` into `directory`; the files written. Raises `ConfigurationError`.

    `packages` is a folder that has all they need, ours and others'; without it they find them where this process did.
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
        for name, package in COMMANDS.items():
            text = _LAUNCHER.format(interpreter=interpreter, paths=paths, package=package)
            files.replace(directory / name, text.encode(), 0o755)
            written.append(directory / name)
    except OSError as error:
        raise ConfigurationError(f"{directory}: {error.strerror}") from None
    return written


def unsafe_parts(path: Path) -> list[str]:
    """What sshd would refuse about an AuthorizedKeysCommand at `path` (upstream's rule, misc.c safe_path)."""
    real = path.resolve()
    return [
        f"{part}: uid {status.st_uid}, mode {stat.S_IMODE(status.st_mode):04o}"
        for part in (real, *real.parents)
        if (status := part.stat()).st_uid != 0 or status.st_mode & 0o022
    ]
