"""Uses `sshaft web` as its page does: signs in, opens a terminal, types, and reads what comes back."""

import json
import re
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any, Self
from urllib.parse import urlsplit

import requests
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from sshaft_demo.place import StartError

_SECONDS = 30.0
_ACKNOWLEDGE = 64 * 1024
"""The page tells the server after so many bytes what it has shown."""


class WebClient:
    """A browser without a screen. It keeps the cookies of `url`, and sends its own origin."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["Origin"] = url

    def sign_in(self, user: str) -> None:
        """Signs a person in at the throwaway provider. Raises `StartError` if the page shows nobody."""
        page = self._session.get(f"{self.url}/sign-in", timeout=_SECONDS)  # leads to the page of the provider
        done = self._session.post(page.url, data={"user": user}, timeout=_SECONDS)
        if done.status_code != 200 or not self._session.cookies:
            raise StartError(f"{user} is not signed in: {done.url.partition('?')[0]} answered {done.status_code}")

    def open(self, target: str, columns: int = 80, rows: int = 24, **more: Any) -> "WebTerminal":
        """Opens a terminal on a host, and connects to it."""
        wish = {"target": target, "columns": columns, "rows": rows, **more}
        answer = self._session.post(f"{self.url}/api/terminals", json=wish, timeout=_SECONDS)
        if answer.status_code != 201:
            raise StartError(f"no terminal: {answer.status_code} {answer.text[:500]}")
        return WebTerminal(self, answer.json()["id"])

    def cookie(self) -> str:
        return "; ".join(f"{each.name}={each.value}" for each in self._session.cookies)


class WebTerminal:
    """A terminal in a page. `state` is the last state that the server has told."""

    def __init__(self, client: WebClient, terminal_id: str) -> None:
        self.id = terminal_id
        self.state: dict[str, Any] = {}
        self.shown = bytearray()
        """What has come and was not read yet."""
        self._offset = self._told = 0
        url = f"ws://{urlsplit(client.url).netloc}/terminals/{terminal_id}/socket?from=0"
        headers = {"Cookie": client.cookie(), "Origin": client.url}
        self._open = ExitStack()
        self._socket = self._open.enter_context(
            connect(url, additional_headers=headers, max_size=None, compression=None, proxy=None)
        )

    def type(self, data: bytes) -> None:
        self._socket.send(data)

    def wait_for(self, text: bytes, seconds: float = _SECONDS) -> bytes:
        """Returns what is shown until `text`. Raises `StartError` if it does not come."""
        self._read_until(lambda: text in self.shown, seconds, repr(text))
        end = self.shown.index(text) + len(text)
        found, self.shown = bytes(self.shown[:end]), self.shown[end:]
        return found

    def wait_until(self, state: str, seconds: float = _SECONDS) -> None:
        """Waits until the server says that the terminal has this state."""
        self._read_until(lambda: self.state.get("state") == state, seconds, f"the state {state}")

    def wait_for_end(self, seconds: float = _SECONDS) -> int:
        """Waits until the server closes the connection. Returns the code."""
        try:
            self._read_until(lambda: False, seconds, "the end")
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else 0
        return 0

    def read(self, seconds: float) -> int:
        """Takes what comes within this time, at least one message. Returns its length, without the text messages."""
        message = self._socket.recv(timeout=seconds)
        if isinstance(message, str):
            self._take(json.loads(message))
            return 0
        self.shown += message
        self._offset += len(message)
        if self._offset - self._told >= _ACKNOWLEDGE:
            self._told = self._offset
            with suppress(ConnectionClosed):  # this may have been the last output; the next call says so
                self._socket.send(json.dumps({"type": "seen", "offset": self._offset}))
        return len(message)

    def _take(self, message: dict[str, Any]) -> None:
        if message.get("type") == "state":
            self.state = message
        elif message.get("type") == "offset":
            self._offset = self._told = message["offset"]

    def _read_until(self, is_there: Callable[[], bool], seconds: float, what: str) -> None:
        end = time.monotonic() + seconds
        while not is_there():
            try:
                self.read(max(0.0, end - time.monotonic()))
            except TimeoutError:
                shown = re.sub(rb"[^ -~\n]", b"?", bytes(self.shown[-2000:])).decode()
                raise StartError(f"the terminal does not show {what}: {self.state} {shown}") from None

    def close(self) -> None:
        self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
