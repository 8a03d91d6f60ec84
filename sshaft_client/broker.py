"""Holds the token while ssh logs in, and gives it to our askpass for the token prompt of that ssh alone.

The broker is a process beside ssh, and ends with it.
"""

import os
import select
import socket
import time
from collections.abc import Callable
from contextlib import suppress

from sshaft import messages
from sshaft.host_api.prompt import is_token_prompt
from sshaft_client import beside

_LIFETIME = 600.0


class Answers:
    """Decides what to say to each question of askpass."""

    def __init__(
        self, ssh: int, parts: Callable[[], list[str]], explain: Callable[[], str], *, may_ask: bool = True
    ) -> None:
        """`ssh` is the process that may have the token, in `parts`, which are made when ssh asks.

        `explain` says why the token may have been refused. `may_ask`: whether the person answers other questions.
        """
        self.ssh = ssh
        self._make_parts = parts
        self._parts: list[str] | None = None
        self._explain = explain
        self._other = "person" if may_ask else "nobody"
        self._is_explained = False

    def to(self, prompt: str, ssh: int) -> tuple[str, dict[str, str]]:
        """Returns the kind and the fields of the answer.

        Another ssh below ours, such as that of a ProxyJump, asks for another host: it never gets the token.
        """
        if ssh != self.ssh or not is_token_prompt(prompt):
            return self._other, {}
        if self._parts is None:
            self._parts = self._make_parts()
        if self._parts:
            return "answer", {"text": self._parts.pop(0)}
        if self._is_explained:
            return self._other, {}
        self._is_explained = True
        return self._other, {"explanation": self._explain()}


class Broker:
    """The socket and the askpass program in a private folder, before and after the start of the broker's process."""

    def __init__(self) -> None:
        self._folder = beside.Folder()
        path = f"{self._folder.path}/socket"
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(path)
        self._listening.listen(8)
        self._folder.write("-IS", "sshaft_client.askpass", [path])

    def environment(self) -> dict[str, str]:
        """Returns what ssh's environment gets, so that it asks our askpass. Nothing in it is secret."""
        own = {f"SSHAFT_{name}": value for name in _ASKPASS if (value := os.environ.get(name))}
        return own | {"SSH_ASKPASS": self._folder.program, "SSH_ASKPASS_REQUIRE": "force"}

    def start(self, answers: Answers) -> None:
        """Starts the broker's process."""
        beside.start(lambda: self._serve(answers))
        self._listening.close()

    def _serve(self, answers: Answers) -> None:
        end = time.monotonic() + _LIFETIME
        try:
            while time.monotonic() < end and beside.runs(answers.ssh):
                if select.select([self._listening], [], [], 0.5)[0]:
                    self._answer(answers)
        finally:
            self._folder.remove()

    def _answer(self, answers: Answers) -> None:
        connection, _ = self._listening.accept()
        with connection, suppress(OSError, messages.MessageError, ValueError, KeyError):
            connection.settimeout(5)
            data = b""
            while not data.endswith(messages.END) and (part := connection.recv(65536)):
                data += part
                if len(data) > messages.MAX_MESSAGE:
                    return
            _, fields = messages.decode(data)
            connection.sendall(messages.encode(*answers.to(fields["prompt"], int(fields["ssh"]))))


_ASKPASS = ("SSH_ASKPASS", "SSH_ASKPASS_REQUIRE")
