"""Fetches the wheels of lock files for the Python of a Debian release: fetch.py SUITE FOLDER LOCK...

pip checks each wheel against its hash. It runs with the configuration of the caller, so with the same package index.
"""

import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from packaging.requirements import Requirement

SUITES = {"bookworm": ("3.11", 36), "trixie": ("3.13", 41), "el9": ("3.11", 34)}
"""The Python of the release, and the second number of its glibc."""
OLDEST_GLIBC = 17
"""manylinux2014 has this one. Older wheels have no Python 3.11."""


def requirements(lock: str, python: str) -> str:
    """Returns the entries of a lock file that count for this Python, without their markers."""
    environment = {
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": "linux",
    }
    kept = []
    for entry in lock.replace("\\\n", " ").splitlines():
        text, *hashes = entry.split(" --hash=")
        if not text.strip() or text.lstrip().startswith("#"):
            continue
        wanted = Requirement(text.strip())
        if wanted.marker is None or wanted.marker.evaluate(environment):
            kept.append(" --hash=".join([f"{wanted.name}{wanted.specifier}", *map(str.strip, hashes)]))
    return "\n".join(kept) + "\n"


def platforms(glibc: int) -> list[str]:
    """Returns the options of pip for the platforms whose wheels work with this glibc."""
    machine = platform.machine()
    names = [f"manylinux_2_{number}_{machine}" for number in range(glibc, OLDEST_GLIBC - 1, -1)]
    return [f"--platform={name}" for name in (*names, f"manylinux2014_{machine}", f"linux_{machine}")]


def main(suite: str, folder: str, *locks: str) -> int:
    python, glibc = SUITES[suite]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        for lock in locks:
            file.write(requirements(Path(lock).read_text(encoding="utf-8"), python))
        file.flush()
        command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-input", "--no-deps"]
        command += ["--progress-bar=off", "--require-hashes", "--only-binary=:all:", f"--python-version={python}"]
        command += [*platforms(glibc), f"--dest={folder}", f"--requirement={file.name}"]
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
