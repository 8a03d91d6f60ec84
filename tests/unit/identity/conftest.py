from collections.abc import Iterator
from pathlib import Path

import pytest
from service.fixtures import clock, hearing, listening, service  # noqa: F401 - fixtures
from service.service import new_store

from sshaft_identity.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with new_store(tmp_path) as store:
        yield store
