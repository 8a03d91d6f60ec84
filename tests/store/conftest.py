import io
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from fakes.postgresql import PostgreSQL
from unit.identity.running import Clock, Service, Socket, migrated, new_store, running

from sshaft import log
from sshaft_identity.store import Store


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Of a database of its own for each test, on either kind."""
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
    """Of a PostgreSQL database without tables."""
    url = postgresql.new_database("template0")
    yield url
    postgresql.drop(url)


@pytest.fixture
def events() -> Iterator[io.StringIO]:
    """What is logged, as it stands in the log."""
    stream = io.StringIO()
    log.set_up("debug", stream)
    yield stream
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def listening() -> Iterator[tuple[Socket, str]]:
    socket = Socket()
    with socket.listening() as url:
        yield socket, url


@pytest.fixture
def service(listening: tuple[Socket, str], store: Store, clock: Clock, events: io.StringIO) -> Iterator[Service]:
    with running(*listening, store, clock, events) as service:
        yield service


@pytest.fixture
def hearing(service: Service, listening: tuple[Socket, str]) -> Iterator[None]:
    """The service is told of what others change."""
    assert service.app
    with listening[0].hearing(service.app):
        yield
