from collections.abc import Iterator
from pathlib import Path

import pytest
from unit.identity.fixtures import clock, hearing, listening, service  # noqa: F401 - fixtures
from unit.identity.running import new_store

from sshaft_identity.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with new_store(tmp_path) as store:
        yield store
