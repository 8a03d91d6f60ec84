"""Skips the tests that need what is not available here, and keeps what takes long to make."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.load.container_engine import UnavailableError, base_tar, need_root

__all__ = ["CACHE", "UnavailableError", "base_tar", "need_root", "skipping"]

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sshaft"
"""What takes long to make is kept here between runs."""


@contextmanager
def skipping() -> Iterator[None]:
    """Skips the test that needs what is not available. In CI the test fails."""
    try:
        yield
    except UnavailableError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))
