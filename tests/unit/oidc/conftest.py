from collections.abc import Iterator

import pytest
from unit.identity.conftest import clock, hearing, listening, service, store  # noqa: F401 - fixtures
from unit.sshaft.conftest import authority  # noqa: F401 - a fixture

from sshaft.http_client import HttpClient
from sshaft_oidc.remote_keys import MAX_ANSWER


@pytest.fixture
def http() -> Iterator[HttpClient]:
    http = HttpClient(peer="provider", max_answer=MAX_ANSWER)
    yield http
    http.close()
