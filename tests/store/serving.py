"""Starts `sshaft identity serve` as processes, several on one database."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

GENEROUS = 30.0


@dataclass
class Serving:
    directory: Path
    url: str
    log: Path
    process: subprocess.Popen[bytes]
    secret: str = ""
    tokens: dict[str, str] = field(default_factory=dict)

    def token(self) -> str:
        form = {"grant_type": "client_credentials", "client_id": "test", "client_secret": self.secret}
        return str(requests.post(f"{self.url}/oauth2/token", data=form, timeout=40).json()["access_token"])

    def post(self, path: str, body: dict[str, Any], token: str) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return requests.post(self.url + path, json=body, headers=headers, timeout=40)

    def open(self, token: str, user: str = "alice") -> dict[str, str]:
        answer = self.post("/api/v1/challenges", {"user": user}, token)
        assert answer.status_code == 201, answer.text
        opened: dict[str, str] = answer.json()
        return opened

    def accept(self, opened: dict[str, str], token: str) -> requests.Response:
        body = {"user": "alice", "challenge": opened["id"], "code": opened["code"]}
        return self.post("/api/v1/mfa/ssh/accept", body, token)

    def page_state(self, opened: dict[str, str], wait: int = 0) -> str:
        page = opened["page_url"].rpartition("/")[2]
        answer = requests.get(f"{self.url}/challenge/{page}/state", params={"wait": wait}, timeout=40)
        return str(answer.json()["state"])

    def health(self) -> requests.Response:
        return requests.get(f"{self.url}/readyz", timeout=40)

    def events(self, name: str) -> list[dict[str, Any]]:
        events = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [event for event in events if event["event"] == name]


def command(directory: Path, *arguments: str) -> str:
    line = [sys.executable, "-m", "sshaft", "identity", "--directory", str(directory), *arguments]
    done = subprocess.run(line, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def set_up(directory: Path, url: str) -> str:
    """Sets up a directory for the database at `url`, with alice and a client. Returns the secret of the client."""
    command(directory, "init", "--listen", "127.0.0.1:0", "--database", url)
    command(directory, "user", "add", "alice")
    scopes = ("--scope", "mfa:list", "--scope", "mfa:accept", "--scope", "challenges")
    return str(json.loads(command(directory, "client", "add", "test", "--json", *scopes))["client_secret"])


def another_host(directory: Path, name: str) -> Path:
    """Returns the directory of a second host, as documented: with the same identity.json and hmac.key."""
    return Path(shutil.copytree(directory, directory.with_name(name), ignore=shutil.ignore_patterns("identity.db*")))


@contextmanager
def serving(directory: Path, secret: str) -> Iterator[Serving]:
    log = directory / "log"
    line = [sys.executable, "-m", "sshaft", "identity", "--directory", str(directory), "serve"]
    with log.open("wb") as stderr, subprocess.Popen(line, stderr=stderr) as process:
        try:
            service = Serving(directory, "", log, process, secret)
            until(lambda: process.poll() is not None or service.events("identity.ready"))
            assert process.poll() is None, log.read_text()
            service.url = service.events("identity.ready")[0]["address"]
            yield service
        finally:
            process.terminate()
            process.wait(60)


def until(met: Callable[[], object]) -> None:
    deadline = time.monotonic() + GENEROUS
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.05)
