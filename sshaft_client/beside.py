"""Makes a program for ssh or scp in a private folder, and runs work beside the process that becomes ssh or scp.

So ssh itself is what the person started: its exit status, its signals and its terminal are those of plain ssh.
"""

import _signal
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import NoReturn

from sshaft.errors import SshaftError

_PACKAGES = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 - pathlib takes time
_POLL_SECONDS = 0.5
_LONGEST_PLACE = 70
"""The path of a UNIX socket has 107 bytes at most; some systems take 103."""


class Folder:
    """A folder that only this account can enter, with one program in it."""

    def __init__(self) -> None:
        """Raises `SshaftError`: programs cannot be executed in any of the places."""
        places = [os.environ.get("XDG_RUNTIME_DIR"), os.environ.get("TMPDIR"), "/tmp", os.environ.get("HOME")]  # noqa: S108
        for place in places:
            if place and len(place) <= _LONGEST_PLACE and os.access(place, os.W_OK):
                self.path = f"{place}/.sshaft-{os.urandom(8).hex()}"
                os.mkdir(self.path, 0o700)  # noqa: PTH102 - it fails if somebody else has made it
                self.program = f"{self.path}/program"
                os.close(os.open(self.program, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o700))
                if os.access(self.program, os.X_OK):  # not on a file system without programs (noexec)
                    return
                self.remove()
        raise SshaftError("no folder for a program: /tmp and the home directory are closed, or have noexec")

    def write(self, options: str, module: str, arguments: Iterable[str]) -> None:
        """Writes the program: `main(ARGUMENTS, WORDS)` of a module, by this Python with `options`."""
        code = f"import sys; sys.path.append({_PACKAGES!r}); from {module} import main; sys.exit(main(sys.argv[1:]))"
        words = [sys.executable, *options.split(), "-c", code, *arguments]
        with open(self.program, "w", encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123
            file.write(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')

    def remove(self) -> None:
        """Removes the folder and the files in it."""
        with suppress(OSError):
            for name in os.listdir(self.path):  # noqa: PTH208
                os.unlink(f"{self.path}/{name}")  # noqa: PTH108
            os.rmdir(self.path)  # noqa: PTH106


def start(work: Callable[[], object]) -> None:
    """Runs `work` in a process of its own, which is no child of ours and holds none of our files open."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        os.setsid()
        if os.fork() == 0:
            null = os.open(os.devnull, os.O_RDWR)
            for standard in (0, 1, 2):
                os.dup2(null, standard)
            work()
    finally:
        os._exit(0)


def become(program: str, words: Sequence[str], environment: Mapping[str, str] = os.environ) -> NoReturn:
    """Puts another program in the place of this process. Python ignores two signals that others do not."""
    for number in (_signal.SIGPIPE, _signal.SIGXFSZ):
        _signal.signal(number, _signal.SIG_DFL)
    os.execvpe(program, [program, *words], environment)  # noqa: S606 - the ssh, scp or sftp of the person


def wait_for_end(process: int) -> None:
    """Returns when the process has ended."""
    while runs(process):
        time.sleep(_POLL_SECONDS)


def runs(process: int) -> bool:
    """Whether the process of this account has not ended."""
    try:
        os.kill(process, 0)
    except OSError:
        return False
    return True
