"""Makes a slim Debian from Debian's own packages, and keeps it between runs."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

BASE_TAR = Path(__file__).parents[2] / "tools" / "debian" / "base-tar"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sshaft"
"""What takes long to make is kept here between runs."""


class UnavailableError(Exception):
    """The tests of this folder cannot run here. The message states the reason."""


@contextmanager
def skipping() -> Iterator[None]:
    """Skips the test that needs what is not available. In CI the test fails."""
    try:
        yield
    except UnavailableError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))


def need_root() -> None:
    if os.geteuid() != 0:
        raise UnavailableError("needs root: what is mounted has owners")


def base_tar(suite: str, *packages: str) -> Path:
    """Returns a tar of a slim Debian with these packages. Raises `UnavailableError`."""
    made = subprocess.run([BASE_TAR, suite, *packages], check=False, capture_output=True, text=True)
    if made.returncode != 0:
        raise UnavailableError(f"no base of Debian's packages: {made.stderr[-1000:]}")
    return Path(made.stdout.strip())
