"""Installs programs from the Python package index for tests, or skips the test."""

from pathlib import Path

import pytest

from bench.load import python_packages
from sshaft_demo.place import StartError


def installed(name: str, lock: Path, *, builds: bool = False) -> Path:
    """Returns the folder of the programs, as `python_packages.installed`. Skips the test if the index is away."""
    try:
        return python_packages.installed(name, lock, builds=builds)
    except StartError as error:
        pytest.skip(str(error))
