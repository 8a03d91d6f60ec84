"""Runs openid-client of npm as a client of CIBA and as a relying party."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import npm_packages

SOURCES = Path(__file__).parent / "openid-client"


def installed() -> Path:
    """Installs the packages of the folder openid-client, and returns where. Skips the test on failure."""
    return npm_packages.installed(SOURCES)


def program(directory: Path, name: str) -> Path:
    """Copies the program `name` of the folder openid-client to `directory`, with the packages beside it."""
    copy = directory / f"{name}.mjs"
    if not copy.exists():
        shutil.copy(SOURCES / copy.name, copy)
        (directory / "node_modules").symlink_to(installed() / "node_modules")
    return copy


@dataclass
class OpenIdClient:
    """A running program that logs in once."""

    process: "subprocess.Popen[str]"

    @classmethod
    def begin(cls, directory: Path, settings: Mapping[str, str], name: str = "ciba") -> "OpenIdClient":
        """Starts the program `name` of the folder openid-client."""
        environment = {"PATH": os.environ["PATH"], "NODE_NO_WARNINGS": "1"} | settings
        pipe = subprocess.PIPE
        return cls(
            subprocess.Popen(
                ["node", str(program(directory, name))], env=environment, stdin=pipe, stdout=pipe, text=True
            )
        )

    def send_line(self, line: str) -> None:
        """Sends the last line to the program."""
        assert self.process.stdin
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.close()

    def read_line(self) -> dict[str, Any]:
        """Returns the next line of the program."""
        assert self.process.stdout
        line: dict[str, Any] = json.loads(self.process.stdout.readline())
        return line

    def close(self) -> int:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        status = self.process.wait(30)
        self.process.stdout.close()
        return status
