"""Serves a UNIX socket in place of the agent. It answers each connection with given bytes or by a function."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from sshaft import messages

Answer = bytes | Callable[[socket.socket], None]


class UnixServer:
    """Gives `answers` in turn and repeats the last answer. `asked` has the complete messages that came."""

    def __init__(self, path: Path, *answers: Answer) -> None:
        self.path = str(path)
        self.asked: list[tuple[str, dict[str, str]]] = []
        self._answers = list(answers)
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(self.path)
        self._listening.listen(64)
        self._open: list[socket.socket] = []
        threading.Thread(target=self._run, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for connection in self._open:
            connection.close()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection, answer), daemon=True).start()

    def _serve(self, connection: socket.socket, answer: Answer) -> None:
        with contextlib.suppress(OSError):
            if callable(answer):
                answer(connection)
            else:
                self.asked.append(read_question(connection))
                connection.sendall(answer)
            connection.close()


def read_question(connection: socket.socket) -> tuple[str, dict[str, str]]:
    data = b""
    while not data.endswith(messages.END):
        part = connection.recv(65536)
        if not part:
            raise ConnectionResetError
        data += part
    return messages.decode(data)


def hang(connection: socket.socket) -> None:
    """Reads the question and does not answer."""
    read_question(connection)
    time.sleep(30)


def drip(data: bytes, seconds: float) -> Callable[[socket.socket], None]:
    """Sends the answer byte by byte."""

    def write(connection: socket.socket) -> None:
        read_question(connection)
        for byte in data:
            connection.sendall(bytes([byte]))
            time.sleep(seconds)

    return write
