"""Compares `sshaft host-api` and the agent behind it with motley_cue, and `sshaft ssh` with plain ssh.

Both services run on this machine, with the same provider, the same tokens and the same `ab`. `seen`: a token that was
verified before. `new`: each request has a token of its own, as the first request of a login has. Needs root.

    .venv/bin/python -m bench.comparisons.token_login [--requests 1000] [--tokens 60] [--logins 10] [--rounds 3]
"""

import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import requests

from bench.comparisons.host_pending import resident_mb
from bench.comparisons.report import Comparison, Table, table_of
from bench.load.motley_cue import motley_cue
from bench.load.token_trial import AUDIENCE, TokenProvider
from bench.progress import Figures, Measured, Rounds, run_alone
from sshaft_demo.host import HostSshd
from sshaft_demo.parts import Agent, HostApi, free_port
from sshaft_demo.place import CHECKOUT, Place

PEER, OURS, PLAIN, CLIENT = "motley_cue, 2 workers", "sshaft host-api and agent", "plain ssh", "sshaft ssh"
_BROWSER = ("issuer", "client_id", "allow")
Found = Mapping[str, Mapping[str, list[float]]]


@dataclass
class Trial:
    """Both services, and an sshd of ours. `pids` are the processes that a service has for requests."""

    provider: TokenProvider
    urls: Mapping[str, str]
    pids: Mapping[str, list[int]]
    sshd: HostSshd

    def verify(self, name: str, token: str) -> None:
        """Asks as the PAM module asks: on a connection of its own."""
        address = urlsplit(self._address(name))
        with closing(HTTPConnection(address.netloc, timeout=30)) as connection:
            connection.request("GET", f"{address.path}?{address.query}", headers={"Authorization": f"Bearer {token}"})
            answer = connection.getresponse().read()
        assert json.loads(answer) == {"state": "deployed", "verified": True}, answer

    def deploy(self, name: str, token: str) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        answer = requests.get(f"{self.urls[name]}/user/deploy", headers=headers, timeout=60)
        assert answer.json()["state"] == "deployed", answer.text

    def seen(self, name: str, token: str, count: int, at_once: int) -> tuple[float, float]:
        """Returns the requests in a second, and the milliseconds below which 95 of 100 stay."""
        header = f"Authorization: Bearer {token}"
        command = ["ab", "-q", "-n", str(count), "-c", str(at_once), "-H", header, self._address(name)]
        said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout
        assert "Non-2xx" not in said, said
        return _number(r"Requests per second: +([\d.]+)", said), _number(r" 95% +(\d+)", said)

    def new(self, name: str, count: int) -> list[float]:
        """Returns the milliseconds of each request, all with new tokens."""
        times = []
        for token in self.provider.tokens(count):
            began = time.perf_counter()
            self.verify(name, token)
            times.append((time.perf_counter() - began) * 1000)
        return times

    def memory(self, name: str) -> list[float]:
        """Returns the megabytes of each process that answers HTTP, and of the agent behind it."""
        return [resident_mb(pid) for pid in self.pids[name]]

    def log_in(self, name: str, folder: Path) -> float:
        """Returns the milliseconds of a login with a token that was seen before, until ssh has ended."""
        place, token = self.provider.place, folder / "token"
        plain = self.sshd.command(place.person, "true")
        askpass = folder / "askpass"
        askpass.write_text(f"#!/bin/sh\ncat {token}\n")
        askpass.chmod(0o700)
        own = [sys.executable, "-P", "-m", "sshaft", "ssh", "--token-file", token, "--endpoint", self.urls[OURS]]
        command = plain if name == PLAIN else [*map(str, own), *plain[1:-2], "127.0.0.1", "true"]
        environment = {"PATH": os.defpath, "PYTHONPATH": str(CHECKOUT), "HOME": str(folder)}
        environment |= {"SSH_ASKPASS": str(askpass), "SSH_ASKPASS_REQUIRE": "force"} if name == PLAIN else {}
        began = time.perf_counter()
        subprocess.run(["setsid", "-w", *command], check=True, capture_output=True, env=environment, timeout=60)
        return (time.perf_counter() - began) * 1000

    def _address(self, name: str) -> str:
        return f"{self.urls[name]}/verify_user?username={self.provider.place.person}"


def _number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    assert found, text
    return float(found[1])


@contextmanager
def trial() -> Iterator[Trial]:
    if os.geteuid() != 0:
        raise SystemExit("token needs root: motley_cue makes accounts, in its own copy of /etc")
    with Place() as place:
        provider = TokenProvider(place, free_port())
        one = {"issuer": provider.issuer, "audience": AUDIENCE, "allow": {"everyone": True},
               "ca_file": str(provider.authorities)}  # fmt: skip
        agent = Agent(place, provider.write_config(**dict.fromkeys(_BROWSER), tokens=[one]))
        api = HostApi(place, agent.runtime)
        folder = place.directory / "motley_cue"
        folder.mkdir()
        sshd = HostSshd(place, agent.runtime / "host" / "agent.sock", free_port(), "PubkeyAuthentication yes\n")
        with motley_cue(folder, provider.issuer, provider.authorities) as peer:
            urls = {PEER: peer.url, OURS: api.url}
            pids = {PEER: peer.workers(), OURS: [api.process.pid, agent.process.pid]}
            yield Trial(provider, urls, pids, sshd)


def run(requests: int = 1000, tokens: int = 60, logins: int = 10, rounds: int = 3) -> Rounds:
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with trial() as both:
        folder = both.provider.place.folder("person", mode=0o755)
        for number in range(rounds):
            (token,) = both.provider.tokens(1)
            (folder / "token").write_text(token)
            for name in both.urls:
                own = found[name]
                both.deploy(name, token)
                own["one"].append(both.seen(name, token, requests, 1)[0])
                eight, late = both.seen(name, token, requests, 8)
                own["eight"].append(eight)
                own["late"].append(late)
                own["new"] += both.new(name, tokens)
                own["memory"] = both.memory(name)
            for _ in range(logins):
                for name in (PLAIN, CLIENT):
                    found[name]["login"].append(both.log_in(name, folder))
            yield Measured(number + 1, rounds, summary(found))


def summary(found: Found) -> Figures:
    """Returns the best figures, which other work on the machine disturbs least; the medians of the new tokens."""
    figures: Figures = {}
    for name in (PEER, OURS):
        own, peer = found[name], found[PEER]
        new, peers = statistics.median(own["new"]), statistics.median(peer["new"])
        figures[name] = {
            "one": round(max(own["one"])),
            "eight": round(max(own["eight"])),
            "times_seen": round(max(own["eight"]) / max(peer["eight"]), 1), "late_ms": min(own["late"]),
            "new_ms": round(new, 1), "times_new": round(peers / new, 1),
            "memory_mb": " + ".join(str(round(each)) for each in own["memory"]),
        }  # fmt: skip
    for name in (PLAIN, CLIENT):
        login, limit = (min(found[each]["login"]) for each in (name, PLAIN))
        figures[name] = {"login_ms": round(login), "more_ms": round(login - limit)}
    return figures


def table(figures: Figures) -> Table:
    columns = {
        "one": "token seen before: requests/s",
        "eight": "8 at once: requests/s",
        "times_seen": "times as many",
        "late_ms": "p95, ms",
        "new_ms": "new token: p50, ms",
        "times_new": "times as fast",
        "memory_mb": "memory of each process, MB",
        "login_ms": "shortest login, ms",
        "more_ms": "more than plain ssh, ms",
    }
    return table_of("", columns, figures)


COMPARISON = Comparison(
    "questions of clients with access tokens, beside motley_cue; and what `sshaft ssh` adds to ssh",
    seconds=150,
    quick_seconds=60,
    whole=run,
    quick=lambda: run(100, 10, 3, 1),
    table=table,
)


if __name__ == "__main__":
    run_alone(run, __doc__)
