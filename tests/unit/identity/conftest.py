import io
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from unit.identity.running import Clock, Service, Socket, new_store, running

from sshaft import log


@pytest.fixture
def clock() -> Clock:
    return Clock()


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
def service(listening: tuple[Socket, str], tmp_path: Path, clock: Clock, events: io.StringIO) -> Iterator[Service]:
    with new_store(tmp_path) as store, running(*listening, store, clock, events) as service:
        yield service


@pytest.fixture
def hearing(service: Service, listening: tuple[Socket, str]) -> Iterator[None]:
    """The service is told of what others change. Not for everybody: it reads the database all the time."""
    assert service.app
    with listening[0].hearing(service.app):
        yield
