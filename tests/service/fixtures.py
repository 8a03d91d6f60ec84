"""Defines the fixtures of the service, on the `store` of the folder's conftest."""

import io
from collections.abc import Iterator

import pytest
from service.service import Clock, Service, Socket, running

from sshaft_identity.store import Store


@pytest.fixture
def clock() -> Clock:
    return Clock()


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
    """Lets the service follow the changes of others. Few tests use this, because it polls the database."""
    assert service.app
    with listening[0].hearing(service.app):
        yield
