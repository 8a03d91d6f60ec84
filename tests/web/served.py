"""Drives the service for the browser tests, by its commands and over HTTP."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests


@dataclass(frozen=True)
class Identity:
    """The running service, with a client of every scope."""

    directory: Path
    url: str
    secret: str
    fingerprint: str

    def run(self, *arguments: str) -> str:
        return command(self.directory, *arguments)

    def open(self, *options: str) -> dict[str, str]:
        opened: dict[str, str] = json.loads(self.run("challenge", "open", "alice", "--json", *options))
        return opened | {"page_url": self.url + opened["page_url"][opened["page_url"].index("/challenge/") :]}

    def open_from(self, return_url: str) -> dict[str, str]:
        """Opens a challenge with a return URL."""
        answer = self.post("/api/v1/challenges", {"app": "Webmail", "return_url": return_url})
        assert answer.status_code == 201, answer.text
        opened: dict[str, str] = answer.json()
        return opened | {"page_url": self.url + opened["page_url"][opened["page_url"].index("/challenge/") :]}

    def accept(self, opened: dict[str, str], code: str | None = None) -> requests.Response:
        body = {"challenge": opened["id"], "code": code or opened["code"], "fingerprint": self.fingerprint}
        return self.post("/api/v1/mfa/ssh/accept", body)

    def post(self, path: str, body: dict[str, Any]) -> requests.Response:
        form = {"grant_type": "client_credentials", "client_id": "test", "client_secret": self.secret}
        token = requests.post(f"{self.url}/oauth2/token", data=form, timeout=20).json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        return requests.post(self.url + path, json={"user": "alice"} | body, headers=headers, timeout=20)


@contextmanager
def serving(directory: Path, fingerprint: str) -> Iterator[Identity]:
    """Runs `sshaft identity serve` with a new client of every scope."""
    scopes = ("--scope", "mfa:list", "--scope", "mfa:accept", "--scope", "challenges")
    added = command(directory, "client", "add", "test", "--json", "--return-url", "http://127.0.0.1", *scopes)
    with running(directory) as address:
        yield Identity(directory, address, json.loads(added)["client_secret"], fingerprint)


@contextmanager
def running(directory: Path) -> Iterator[str]:
    """Runs `sshaft identity serve`, and yields its address."""
    line = [sys.executable, "-m", "sshaft", "identity", "--directory", str(directory), "serve"]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        log = threading.Thread(target=process.stderr.read)  # a full pipe would stop the service
        try:
            ready = json.loads(process.stderr.readline())
            log.start()
            assert ready["event"] == "identity.ready"
            yield str(ready["address"])
        finally:
            process.terminate()
            process.wait(10)
            if log.ident is not None:
                log.join()


def command(directory: Path, *arguments: str) -> str:
    line = [sys.executable, "-m", "sshaft", "identity", "--directory", str(directory), *arguments]
    return subprocess.run(line, check=True, capture_output=True, text=True, timeout=30).stdout
