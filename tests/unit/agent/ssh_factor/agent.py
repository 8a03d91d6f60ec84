"""Makes a Factor with the fake service, and asks it as the two commands do."""

import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from fakes import public_keys
from fakes.identity_server import IdentityServer

from sshaft import public_key
from sshaft.config import Config
from sshaft.identity_client import IdentityClient
from sshaft_agent.ssh_factor.factor import Factor
from sshaft_agent.ssh_factor.questions import LOGIN_REQUESTS, KeysQuestion

ID = "0123456789abcdef0123456789abcdef"
SOCKET = "/run/sshaft/login/agent.sock"


@dataclass
class Agent:
    """`key` and `kind` are the defaults of the questions."""

    client: IdentityClient
    factor: Factor
    key: str
    kind: str
    observed: list[str]
    """The calls to the service whose durations were measured."""
    durations: list[float]
    """The seconds of these calls."""

    async def line(self, public: str | None = None, request_id: str = ID, **more: str) -> str:
        key_type, encoded = public_keys.of(public or self.key)
        fingerprint = public_key.parse(public or self.key).fingerprint
        fields = {"type": key_type, "key": encoded, "fingerprint": fingerprint, "request_id": request_id} | more
        return await self.factor.key_line(KeysQuestion.of(fields))

    async def ticket(self, public: str | None = None) -> str:
        found = re.search(r"--ticket ([\w-]+)\"", await self.line(public))
        assert found
        return found[1]

    async def report(
        self, ticket: str, kind: str | None = None, public: str | None = None, **more: str
    ) -> dict[str, str]:
        key_type, encoded = public_keys.of(public or self.key)
        fields = {"ticket": ticket, "key_type": key_type, "key": encoded, "client_ip": "192.0.2.7"} | more
        return await self.factor.answer_login(LOGIN_REQUESTS[kind or self.kind].of(fields))

    def close(self) -> None:
        self.factor.close()
        self.client.close()


def logged(events: io.StringIO, name: str = "") -> list[dict[str, Any]]:
    """Returns the events of this name, or all events."""
    found = [json.loads(line) for line in events.getvalue().splitlines()]
    return [event for event in found if name in ("", event["event"])]


def agent_of(
    server: IdentityServer,
    clock: Any,
    key: str,
    kind: str = "accept",
    ahead: timedelta = timedelta(),
    sleep: Callable[[float], None] = lambda _: None,
    **more: Any,
) -> Agent:
    """Returns an agent whose clock is `ahead` of the service's clock. `sleep` waits before a call is repeated."""
    settings = Config.model_validate(server.config(**more))
    client = IdentityClient(settings, sleep=sleep, now=lambda: datetime.now(UTC) + ahead)
    now: Callable[[], datetime] = lambda: clock.now() + ahead  # noqa: E731
    observed: list[str] = []
    durations: list[float] = []

    def observe(call: str, seconds: float) -> None:
        observed.append(call)
        durations.append(seconds)

    factor = Factor(client, SOCKET, observe, clock=clock, now=now)
    return Agent(client, factor, key, kind, observed, durations)
