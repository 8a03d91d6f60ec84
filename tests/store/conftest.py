from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.postgresql import PostgreSQL
from service.fixtures import clock, hearing, listening, service  # noqa: F401 - fixtures
from service.service import migrated, new_store

from sshaft_identity.store import Store


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Yields the URL of a new database of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'identity.db'}"
        return
    server = request.getfixturevalue("postgresql")
    url = server.new_database()
    yield url
    server.drop(url)


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with migrated(url) as store:
        yield store


@pytest.fixture
def on_sqlite(tmp_path: Path) -> Iterator[Store]:
    with new_store(tmp_path) as store:
        yield store


@pytest.fixture
def postgresql_url(postgresql: PostgreSQL) -> Iterator[str]:
    url = postgresql.new_database()
    yield url
    postgresql.drop(url)


@pytest.fixture
def on_postgresql(postgresql_url: str) -> Iterator[Store]:
    with migrated(postgresql_url) as store:
        yield store


@pytest.fixture
def empty_url(postgresql: PostgreSQL) -> Iterator[str]:
    """Yields the URL of a PostgreSQL database without tables."""
    url = postgresql.new_database("template0")
    yield url
    postgresql.drop(url)
