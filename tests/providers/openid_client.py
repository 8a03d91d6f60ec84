"""Runs the real openid-client of npm, as a client of CIBA and as a relying party."""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

SOURCES = Path(__file__).parent / "openid-client"
OLDEST_NODE = 20


def cache() -> Path:
    """Returns the folder for packages that take long to install. Checkouts share it."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sshaft"


def installed() -> Path:
    """Installs the versions of package-lock.json, and returns their folder. Skips the test on failure."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("needs Node with npm")
    version = subprocess.run([node, "--version"], check=True, capture_output=True, text=True, timeout=30).stdout
    if int(version.lstrip("v").partition(".")[0]) < OLDEST_NODE:
        pytest.skip(f"needs Node {OLDEST_NODE} or newer, this is {version.strip()}")
    lock = SOURCES / "package-lock.json"
    packages = cache() / f"openid-client-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    if not (packages / "complete").exists():
        packages.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", lock.name):
            shutil.copy(SOURCES / name, packages)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]
        try:
            done = subprocess.run(command, cwd=packages, capture_output=True, text=True, check=False, timeout=120)
        except subprocess.TimeoutExpired:
            pytest.skip("npm could not install openid-client: it took too long")
        if done.returncode:
            pytest.skip(f"npm could not install openid-client: {done.stderr.strip()[-300:]}")
        (packages / "complete").touch()
    return packages


@dataclass
class OpenIdClient:
    """A running program that logs in once."""

    process: "subprocess.Popen[str]"

    @classmethod
    def begin(cls, directory: Path, settings: Mapping[str, str], name: str = "ciba") -> "OpenIdClient":
        """Starts the program `name` of the folder openid-client."""
        program = directory / f"{name}.mjs"
        if not program.exists():
            shutil.copy(SOURCES / program.name, program)
            (directory / "node_modules").symlink_to(installed() / "node_modules")
        environment = {"PATH": os.environ["PATH"], "NODE_NO_WARNINGS": "1"} | settings
        pipe = subprocess.PIPE
        return cls(subprocess.Popen(["node", str(program)], env=environment, stdin=pipe, stdout=pipe, text=True))

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
