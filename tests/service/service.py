"""Runs the identity service inside the test, on a real database and a real socket, with a clock of the test."""

import asyncio
import dataclasses
import io
import json
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import requests
import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Scope_

from sshaft.http_server.server import listen, quiet_uvicorn
from sshaft.public_key import parse
from sshaft_identity.challenges.codes import Codes
from sshaft_identity.clients.clients import Client, Scope
from sshaft_identity.database.tables import audit_events
from sshaft_identity.service import background
from sshaft_identity.service.app import create_app
from sshaft_identity.settings import Settings
from sshaft_identity.store import Store
from sshaft_identity.web.refused_requests import record_counts

START = datetime(2026, 11, 22, 12, tzinfo=UTC)
SETTINGS = Settings(public_url="https://id.example.org", ssh_host="login.example.org")


@dataclass
class Clock:
    now: datetime = START

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> datetime:
        self.now += timedelta(seconds=seconds)
        return self.now


def new_store(directory: Path) -> Store:
    """Opens a store on a real SQLite file. The migrations run once, because they take longer than most tests."""
    path = directory / "identity.db"
    if not path.exists():
        path.write_bytes(_empty_database())
    return Store(f"sqlite:///{path}", Codes(b"k" * 32))


@cache
def _empty_database() -> bytes:
    """Returns the content of a file with all tables and no rows."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "identity.db"
        migrated(f"sqlite:///{path}").close()
        return path.read_bytes()


def migrated(url: str) -> Store:
    store = Store(url, Codes(b"k" * 32))
    store.database.migrate()
    return store


@dataclass
class Service:
    """Calls the service as a client with every scope, and has the calls that tests need most."""

    url: str
    store: Store
    clock: Clock
    log: io.StringIO
    secret: str = ""
    tokens: dict[tuple[str, str], tuple[str, datetime]] = field(default_factory=dict)
    session: requests.Session = field(default_factory=requests.Session)
    app: Starlette | None = None

    def replace(self, **parts: Any) -> None:
        """Replaces parts of the application's state."""
        assert self.app
        self.app.state.sshaft = dataclasses.replace(self.app.state.sshaft, **parts)

    def token(self, scope: str, client_id: str = "test") -> str:
        """Returns a new access token. It expires by the clock of the test."""
        client = next(each for each in self.store.clients.all() if each.client_id == client_id)
        token = self.store.access_tokens.issue(client, [scope], self.clock())
        assert token
        return token

    def bearer(self, scope: str, client_id: str = "test") -> dict[str, str]:
        """Returns the header with an access token of the client. The client is added if it is missing."""
        if client_id not in {each.client_id for each in self.store.clients.all()}:
            self.store.clients.add(Client(client_id, frozenset([Scope.CHALLENGES]), allows_unbound=True), self.clock())
        token, issued_at = self.tokens.get((scope, client_id), ("", self.clock()))
        if not token or abs(self.clock() - issued_at) > timedelta(minutes=1):  # the test moves the clock
            token, issued_at = self.token(scope, client_id), self.clock()
            self.tokens[scope, client_id] = token, issued_at
        return {"Authorization": f"Bearer {token}"}

    def call(self, method: str, path: str, scope: str | None = None, **more: Any) -> requests.Response:
        headers = more.pop("headers", {})
        if scope is not None:
            headers = self.bearer(scope) | headers
        return self.session.request(method, self.url + path, headers=headers, timeout=40, **more)

    def open(self, user: str | None = "alice", by: str = "test", **more: Any) -> dict[str, str]:
        named = {} if user is None else {"user": user}
        headers = self.bearer(Scope.CHALLENGES, by)
        answer = self.call("POST", "/api/v1/challenges", json=named | more, headers=headers)
        assert answer.status_code == 201, answer.text
        opened: dict[str, str] = answer.json()
        return opened

    def accept(self, user: str = "alice", attempt: str | None = None, **body: Any) -> requests.Response:
        headers = {} if attempt is None else {"Idempotency-Key": attempt}
        body = {"user": user} | {name: value for name, value in body.items() if value is not None}
        return self.call("POST", "/api/v1/mfa/ssh/accept", Scope.ACCEPT, json=body, headers=headers)

    def reject(self, **body: Any) -> requests.Response:
        return self.call("POST", "/api/v1/mfa/ssh/reject", Scope.ACCEPT, json={"user": "alice"} | body)

    def keys(self, fingerprint: str | None = None) -> Any:
        params = {} if fingerprint is None else {"fingerprint": fingerprint}
        answer = self.call("GET", "/api/v1/mfa/ssh/keys", Scope.LIST, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def show(self, challenge: str, wait: int = 0, by: str = "test") -> dict[str, Any]:
        headers = self.bearer(Scope.CHALLENGES, by)
        answer = self.call("GET", f"/api/v1/challenges/{challenge}", params={"wait": wait}, headers=headers)
        assert answer.status_code == 200, answer.text
        shown: dict[str, Any] = answer.json()
        return shown

    def add_user(self, name: str, *keys: str) -> list[str]:
        """Adds a user with keys, and returns the fingerprints of the keys."""
        self.store.users.add(name, self.clock())
        parsed = [parse(key) for key in keys]
        self.store.keys.add(name, [(key, "") for key in parsed], self.clock())
        return [key.fingerprint for key in parsed]

    def audited(self, event: str) -> list[dict[str, Any]]:
        """Returns the facts of each such event in the audit log, with its user."""
        query = audit_events.select().where(audit_events.c.event == event).order_by(audit_events.c.id)
        with self.store.database.read() as connection:
            return [json.loads(row.facts) | {"user": row.user_name} for row in connection.execute(query)]

    def refusals(self) -> list[dict[str, Any]]:
        """Returns the facts of each refused request, also of those that have become one event with a count."""
        assert self.app
        record_counts(self.app.state.sshaft)
        return [each for each in self.audited("request.refused") for _ in range(each.get("count", 1))]

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log.getvalue().splitlines()]
        return [event for event in lines if event["event"] == name]


def wrong(code: str, by: int = 1) -> str:
    """Returns another code."""
    digits = code.replace("-", "")
    return f"{(int(digits) + by) % 10 ** len(digits):0{len(digits)}}"


class Socket:
    """One listening server for a whole test run: starting and ending one takes longer than most tests. `app` is what
    it serves now."""

    app: ASGIApp
    loop: asyncio.AbstractEventLoop

    async def __call__(self, scope: Scope_, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)

    @contextmanager
    def listening(self) -> Iterator[str]:
        """Starts the server, and yields its address."""
        quiet_uvicorn()
        config = uvicorn.Config(
            self, log_config=None, access_log=False, server_header=False, proxy_headers=False, lifespan="off", ws="none"
        )
        server = uvicorn.Server(config)
        with listen("127.0.0.1", 0) as listening:
            self.loop = asyncio.new_event_loop()
            thread = threading.Thread(target=self._serve, args=(server, listening))
            thread.start()
            try:
                yield f"http://127.0.0.1:{listening.getsockname()[1]}"
            finally:
                server.should_exit = True
                thread.join()

    def _serve(self, server: uvicorn.Server, listening: socket.socket) -> None:
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            runner.run(server.serve(sockets=[listening]))

    @contextmanager
    def hearing(self, app: Starlette) -> Iterator[None]:
        """Lets the service follow the changes of other processes, as in `serve`."""
        over, state = asyncio.Event(), app.state.sshaft

        async def hear() -> None:
            task = asyncio.create_task(background.follow_changes(state.store.database, state.changes))
            await over.wait()
            task.cancel()
            await asyncio.wait([task])

        heard = asyncio.run_coroutine_threadsafe(hear(), self.loop)
        try:
            deadline = time.monotonic() + 30
            while not state.changes.has_source:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            yield
        finally:
            self.loop.call_soon_threadsafe(over.set)
            heard.result()


@contextmanager
def running(
    on: Socket, url: str, store: Store, clock: Clock, log: io.StringIO, settings: Settings = SETTINGS
) -> Iterator[Service]:
    on.app = app = create_app(store, settings, clock)
    service = Service(
        url, store, clock, log, store.clients.add(Client("test", frozenset(list(Scope))), clock()), app=app
    )
    with service.session:
        yield service
