"""Runs the tests of the API on PostgreSQL."""

import pytest
from unit.identity.api.test_challenges import *  # noqa: F403 - every test of it
from unit.identity.api.test_contract import *  # noqa: F403
from unit.identity.api.test_token import *  # noqa: F403

from sshaft_identity.store import Store


@pytest.fixture
def store(on_postgresql: Store) -> Store:
    return on_postgresql
