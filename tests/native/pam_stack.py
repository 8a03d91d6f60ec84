"""Runs pam_sshaft in a real libpam.

libpam-wrapper shows libpam a folder of services, so the machine's own PAM is not touched.
"""

import glob
import os
import re
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fakes.unix_server import read_question
from process.keys.conftest import NATIVE, SANITIZERS

from sshaft import messages

SUCCESS, SYSTEM_ERR, PERM_DENIED, AUTH_ERR, UNAVAILABLE, USER_UNKNOWN, MAXTRIES, CONV_ERR = 0, 4, 6, 7, 9, 10, 11, 19
IGNORED = SUCCESS
"""The next module of the stack lets everybody in."""
PROMPT = messages.encode("prompt", {"text": "Code: ", "echo": "yes"})


def result(word: str, **more: str) -> bytes:
    return messages.encode("result", {"result": word, **more})


def saying(*parts: bytes) -> Callable[[socket.socket], None]:
    """Returns an agent that says the parts, and reads an answer after each prompt."""

    def speak(connection: socket.socket) -> None:
        read_question(connection)
        for part in parts:
            connection.sendall(part)
            if part.startswith(b"sshaft/1 prompt"):
                read_question(connection)

    return speak


@dataclass
class Stack:
    """One PAM service with our module in it."""

    folder: Path
    module: Path
    client: Path
    environment: dict[str, str]
    arguments: str = ""
    options: list[str] = field(default_factory=list)
    """The options of the client."""
    watch: list[str] = field(default_factory=list)
    """The program that runs the client."""
    log: str = ""
    """What the last run has told syslog, among other things."""

    @property
    def path(self) -> Path:
        return self.folder / "agent.sock"

    def run(self, *answers: str, user: str = "alice", phase: str = "auth", rounds: int = 1) -> tuple[int, str]:
        """Returns what libpam returned, and what the module showed. Checks that no descriptor stays open."""
        line = f"[default=die success=done ignore=ignore] {self.module} socket={self.path} {self.arguments}"
        lines = [
            f"{kind} {each}" for kind in ("auth", "account", "session") for each in (line, "required pam_permit.so")
        ]
        (self.folder / "pam.d" / "sshd").write_text("\n".join(lines) + "\n")
        done = subprocess.run(
            [*self.watch, self.client, *self.options, "sshd", user, phase, str(rounds), *answers],
            capture_output=True, text=True, timeout=120, env=self.environment, check=False,
        )  # fmt: skip
        self.log = done.stderr
        assert done.returncode == 0, done.stderr[-3000:]
        found = re.search(r"^result: (\d+)", done.stdout, re.MULTILINE)
        assert found, done.stdout
        assert "\nopened: 0\n" in done.stdout
        return int(found[1]), done.stdout


def build(folder: Path, *variables: str) -> Path:
    """Builds the module and its client into `folder`."""
    if not Path("/usr/include/security/pam_modules.h").exists():
        pytest.skip("needs libpam0g-dev: ./dev setup test")
    module = folder / "pam_sshaft.so"
    subprocess.run(["make", "-s", "-C", NATIVE, f"PAM_OUT={module}", *variables, module], check=True, timeout=120)
    source = Path(__file__).with_name("pam_client.c")
    client = ["cc", "-Wall", "-Wextra", "-Werror", "-o", folder / "pam_client", source, "-lpam"]
    subprocess.run(client, check=True, timeout=60)
    return folder


def build_sanitized(folder: Path) -> Path:
    """Builds the module with sanitizers, which end the program at a fault."""
    return build(folder, f"CFLAGS={SANITIZERS}", "HARDENING=")


def environment(services: Path, *, sanitized: bool) -> dict[str, str]:
    """Returns the environment of a program that sees these services."""
    wrapper = glob.glob("/usr/lib/*/libpam_wrapper.so")  # noqa: PTH207
    if not wrapper:
        pytest.skip("needs libpam-wrapper: ./dev setup test")
    preloaded = wrapper
    if sanitized:  # the sanitizer wants to be first
        said = subprocess.run(["cc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True).stdout
        preloaded = [said.strip(), *wrapper]
    return {
        "PATH": os.defpath, "LD_PRELOAD": " ".join(preloaded), "PAM_WRAPPER": "1",
        "PAM_WRAPPER_SERVICE_DIR": str(services), "PAM_WRAPPER_DEBUGLEVEL": "4",
    }  # fmt: skip
