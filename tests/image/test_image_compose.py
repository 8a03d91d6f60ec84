"""Tests that `docker compose up` on a fresh checkout makes an identity service and a factor ready for a login."""

import json
import os
import shlex
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from image.containers import SUITE, Checkout, wait_until

from bench.load.container_engine import Engine

SSH = "ssh -F none -T -o BatchMode=yes -o IdentitiesOnly=yes -o IdentityAgent=none -o StrictHostKeyChecking=accept-new"
BUILT = "sshaft:tests-compose"


@dataclass(frozen=True)
class Compose:
    """The compose.yaml of the project, with its own project name and ports."""

    engine: Engine
    command: tuple[str, ...]
    directory: Path

    def __call__(self, *words: str, text: str | None = None) -> str:
        return self.engine.execute(*self.command, *words, text=text, timeout=600).stdout

    def up(self) -> None:
        self("up", "-d")
        wait_until(lambda: "Server listening on 0.0.0.0" in self("logs", "factor"), "sshd listens")

    def open_challenge(self) -> dict[str, str]:
        opened: dict[str, str] = json.loads(self("exec", "-T", "identity", "sshaft", *OPEN_CHALLENGE))
        return opened

    def log_in(self, ssh_command: str) -> str:
        """Runs the command that the identity service prints, with a key and a known_hosts of this test."""
        options = f"{SSH} -i {self.directory}/alice -o UserKnownHostsFile={self.directory}/known_hosts"
        command = shlex.split(ssh_command.replace("ssh ", f"{options} ", 1))
        return subprocess.run(command, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout


OPEN_CHALLENGE = ("identity", "challenge", "open", "alice", "--json")


def free_ports() -> tuple[int, int]:
    with ExitStack() as stack:
        first, second = (stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2))
        return first.getsockname()[1], second.getsockname()[1]


@pytest.fixture(scope="module", params=["docker-compose", "docker compose"])
def compose(
    request: pytest.FixtureRequest,
    engine: Engine,
    image: str,
    checkout: Checkout,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Compose]:
    program = tuple(request.param.split())
    try:
        found = engine.execute(*program, "version", check=False).returncode == 0
    except FileNotFoundError:
        found = False
    if not found:
        pytest.skip(f"{request.param} is missing")
    if SUITE != "trixie":
        engine("tag", image, BUILT)  # otherwise compose would build the image again from the cache
    http_port, ssh_port = free_ports()
    ports = {"SSHAFT_HTTP_PORT": str(http_port), "SSHAFT_SSH_PORT": str(ssh_port)}
    engine.environment.update(ports, SSHAFT_IMAGE=BUILT)
    project = f"sshaft-tests-{os.getpid()}"
    directory = tmp_path_factory.mktemp("compose")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / "alice"], check=True)
    files = ("-f", str(checkout.directory / "compose.yaml"), "-p", project)
    compose = Compose(engine, (*program, *files), directory)
    try:
        compose.up()
        yield compose
    finally:
        engine.execute(*compose.command, "down", "-v", "-t", "5", check=False)
        engine("rmi", BUILT, check=False)


def test_login_passes_after_up_and_three_commands(compose: Compose) -> None:
    compose("exec", "-T", "identity", "sshaft", "identity", "user", "add", "alice")
    key = (compose.directory / "alice.pub").read_text()
    compose("exec", "-T", "identity", "sshaft", "identity", "key", "add", "alice", "-", text=key)
    opened = compose.open_challenge()
    page = requests.get(opened["page_url"], timeout=5)
    assert page.status_code == 200
    assert opened["code"] in page.text
    assert "Passed" in compose.log_in(opened["ssh_command"])
    assert f"{opened['id']}  accepted" in compose("exec", "-T", "identity", "sshaft", "identity", "challenge", "list")


def test_users_keys_and_host_key_outlive_the_containers(compose: Compose) -> None:
    compose("down", "-t", "5")
    compose.up()
    known = (compose.directory / "known_hosts").read_text()
    assert "Passed" in compose.log_in(compose.open_challenge()["ssh_command"])
    assert (compose.directory / "known_hosts").read_text() == known


def test_services_run_with_the_least_rights(compose: Compose) -> None:
    rights = {}
    for service in ("identity", "factor"):
        (told,) = json.loads(compose.engine("inspect", compose("ps", "-q", service).strip()).stdout)
        host = told["HostConfig"]
        assert host["ReadonlyRootfs"]
        assert host["CapDrop"] == ["ALL"]
        assert host["SecurityOpt"] == ["no-new-privileges:true"]
        rights[service] = (told["Config"]["User"], host["CapAdd"])
    assert rights == {
        "identity": ("sshaft-identity", None),
        "factor": ("", ["AUDIT_WRITE", "CHOWN", "SETUID", "SETGID", "SYS_CHROOT"]),
    }


def test_configuration_is_readable_for_the_agent_alone(compose: Compose) -> None:
    show = ("exec", "-T", "-u", "sshaft", "factor", "stat", "-c", "%u %a", "/var/lib/sshaft/config.json")
    assert compose(*show).strip() == "480 600"
