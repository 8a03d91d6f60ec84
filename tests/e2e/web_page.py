"""A browser and the page of a terminal, without a screen: HTTP with cookies, and the WebSocket."""

import json
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Any, Self
from urllib.parse import urljoin

import requests
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect


@dataclass
class WebBrowser:
    """A browser at `sshaft web`, in which a person signs in."""

    url: str
    http: requests.Session = field(default_factory=requests.Session)

    def __post_init__(self) -> None:
        self.http.trust_env = False

    def sign_in(self, user: str) -> Self:
        """Signs in at the throwaway provider, as a person does at its page."""
        to_provider = self.http.get(f"{self.url}/sign-in", allow_redirects=False, timeout=10)
        back = self.http.post(to_provider.headers["Location"], data={"user": user}, allow_redirects=False, timeout=10)
        done = self.http.get(back.headers["Location"], allow_redirects=False, timeout=10)
        assert (done.status_code, done.headers["Location"]) == (303, "/"), done.text
        return self

    def post(self, path: str, message: object = None, origin: str | None = None) -> requests.Response:
        headers = {"Origin": self.url if origin is None else origin}
        return self.http.post(urljoin(self.url, path), json=message, headers=headers, timeout=10, allow_redirects=False)

    def open(self, target: str = "host", **more: Any) -> str:
        """Returns the id of a new terminal."""
        answer = self.post("/api/terminals", {"target": target, **more})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def terminals(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.http.get(f"{self.url}/api/terminals", timeout=10).json()["terminals"]
        return found

    def attach(self, terminal: str, offset: int = 0) -> "TerminalPage":
        return TerminalPage(self.socket(terminal, offset))

    def socket(
        self, terminal: str, offset: int = 0, origin: str | None = None, ssl: SSLContext | None = None
    ) -> ClientConnection:
        url = f"{self.url.replace('http', 'ws', 1)}/terminals/{terminal}/socket?from={offset}"
        cookies = "; ".join(f"{each.name}={each.value}" for each in self.http.cookies)
        opening = connect(
            url, origin=self.url if origin is None else origin, additional_headers={"Cookie": cookies}, ssl=ssl,
            compression=None, proxy=None, max_size=None,
        )  # type: ignore[arg-type] # fmt: skip
        return ExitStack().enter_context(opening)


@dataclass
class TerminalPage:
    """The page of one terminal. It says what it has seen, as xterm.js does, unless `is_blind`."""

    socket: ClientConnection
    is_blind: bool = False
    said: bytes = b""
    end: int = 0
    news: list[dict[str, Any]] = field(default_factory=list)
    closed: int | None = None

    @property
    def state(self) -> str:
        return next((str(each["state"]) for each in reversed(self.news) if each["type"] == "state"), "")

    def type(self, keys: str | bytes) -> None:
        self.socket.send(keys.encode() if isinstance(keys, str) else keys)

    def send(self, **message: Any) -> None:
        self.socket.send(json.dumps(message))

    def wait_for(self, text: str, seconds: float = 30) -> str:
        """Returns what the terminal has written since the last call, until `text`, or until the WebSocket closes."""
        while text.encode() not in self.said and self.read(seconds):
            pass
        said, self.said = self.said, b""
        return said.decode(errors="replace")

    def wait_until(self, state: str, seconds: float = 30) -> dict[str, Any]:
        """Returns the news of this state."""
        while self.state != state and self.read(seconds):
            pass
        assert self.state == state, (self.news, self.said, self.closed)
        return [each for each in self.news if each["type"] == "state"][-1]

    def wait_for_end(self, seconds: float = 30) -> int | None:
        """Returns the code with which the server closes the WebSocket."""
        while self.read(seconds):
            pass
        return self.closed

    def read(self, seconds: float = 30) -> bool:
        """Takes one message. Returns False if the WebSocket is closed."""
        try:
            message = self.socket.recv(seconds)
        except ConnectionClosed as error:
            self.closed = error.rcvd.code if error.rcvd else None
            return False
        if isinstance(message, bytes):
            self.said += message
            self.end += len(message)
            if not self.is_blind:
                with suppress(ConnectionClosed):  # the next call of recv says so
                    self.send(type="seen", offset=self.end)
        else:
            self.news.append(json.loads(message))
            if self.news[-1]["type"] == "offset":
                self.end = self.news[-1]["offset"]
        return True

    def read_until_quiet(self, seconds: float) -> None:
        """Takes messages until none comes for so long."""
        with suppress(TimeoutError):
            while self.read(seconds):
                pass

    def close(self) -> None:
        self.socket.close()
