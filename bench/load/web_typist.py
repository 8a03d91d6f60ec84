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
    """A terminal. `shown` is what has come and was not read yet."""

    shown: bytearray

    def type(self, data: bytes) -> None: ...

    def read(self, seconds: float) -> int: ...

    def wait_for(self, text: bytes, seconds: float = ...) -> bytes: ...


class SshTerminal:
    """A program in a terminal, such as ssh, with the methods of `WebTerminal`."""

    def __init__(self, command: list[str]) -> None:
        self.shown = bytearray()
        self._master, slave = pty.openpty()
        environment = {"PATH": os.defpath, "TERM": "xterm-256color"}
        words = ["setsid", "--ctty", "--wait", *command]
        self._process = subprocess.Popen(words, stdin=slave, stdout=slave, stderr=slave, env=environment)
        os.close(slave)

    def type(self, data: bytes) -> None:
        os.write(self._master, data)

    def read(self, seconds: float) -> int:
        ready, _, _ = select.select([self._master], [], [], seconds)
        if not ready:
            raise TimeoutError
        part = os.read(self._master, 256 * 1024)
        self.shown += part
        return len(part)

    def wait_for(self, text: bytes, seconds: float = SECONDS) -> bytes:
        end = time.monotonic() + seconds
        while text not in self.shown:
            self.read(max(0.0, end - time.monotonic()))
        at = self.shown.index(text) + len(text)
        found, self.shown = bytes(self.shown[:at]), self.shown[at:]
        return found

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)
        with suppress(OSError):
            os.close(self._master)


def echo_keys(terminal: Typed) -> None:
    """Makes the terminal echo each key, and nothing else."""
    terminal.type(_PREPARE + b"stty echo; exec cat >/dev/null\r")
    terminal.wait_for(b"ready\r\n")
    time.sleep(0.3)  # the last two commands of the line
    terminal.shown.clear()


def key_ms(terminal: Typed) -> float:
    """Returns the milliseconds from a key to its echo."""
    terminal.shown.clear()
    began = time.perf_counter()
    terminal.type(b"x")
    while b"x" not in terminal.shown:
        terminal.read(SECONDS)
    return (time.perf_counter() - began) * 1000


def prepare_cat(terminal: Typed, path: Path) -> None:
    """Lets the shell of the terminal wait for Enter, and show the file then."""
    terminal.type(_PREPARE + f"read x; exec cat {path}\r".encode())
    terminal.wait_for(b"ready\r\n")
    terminal.shown.clear()


def cat_mb_per_s(terminal: Typed, path: Path) -> float:
    """Returns how fast a prepared terminal shows the file. Its shell ends with that."""
    left = size = path.stat().st_size
    began = time.perf_counter()
    terminal.type(b"\r")
    while left > 0:
        left -= terminal.read(SECONDS)
        terminal.shown.clear()
    return size / (time.perf_counter() - began) / 1e6
