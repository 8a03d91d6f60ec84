"""Types into terminals and measures: those of `sshaft web`, as its page does, and a plain ssh in a terminal."""

import os
import pty
import select
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Protocol

SECONDS = 120.0
_PREPARE = b"stty -echo; PS1=; printf '%s%s\\n' rea dy; "
"""The shell then shows nothing by itself. The words of the command are not the word that it writes."""


class Typed(Protocol):
    """A terminal. `said` is what has come and was not read yet."""

    said: bytes

    def type(self, keys: bytes) -> None: ...

    def read(self, seconds: float) -> bool: ...

    def wait_for(self, text: str, seconds: float = ...) -> str: ...


class SshTerminal:
    """A program in a terminal, such as ssh, with the methods of `TerminalPage`."""

    def __init__(self, command: list[str]) -> None:
        self.said = b""
        self._master, slave = pty.openpty()
        environment = {"PATH": os.defpath, "TERM": "xterm-256color"}
        words = ["setsid", "--ctty", "--wait", *command]
        self._process = subprocess.Popen(words, stdin=slave, stdout=slave, stderr=slave, env=environment)
        os.close(slave)

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def read(self, seconds: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], seconds)
        if not ready:
            raise TimeoutError
        self.said += os.read(self._master, 256 * 1024)
        return True

    def wait_for(self, text: str, seconds: float = SECONDS) -> str:
        end, wanted = time.monotonic() + seconds, text.encode()
        while wanted not in self.said:
            self.read(max(0.0, end - time.monotonic()))
        at = self.said.index(wanted) + len(wanted)
        found, self.said = self.said[:at], self.said[at:]
        return found.decode(errors="replace")

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)
        with suppress(OSError):
            os.close(self._master)


def echo_keys(terminal: Typed) -> None:
    """Makes the terminal echo each key, and nothing else."""
    terminal.type(_PREPARE + b"stty echo; exec cat >/dev/null\r")
    terminal.wait_for("ready\r\n")
    time.sleep(0.3)  # the last two commands of the line
    terminal.said = b""


def key_ms(terminal: Typed) -> float:
    """Returns the milliseconds from a key to its echo."""
    terminal.said = b""
    began = time.perf_counter()
    terminal.type(b"x")
    while b"x" not in terminal.said:
        _read(terminal)
    return (time.perf_counter() - began) * 1000


def prepare_cat(terminal: Typed, path: Path) -> None:
    """Lets the shell of the terminal wait for Enter, and show the file then."""
    terminal.type(_PREPARE + f"read x; exec cat {path}\r".encode())
    terminal.wait_for("ready\r\n")
    terminal.said = b""


def cat_mb_per_s(terminal: Typed, path: Path) -> float:
    """Returns how fast a prepared terminal shows the file. Its shell ends with that."""
    left = size = path.stat().st_size
    began = time.perf_counter()
    terminal.type(b"\r")
    while left > 0:
        _read(terminal)
        left -= len(terminal.said)
        terminal.said = b""
    return size / (time.perf_counter() - began) / 1e6


def _read(terminal: Typed) -> None:
    if not terminal.read(SECONDS):
        raise EOFError("the terminal has ended")
