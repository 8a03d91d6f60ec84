"""Attacks the service and the agent, and lets a person log in meanwhile: memory, descriptors and logins are counted.

    .venv/bin/python -m bench.load.attackers [--connections 5000] [--logins 5] [NAME...]

Each attacker works until the logins have ended, and replaces the connections that it loses. The service, the
agent, sshd and ssh are the real programs. It prints one line of JSON for each attacker.
"""

import argparse
import json
import resource
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from bench.load.trial import Trial, log_in, trial
from sshaft_demo.parts import Agent, Sshd, free_port

PAUSE = 0.5
AGAIN_PER_SECOND = 200
"""An attacker makes so many new connections for lost ones. More would only compete for the two cores."""
GET = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n"
FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"


@dataclass
class Scene:
    """The parts that are attacked, and the number of connections of an attacker."""

    site: Trial
    agent: Agent
    sshd: Sshd
    connections: int
    is_over: threading.Event = field(default_factory=threading.Event)

    def keep_connections(self, first: bytes, more: bytes = b"") -> None:
        """Keeps so many connections to the identity service. Each sends `first`, then `more` again and again."""
        held: list[socket.socket] = [self._connect(first) for _ in range(self.connections)]
        while not self.is_over.wait(PAUSE):
            lost = [each for each in held if _is_closed(each) or not _send(each, more)]
            for connection in lost[: int(AGAIN_PER_SECOND * PAUSE)]:
                connection.close()
                held[held.index(connection)] = self._connect(first)
        for connection in held:
            connection.close()

    def _connect(self, first: bytes) -> socket.socket:
        connection = socket.socket()
        connection.settimeout(10)
        with suppress(OSError):
            connection.connect(("127.0.0.1", self.site.identity.port))
        connection.setblocking(False)
        _send(connection, first)
        return connection

    def sign_in(self) -> tuple[requests.Session, bytes]:
        """Begins a sign-in as any stranger can. Returns the session and the head of its event stream."""
        session, url = requests.Session(), self.site.identity.url
        session.post(f"{url}/sign-in/ssh", data={"a": "b"}, headers={"Origin": url}, allow_redirects=False, timeout=60)
        cookie = "; ".join(f"{name}={value}" for name, value in session.cookies.get_dict().items())
        return session, f"GET /sign-in/ssh/events HTTP/1.1\r\nHost: bench\r\nCookie: {cookie}\r\n\r\n".encode()


def _send(connection: socket.socket, data: bytes) -> bool:
    """Whether the connection takes the data, or has no room for it now."""
    try:
        connection.send(data)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return True


def _is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(65536) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def pipelining(scene: Scene) -> None:
    scene.keep_connections(GET * 10_000, GET * 1_000)


def pipelining_behind_a_stream(scene: Scene) -> None:
    scene.keep_connections(scene.sign_in()[1] + GET * 3_000, GET * 1_000)


def idle_connections(scene: Scene) -> None:
    scene.keep_connections(b"")


def slow_headers(scene: Scene) -> None:
    scene.keep_connections(b"GET / HTTP/1.1\r\nX: " + b"a" * 60_000, b"a")


def slow_bodies(scene: Scene) -> None:
    head = b"POST /sign-in/ssh HTTP/1.1\r\nHost: bench\r\nContent-Length: 65000\r\n" + FORM + b"\r\n"
    scene.keep_connections(head + b"a" * 60_000, b"a")


def event_streams(scene: Scene) -> None:
    scene.keep_connections(scene.sign_in()[1])


def cancelled_streams(scene: Scene) -> None:
    """Opens event streams of one sign-in. Then one POST cancels the sign-in, again and again."""
    session, stream = scene.sign_in()
    streams = threading.Thread(target=scene.keep_connections, args=(stream,))
    streams.start()
    url = scene.site.identity.url
    while not scene.is_over.wait(2):
        with suppress(requests.RequestException):
            session.post(f"{url}/sign-in/ssh", data={"a": "b"}, headers={"Origin": url}, timeout=60)
    streams.join()


def status_socket(scene: Scene) -> None:
    """Connects to the agent's `status.sock` and closes the connection, without a pause."""
    path = str(scene.agent.runtime / "status.sock")

    def knock() -> None:
        while not scene.is_over.is_set():
            with socket.socket(socket.AF_UNIX) as connection, suppress(OSError):
                connection.connect(path)

    threads = [threading.Thread(target=knock) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def enrolment_prompts(scene: Scene) -> None:
    """Holds `enrol` prompts with a key that nobody owns, while an invitation is open."""
    scene.site.identity.run("invite", "person0")
    key = scene.site.place.generate_key("stranger")
    command = scene.sshd.command(key, "enrol")

    def prompt() -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )

    held = [prompt() for _ in range(min(scene.connections, 50))]
    while not scene.is_over.wait(PAUSE):
        held = [each if each.poll() is None else prompt() for each in held]
    for each in held:
        each.kill()
        each.communicate()


ATTACKERS: dict[str, Callable[[Scene], None]] = {
    attacker.__name__: attacker
    for attacker in (
        pipelining, pipelining_behind_a_stream, idle_connections, slow_headers, slow_bodies, event_streams,
        cancelled_streams, status_socket, enrolment_prompts,
    )
}  # fmt: skip


@contextmanager
def watching(pid: int) -> Iterator[dict[str, int]]:
    """Yields a dict, and fills it at the end with the largest memory and number of descriptors that a process had."""
    process, over, most = Path(f"/proc/{pid}"), threading.Event(), {"descriptors": 0}
    (process / "clear_refs").write_text("5")  # proc(5): resets the largest memory

    def count() -> None:
        while not over.wait(0.2):
            most["descriptors"] = max(most["descriptors"], len(list((process / "fd").iterdir())))

    thread = threading.Thread(target=count)
    thread.start()
    yield most
    over.set()
    thread.join()
    line = next(line for line in (process / "status").read_text().splitlines() if line.startswith("VmHWM:"))
    most["memory_mb"] = int(line.split()[1]) // 1024


def attack(scene: Scene, name: str, logins: int) -> dict[str, Any]:
    scene.is_over = threading.Event()
    attacker = threading.Thread(target=ATTACKERS[name], args=(scene,))
    times: list[float] = []
    with watching(scene.site.identity.process.pid) as identity, watching(scene.agent.process.pid) as agent:
        attacker.start()
        time.sleep(3)
        for number in range(logins):
            with suppress(requests.RequestException, subprocess.CalledProcessError):
                person = number % len(scene.site.keys)
                began = time.monotonic()
                opened = scene.site.identity.open_challenge(f"person{person}")
                log_in(scene.sshd, scene.site.keys[person], opened["code"])
                times.append(time.monotonic() - began)
        scene.is_over.set()
        attacker.join()
    return {
        "attacker": name,
        "connections": scene.connections,
        "logins": logins,
        "passed": len(times),
        "login_ms": round(statistics.median(times) * 1000) if times else None,
        "identity": identity,
        "agent": agent,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"an attacker (default: all): {', '.join(ATTACKERS)}")
    parser.add_argument("--connections", type=int, default=5000)
    parser.add_argument("--logins", type=int, default=5)
    options = parser.parse_args()
    if unknown := set(options.names) - set(ATTACKERS):
        parser.error(f"no such attacker: {', '.join(sorted(unknown))}")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with trial() as site:
        agent = site.agent()
        scene = Scene(site, agent, Sshd(site.place, agent.runtime, free_port()), options.connections)
        for name in options.names or ATTACKERS:
            print(json.dumps(attack(scene, name, options.logins)), flush=True)


if __name__ == "__main__":
    main()
