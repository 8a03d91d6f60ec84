"""What tests of all kinds share: hypothesis without its stopwatch, a fake identity service and the launchers."""

import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
from fakes.identity_server import IdentityServer
from fakes.postgresql import TEMPLATE, PostgreSQL, programs, running
from hypothesis import HealthCheck, settings

from sshaft import log
from sshaft.launchers import install
from sshaft_identity.database.database import Database

HERE = Path(__file__).parent

# Two cores and other people's work on them: how long an example takes says nothing. The examples are the same each
# time, so that a change fails by what it changes; SSHAFT_EXAMPLES=random looks for others.
settings.register_profile(
    "sshaft",
    deadline=None,
    database=None,
    derandomize=os.environ.get("SSHAFT_EXAMPLES") != "random",
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("sshaft")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What stands in the folder of a marker carries it. There real time passes in many processes: on a machine that
    stands still for three seconds a login fails, as it must. So each gets a second try, which the summary names.
    """
    for item in items:
        folder = item.path.relative_to(HERE).parts[0]
        if folder in ("debian_host", "e2e", "image", "providers", "web"):
            item.add_marker(folder)
            item.add_marker(pytest.mark.flaky(reruns=1))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("root") and os.geteuid() != 0:
        pytest.skip("needs root: ./dev test runs it by sudo")


@pytest.fixture
def events() -> Iterator[io.StringIO]:
    """What is logged, as it stands in the log."""
    stream = io.StringIO()
    log.set_up("debug", stream)
    yield stream
    structlog.reset_defaults()


@pytest.fixture
def identity() -> Iterator[IdentityServer]:
    with IdentityServer() as server:
        yield server


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """With a database that is migrated already, as a template."""
    where = programs()
    if where is None:
        pytest.skip("needs PostgreSQL: apt-get install postgresql, or ./dev test, which keeps it from starting")
    with running(where) as server:
        server.execute(f"CREATE DATABASE {TEMPLATE}")
        database = Database(server.url(TEMPLATE))
        database.migrate()
        database.close()
        yield server


@pytest.fixture
def write_config(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes its argument as config.json, which only we can read, and returns the path."""

    def write(data: object, name: str = "config.json", mode: int = 0o600) -> Path:
        path = tmp_path / name
        path.write_text(data if isinstance(data, str) else json.dumps(data))
        path.chmod(mode)
        return path

    return write


@pytest.fixture(scope="session")
def launchers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with `sshaft-keys` and `sshaft-login` as `sshaft install-commands` makes them."""
    directory = tmp_path_factory.mktemp("commands")
    install(directory)
    return directory
