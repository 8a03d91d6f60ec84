"""Installs packages of npm for the tests, in the versions of a package-lock.json."""

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from bench.load.python_packages import cache
from sshaft_web.pages.static_files import DIRECTORY, TERMINAL

OLDEST_NODE = 20


def installed(sources: Path) -> Path:
    """Installs the packages of the folder's package-lock.json, and returns where. Skips the test on failure."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("needs Node with npm")
    version = subprocess.run([node, "--version"], check=True, capture_output=True, text=True, timeout=30).stdout
    if int(version.lstrip("v").partition(".")[0]) < OLDEST_NODE:
        pytest.skip(f"needs Node {OLDEST_NODE} or newer, this is {version.strip()}")
    lock = sources / "package-lock.json"
    packages = cache() / f"{sources.name}-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    if not (packages / "complete").exists():
        packages.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", lock.name):
            shutil.copy(sources / name, packages)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]
        try:
            done = subprocess.run(command, cwd=packages, capture_output=True, text=True, check=False, timeout=120)
        except subprocess.TimeoutExpired:
            pytest.skip("npm could not install the packages: it took too long")
        if done.returncode:
            pytest.skip(f"npm could not install the packages: {done.stderr.strip()[-300:]}")
        (packages / "complete").touch()
    return packages


def require_xterm() -> None:
    """Skips the test if `sshaft web` has no terminal here."""
    if not (DIRECTORY / TERMINAL).exists():
        pytest.skip("the terminal of sshaft web is missing: tools/xterm fetches it with npm")
