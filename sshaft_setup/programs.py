"""Runs the other commands of sshaft as programs of their own, with the packages of this process."""

import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from sshaft.errors import SshaftError

_PASSWORD = re.compile(r"(://[^/@:]*:).*@")
_START = "import sys; sys.path[:] = {path!r}; from sshaft.__main__ import main; sys.exit(main())"


class CommandError(SshaftError):
    """A command has failed. The message has what it said."""

    code = "command_failed"

    def __init__(self, words: Sequence[str], said: str, status: int) -> None:
        super().__init__(f"`{shown(words)}` failed (status {status}): {said.removeprefix('sshaft: ')}")
        self.exit_status = status


def shown(words: Sequence[str]) -> str:
    """Returns the command as a person types it. The password in a URL is not shown."""
    return shlex.join(["sshaft", *(_PASSWORD.sub(r"\1...@", word) for word in words)])


def command(words: Sequence[str]) -> list[str]:
    """Returns the command line, for every kind of installation. It takes nothing from the working directory."""
    path = [str(Path(each).resolve()) for each in sys.path if each]
    return [sys.executable, "-I", "-c", _START.format(path=path), *words]


def run(*words: str) -> str:
    """Runs `sshaft WORDS` and returns its standard output. Raises `CommandError`."""
    done = subprocess.run(command(words), capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise CommandError(words, (done.stderr or done.stdout).strip(), done.returncode)
    return done.stdout


def show(*words: str) -> int:
    """Runs `sshaft WORDS` at this terminal, and returns its exit status."""
    return subprocess.run(command(words), check=False, stdin=subprocess.DEVNULL).returncode
