"""The API inside the test, in front of a fake agent."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.host_api import INFO, Api, FakeAgent
from fakes.unix_server import UnixServer

from sshaft_host_api.agent import Agent
from sshaft_host_api.app import App


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[FakeAgent]:
    fake = FakeAgent(tmp_path / "agent.sock")
    fake.answers["api_info"] = ("info", {"json": json.dumps(INFO)})
    with UnixServer(fake.path, fake.answer):
        yield fake


@pytest.fixture
def api(agent: FakeAgent) -> Api:
    return Api(App(Agent(agent.path)), agent)
