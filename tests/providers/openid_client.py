"""npm's openid-client, as a client of CIBA and as a relying party. Its packages are kept in the project's cache."""

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
    """For what takes long to install: kept from one checkout to the next."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sshaft"


def installed() -> Path:
    """The folder of its packages, with the versions and hashes of package-lock.json. Skips the test without them."""
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
    """One login."""

    process: "subprocess.Popen[str]"

    @classmethod
    def begin(cls, directory: Path, settings: Mapping[str, str], name: str = "ciba") -> "OpenIdClient":
        """`name`: which of our programs for it."""
        program = directory / f"{name}.mjs"
        if not program.exists():
            shutil.copy(SOURCES / program.name, program)
            (directory / "node_modules").symlink_to(installed() / "node_modules")
        environment = {"PATH": os.environ["PATH"], "NODE_NO_WARNINGS": "1"} | settings
        pipe = subprocess.PIPE
        return cls(subprocess.Popen(["node", str(program)], env=environment, stdin=pipe, stdout=pipe, text=True))

    def told(self, line: str) -> None:
        """Give it a line, the last one."""
        assert self.process.stdin
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.close()

    def said(self) -> dict[str, Any]:
        """Its next line."""
        assert self.process.stdout
        line: dict[str, Any] = json.loads(self.process.stdout.readline())
        return line

    def ended(self) -> int:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        status = self.process.wait(30)
        self.process.stdout.close()
        return status
