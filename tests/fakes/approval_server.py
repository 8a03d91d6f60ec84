"""Serves approvals on loopback as the identity service does. A test answers the page by its methods."""

import json
import secrets
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from fakes.identity_server import CLIENT_ID, Call, IdentityServer, Reply, reply_json

TRIES = 3


@dataclass
class Approval:
    """One request of a host, and the state of its page. `outcome` is what the host says of its ssh."""

    wish: dict[str, Any]
    id: str = field(default_factory=lambda: secrets.token_urlsafe(8))
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    state: str = "pending"
    digits: str = field(default_factory=lambda: f"{secrets.randbelow(10**6):06}")
    tries_left: int = TRIES
    outcome: str = ""


class ApprovalServer(IdentityServer):
    """`verified` are members that replace those of the answer about the person.

    `reports` are those of the host. `end_remembered` ends what the host remembers with its next report.
    """

    def __init__(self) -> None:
        self.approvals: list[Approval] = []
        self.verified: dict[str, Any] = {}
        self.interval = 0.1
        self.reports: list[dict[str, Any]] = []
        self.end_remembered = False
        self._news = threading.Condition()
        super().__init__()

    def settings(self, **changes: Any) -> dict[str, Any]:
        """Returns `host_login.approval` for this service."""
        return {"url": self.url, "client_id": CLIENT_ID, "client_secret": "s3cret",
                "allow": {"everyone": True}} | changes  # fmt: skip

    def approve(self, number: int = -1) -> str:
        """Returns the digits that the page shows after the approval."""
        self.set_state("approved", number)
        return self.approvals[number].digits

    def set_state(self, state: str, number: int = -1) -> None:
        with self._news:
            self.approvals[number].state = state
            self._news.notify_all()

    def wait_for_outcome(self, number: int = -1, seconds: float = 10) -> str:
        """Returns what the host has said of its ssh, or an empty text if it says nothing in time."""
        with self._news:
            self._news.wait_for(lambda: self.approvals and self.approvals[number].outcome, seconds)
            return self.approvals[number].outcome

    def _chosen(self, call: Call) -> Reply:
        if call.path in self.replies:
            return super()._chosen(call)
        if call.path == "/oauth2/token":
            expected = {"grant_type": "client_credentials", "scope": "approvals"}
            return self.new_token() if call.form == expected else reply_json({"error": "invalid_scope"}, 400)
        return self._approvals(call) if self._authorized(call) else reply_json({"error": "invalid_token"}, 401)

    def _approvals(self, call: Call) -> Reply:
        if call.path == "/api/v1/approvals":
            return self._open(call)
        if call.path == "/api/v1/approvals/report":
            return self._report(call)
        _, _, rest = call.path.partition("/api/v1/approvals/")
        name, _, action = rest.partition("/")
        approval = next((each for each in self.approvals if each.id == name), None)
        if approval is None:
            return reply_json({"error": "not_found"}, 404)
        if action in self.replies:
            call.path = action
            return super()._chosen(call)
        return {"": self._state, "verify": self._verify, "end": self._end}[action](call, approval)

    def open_slowly(self, until: threading.Event) -> None:
        """Answers the next requests for an approval after the event alone."""

        def wait(call: Call) -> Reply:
            reply = self._open(call)

            def write(connection: socket.socket) -> None:
                until.wait(10)
                connection.sendall(_http("201 Created", reply.body))

            return Reply(write=write)

        self.replies["/api/v1/approvals"] = wait

    def _open(self, call: Call) -> Reply:
        approval = Approval(call.json)
        self.approvals.append(approval)
        page = f"{self.url}/approve/{approval.secret}"
        opened = {"id": approval.id, "page": page, "expires_in": call.json["seconds"], "interval": self.interval}
        return reply_json(opened, 201)

    def _report(self, call: Call) -> Reply:
        with self._news:
            self.reports.append(call.json)
            self._news.notify_all()
        ended = [each["id"] for each in call.json["remembered"]] if self.end_remembered else []
        return reply_json({"ended": {"remembered": ended, "sessions": []}})

    def wait_for_report(self, remembered: int, seconds: float = 10) -> list[dict[str, Any]]:
        """Returns what the newest report says is remembered, as soon as it has so many entries."""
        with self._news:
            self._news.wait_for(lambda: self.reports and len(self.reports[-1]["remembered"]) == remembered, seconds)
            found: list[dict[str, Any]] = self.reports[-1]["remembered"] if self.reports else []
        assert len(found) == remembered
        return found

    def _state(self, call: Call, approval: Approval) -> Reply:
        """Answers at once, or as soon as the state is no longer `pending`, if the call asks for that."""
        seconds = int(call.query.get("wait", ["0"])[0])

        def wait(connection: socket.socket) -> None:
            with self._news:
                self._news.wait_for(lambda: approval.state != "pending", seconds)
            body = json.dumps({"state": approval.state, "expires_in": 100}).encode()
            connection.sendall(_http("200 OK", body))

        return Reply(write=wait)

    def _verify(self, call: Call, approval: Approval) -> Reply:
        if approval.state != "approved":
            return reply_json({"error": "not_approved", "state": approval.state}, 409)
        if call.json["code"] != approval.digits:
            approval.tries_left -= 1
            approval.state = "approved" if approval.tries_left else "ended"
            return reply_json({"error": "invalid_code", "tries_left": approval.tries_left}, 400)
        approval.state = "passed"
        user = approval.wish["user"]
        answer = {"sub": f"id-of-{user}", "user": user, "iss": self.url, "amr": ["pwd"], "acr": None,
                  "auth_time": int(time.time()), "approved_at": "2026-01-01T00:00:00Z"} | self.verified  # fmt: skip
        return reply_json(answer)

    def _end(self, call: Call, approval: Approval) -> Reply:
        with self._news:
            approval.outcome = call.json["outcome"]
            if approval.state in ("pending", "approved"):
                approval.state = "ended"
            self._news.notify_all()
        return Reply(204)


def _http(status: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Connection: close\r\n\r\n".encode() + body
