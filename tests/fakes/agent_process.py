"""Runs a real `sshaft agent` as a process, with a real socket of a service manager for its notifications."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Self

from sshaft import agent_socket

PROGRAM = [sys.executable, "-I", "-m", "sshaft"]


class AgentProcess:
    """Runs the agent in a new `directory`. `events` has its log events, `notified` its messages to systemd."""

    def __init__(self, config: Path, directory: Path, *options: str, notify: Path | None = None, **popen: Any) -> None:
        self.config = config
        self.directory = directory
        self.keys = directory / "keys" / "agent.sock"
        self.login = directory / "login" / "agent.sock"
        self.status_socket = directory / "status.sock"
        notify = notify or directory.with_name(directory.name + ".notify")
        self._manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._manager.bind(str(notify))
            notify.chmod(0o777)
            self._manager.settimeout(10)
            self.process = subprocess.Popen(
                [*PROGRAM, "agent", "--config", str(config), "--runtime-directory", str(directory), *options],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env={"PATH": os.environ["PATH"], "NOTIFY_SOCKET": str(notify)},
                **popen,
            )
        except BaseException:
            self._manager.close()
            raise
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stream:
            for line in stream:
                self._lines.append(line.decode())

    def __enter__(self) -> Self:
        if self.notified() != "READY=1":
            self.__exit__()
            raise AssertionError(self.output)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()
        self._reader.join()
        self._manager.close()

    def notified(self) -> str:
        """Returns the next message of the agent to its service manager, or "" if the agent has ended."""
        end = time.monotonic() + 10
        self._manager.settimeout(0.05)
        while time.monotonic() < end:
            with contextlib.suppress(TimeoutError):
                return self._manager.recv(4096).decode()
            if self.process.poll() is not None:
                break
        return ""

    def ask(self, kind: str, at: Path | None = None, **fields: str) -> tuple[str, dict[str, str]]:
        where = {"keys": self.keys, "status": self.status_socket}.get(kind, self.login)
        return agent_socket.ask(str(at or where), kind, fields)

    def ticket(self, question: dict[str, str]) -> str:
        """Returns the ticket in a key line."""
        kind, answer = self.ask("keys", **question)
        found = re.search(r"--ticket ([\w-]+)", answer["lines"])
        assert kind == "keys"
        assert found, answer
        return found[1]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        status = self.process.wait(20)
        self._reader.join()
        return status

    @property
    def output(self) -> str:
        return "".join(self._lines)

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._lines if line.startswith("{")]

    def event(self, name: str, seconds: float = 5) -> dict[str, Any]:
        """Waits for an event of that name, and returns the last of them."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for event in reversed(self.events):
                if event["event"] == name:
                    return event
            time.sleep(0.01)
        raise AssertionError(f"no {name} in {self.output}")
