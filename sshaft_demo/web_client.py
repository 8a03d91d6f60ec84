"""Uses `sshaft web` as a browser and its page do, without a screen: HTTP with cookies, and the WebSocket."""

import json
import re
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Any, Self
from urllib.parse import urljoin

import requests
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from sshaft_demo.place import StartError

SECONDS = 30.0
_TOLD_BYTES = 64 * 1024
"""The page tells the server after so many bytes what it has shown."""


@dataclass
class WebBrowser:
    """A browser at `sshaft web`, in which a person signs in. It keeps cookies, and sends the origin of `url`."""

    url: str
    http: requests.Session = field(default_factory=requests.Session)

    def __post_init__(self) -> None:
        self.http.trust_env = False

    def sign_in(self, user: str) -> Self:
        """Signs in at the throwaway provider, as a person does at its page. Raises `StartError`."""
        to_provider = self.http.get(f"{self.url}/sign-in", allow_redirects=False, timeout=SECONDS)
        form = {"user": user}
        back = self.http.post(to_provider.headers["Location"], data=form, allow_redirects=False, timeout=SECONDS)
        done = self.http.get(back.headers["Location"], allow_redirects=False, timeout=SECONDS)
        if (done.status_code, done.headers.get("Location")) != (303, "/"):
            raise StartError(f"{user} is not signed in: {done.status_code} {done.text[:500]}")
        return self

    def post(self, path: str, message: object = None, origin: str | None = None) -> requests.Response:
        headers = {"Origin": self.url if origin is None else origin}
        address = urljoin(self.url, path)
        return self.http.post(address, json=message, headers=headers, timeout=SECONDS, allow_redirects=False)

    def open(self, target: str = "host", **more: Any) -> str:
        """Returns the id of a new terminal. Raises `StartError`."""
        answer = self.post("/api/terminals", {"target": target, **more})
        if answer.status_code != 201:
            raise StartError(f"no terminal: {answer.status_code} {answer.text[:500]}")
        return str(answer.json()["id"])

    def terminals(self) -> list[dict[str, Any]]:
        answer = self.http.get(f"{self.url}/api/terminals", timeout=SECONDS).json()
        found: list[dict[str, Any]] = answer["terminals"]
        return found

    def attach(self, terminal: str, offset: int = 0) -> "TerminalPage":
        return TerminalPage(self.socket(terminal, offset))

    def socket(
        self, terminal: str, offset: int = 0, origin: str | None = None, ssl: SSLContext | None = None
    ) -> ClientConnection:
        """Returns the WebSocket of a terminal. `origin` is another one; an empty text: none."""
        url = f"{self.url.replace('http', 'ws', 1)}/terminals/{terminal}/socket?from={offset}"
        headers = {"Cookie": "; ".join(f"{each.name}={each.value}" for each in self.http.cookies)}
        if origin != "":
            headers["Origin"] = origin or self.url
        opening = connect(url, additional_headers=headers, ssl=ssl, compression=None, proxy=None, max_size=None)
        return ExitStack().enter_context(opening)  # without a context, websockets warns


@dataclass
class TerminalPage:
    """The page of one terminal. It says what it has seen, as xterm.js does, unless `is_blind`."""

    socket: ClientConnection
    is_blind: bool = False
    said: bytes = b""
    """What the terminal has written and nobody has waited for."""
    end: int = 0
    news: list[dict[str, Any]] = field(default_factory=list)
    closed: int | None = None
    """The code with which the server has closed the WebSocket."""
    _told: int = 0

    @property
    def state(self) -> str:
        return next((str(each["state"]) for each in reversed(self.news) if each["type"] == "state"), "")

    def type(self, keys: str | bytes) -> None:
        self.socket.send(keys.encode() if isinstance(keys, str) else keys)

    def send(self, **message: Any) -> None:
        self.socket.send(json.dumps(message))

    def wait_for(self, text: str, seconds: float = SECONDS) -> str:
        """Returns what the terminal writes until `text`. Raises `StartError` if it does not come."""
        wanted = text.encode()
        while wanted not in self.said:
            self._read_or_fail(seconds, repr(text))
        end = self.said.index(wanted) + len(wanted)
        found, self.said = self.said[:end], self.said[end:]
        return found.decode(errors="replace")

    def wait_until(self, state: str, seconds: float = SECONDS) -> dict[str, Any]:
        """Returns the news of this state. Raises `StartError` if it does not come."""
        while self.state != state:
            self._read_or_fail(seconds, f"the state {state}")
        return [each for each in self.news if each["type"] == "state"][-1]

    def wait_for_end(self, seconds: float = SECONDS) -> int | None:
        """Returns the code with which the server closes the WebSocket."""
        while self.read(seconds):
            pass
        return self.closed

    def read(self, seconds: float = SECONDS) -> bool:
        """Takes one message. Returns False if the WebSocket is closed. Raises `TimeoutError`."""
        try:
            message = self.socket.recv(seconds)
        except ConnectionClosed as error:
            self.closed = error.rcvd.code if error.rcvd else None
            return False
        if isinstance(message, bytes):
            self.said += message
            self.end += len(message)
            if not self.is_blind and self.end - self._told >= _TOLD_BYTES:
                self._told = self.end
                with suppress(ConnectionClosed):  # the next call of recv says so
                    self.send(type="seen", offset=self.end)
        else:
            self._take(json.loads(message))
        return True

    def _take(self, message: dict[str, Any]) -> None:
        self.news.append(message)
        if message["type"] == "offset":
            self.end = self._told = message["offset"]

    def _read_or_fail(self, seconds: float, what: str) -> None:
        try:
            if self.read(seconds):
                return
            why = f"closed with {self.closed}"
        except TimeoutError:
            why = f"silent for {seconds:g} s"
        said = re.sub(rb"[^ -~\n]", b"?", self.said[-2000:]).decode()
        raise StartError(f"the terminal does not show {what}: {why}, {self.news[-3:]} {said}")

    def read_until_quiet(self, seconds: float) -> None:
        """Takes messages until none comes for so long."""
        with suppress(TimeoutError):
            while self.read(seconds):
                pass

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
