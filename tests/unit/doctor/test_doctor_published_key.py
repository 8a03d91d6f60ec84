"""Tests how the doctor compares the published host keys with those of a real sshd."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.identity_server import ERROR, HTML, IdentityServer, Reply, reply_json
from fakes.public_keys import ed25519

from sshaft import config
from sshaft.host.ssh_server import SshServer, host_keys
from sshaft_demo.parts import connects, free_port
from sshaft_doctor import published_key
from sshaft_doctor.findings import Severity

Write = Callable[..., Path]
KEY, OTHER = host_keys([ed25519("host"), ed25519("other")])
SERVER = SshServer("mfa", "127.0.0.1", 22, (KEY,))


def examine(identity: IdentityServer, write_config: Write, answer: Reply) -> list[tuple[Severity, str]]:
    identity.replies["/server"] = answer
    settings = config.load(write_config(identity.config()))
    return [(found.severity, found.what) for found in published_key.examine(settings)]


@contextmanager
def running(sshd: Path, folder: Path) -> Iterator[SshServer]:
    """Starts an sshd with two host keys. Yields it as an identity service would publish it."""
    port, keys = free_port(), []
    for kind in ("ed25519", "ecdsa"):
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", folder / kind], check=True, timeout=20)
        keys.append((folder / f"{kind}.pub").read_text())
    options = [option for kind in ("ed25519", "ecdsa") for option in ("-h", folder / kind)]
    command = [
        sshd,
        "-D",
        "-f",
        "/dev/null",
        "-p",
        str(port),
        *options,
        "-o",
        "ListenAddress=127.0.0.1",
        "-o",
        "PidFile=none",
    ]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            while not connects(port):
                assert process.poll() is None
            yield SshServer("mfa", "127.0.0.1", port, host_keys(keys))
        finally:
            process.terminate()


@pytest.mark.slow
def test_doctor_compares_with_the_keys_of_the_running_sshd(
    sshd: Path, identity: IdentityServer, write_config: Write, tmp_path: Path
) -> None:
    with running(sshd, tmp_path) as server:
        assert set(published_key.scan(server)) == set(server.host_keys)
        ((severity, what),) = examine(identity, write_config, reply_json(server.as_json()))
        assert (severity, what) == (Severity.OK, "the pages tell people the host keys that sshd has")
        foreign = replace(server, host_keys=(*server.host_keys, OTHER))
        ((severity, what),) = examine(identity, write_config, reply_json(foreign.as_json()))
        assert (severity, OTHER.fingerprint in what) == (Severity.ERROR, True)
        one = replace(server, host_keys=server.host_keys[:1])
        ((severity, what),) = examine(identity, write_config, reply_json(one.as_json()))
        assert (severity, server.host_keys[1].fingerprint in what) == (Severity.WARNING, True)
    ((severity, what),) = examine(identity, write_config, reply_json(server.as_json()))
    assert (severity, what.startswith("not checked")) == (Severity.NOTE, True)


def test_service_without_host_keys_gets_a_note(identity: IdentityServer, write_config: Write) -> None:
    ((severity, what),) = examine(identity, write_config, reply_json(replace(SERVER, host_keys=()).as_json()))
    assert (severity, "cannot tell people" in what) == (Severity.NOTE, True)


@pytest.mark.parametrize(
    "answer",
    [Reply(404), ERROR, HTML, reply_json([]), reply_json(SERVER.as_json() | {"host": "-oProxyCommand=reboot"}),
     Reply(200, b"x" * 100_000)],
)  # fmt: skip
def test_answer_of_another_service_is_no_finding(identity: IdentityServer, write_config: Write, answer: Reply) -> None:
    assert examine(identity, write_config, answer) == []
