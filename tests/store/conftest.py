from collections.abc import Iterator
from pathlib import Path

import pytest
from unit.identity.running import Clock, new_store

from sshaft_identity.store import Store


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """On a real SQLite file."""
    with new_store(tmp_path) as store:
        yield store
