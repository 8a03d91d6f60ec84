"""The API inside the test, with a fake agent that gives one answer to each kind of question."""

import asyncio
import json
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fakes.unix_server import read_question

from sshaft import messages
from sshaft_host_api.app import App

ISSUER = "https://localhost:9443"
TOKEN = "header.payload.signature"


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass
class FakeAgent:
    """Answers by the kind of a question. `asked` has the questions."""

    path: Path
    answers: dict[str, tuple[str, dict[str, str]]] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def answer(self, connection: socket.socket) -> None:
        kind, fields = read_question(connection)
        self.asked.append((kind, fields))
        if kind in self.answers:
            connection.sendall(messages.encode(*self.answers[kind]))

    def says_user(self, state: str, **fields: str) -> None:
        who = {"name": "alice", "subject": "alice", "issuer": ISSUER} if state != "not_deployed" else {}
        self.answers["api_user"] = self.answers["api_admin"] = ("user", {"state": state, **who, **fields})

    def denies(self, status: str, **fields: str) -> None:
        for kind in ("api_authorisation", "api_user", "api_verify", "api_admin"):
            self.answers[kind] = ("denied", {"status": status, **fields})


@dataclass
class Api:
    """Sends requests to the application."""

    app: App
    agent: FakeAgent

    def get(self, path: str, token: str | None = TOKEN, **more: Any) -> Answer:
        headers = [] if token is None else [("authorization", f"Bearer {token}")]
        return self.request("GET", path, headers=headers, **more)

    def request(
        self, method: str, path: str, headers: list[tuple[str, str]] | None = None, client: str = "192.0.2.7"
    ) -> Answer:
        plain, _, query = path.partition("?")
        scope = {
            "type": "http", "method": method, "path": plain, "query_string": query.encode("latin-1"),
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers or []],
            "client": (client, 4711) if client else None,
        }  # fmt: skip
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request"}

        async def send(message: Any) -> None:
            sent.append(message)

        async def answer() -> None:
            await self.app(scope, receive, send)
            self.app.agent.close()

        asyncio.run(answer())
        start, *bodies = sent
        text = b"".join(each.get("body", b"") for each in bodies).decode()
        return Answer(start["status"], {name.decode(): value.decode() for name, value in start["headers"]}, text)


INFO = {
    "login_info": {
        "description": "Local SSH Test Service",
        "login_help": "Login via `mccli ssh {ssh_host}`.",
        "ssh_host": "localhost",
    },
    "providers": [
        {"issuer": ISSUER, "scopes": ["openid", "profile"], "audience": ""},
        {"issuer": "https://localhost:4593/api/oidc", "scopes": ["openid"], "audience": ["a", "b"]},
    ],
}
