"""Tests the texts about the sshd that people reach, and how a published server is read."""

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from fakes.public_keys import ed25519, sk_ed25519

from sshaft.host.ssh_server import SshServer, host_keys

SERVER = SshServer("mfa", "login.example.org", 2222, host_keys([ed25519("host")]))


def made(folder: Path, kind: str, *more: str) -> str:
    path = folder / kind
    subprocess.run(["ssh-keygen", "-q", "-t", kind, *more, "-N", "", "-f", path], check=True, timeout=20)
    return path.with_suffix(".pub").read_text()


def test_dns_records_are_those_of_ssh_keygen(tmp_path: Path) -> None:
    keys = [made(tmp_path, "ed25519"), made(tmp_path, "ecdsa", "-b", "384"), made(tmp_path, "rsa", "-b", "2048")]
    expected = []
    for path in ("ed25519", "ecdsa", "rsa"):
        command = ["ssh-keygen", "-r", "login.example.org", "-f", tmp_path / f"{path}.pub"]
        printed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout
        expected += [line for line in printed.splitlines() if re.search(r"SSHFP [134] 2 ", line)]
    assert len(expected) == 3
    assert SshServer("mfa", "login.example.org", 2222, host_keys(keys)).sshfp() == expected


@pytest.mark.parametrize(
    ("server", "name"),
    [
        (SERVER, "[login.example.org]:2222"),
        (SshServer("mfa", "Login.Example.org", 22, SERVER.host_keys), "login.example.org"),
        (SshServer("mfa", "2001:DB8::1", 22, SERVER.host_keys), "2001:db8::1"),
        (SshServer("mfa", "::1", 2222, SERVER.host_keys), "[::1]:2222"),
    ],
)
def test_ssh_finds_the_known_hosts_line(tmp_path: Path, server: SshServer, name: str) -> None:
    file = tmp_path / "known_hosts"
    file.write_text("\n".join(server.known_hosts()) + "\n")
    found = subprocess.run(
        ["ssh-keygen", "-F", name, "-f", file], capture_output=True, text=True, timeout=20, check=False
    )
    assert str(server.host_keys[0]) in found.stdout


def test_ssh_reads_the_block_as_it_is_meant(tmp_path: Path) -> None:
    """A connection of another ssh (ControlMaster) would let the person in without a new signature: finding N5."""
    file = tmp_path / "config"
    shared = (
        f"\nHost *\n    ControlMaster auto\n    ControlPath {tmp_path}/%C\n    User somebody\n    IdentitiesOnly no\n"
    )
    file.write_text(SERVER.config_block("~/.ssh/id_ed25519") + "\n" + shared)
    read = subprocess.run(
        ["ssh", "-G", "-F", file, "mfa", "482913"], capture_output=True, text=True, timeout=20, check=True
    )
    values = dict(line.partition(" ")[::2] for line in read.stdout.splitlines())
    assert (values["user"], values["hostname"], values["port"]) == ("mfa", "login.example.org", "2222")
    assert (values["identityfile"], values["identitiesonly"]) == ("~/.ssh/id_ed25519", "yes")
    assert values.get("controlpath", "none") == "none"


@pytest.mark.parametrize("name", ["", "a b", "x\nHost *\n    ProxyCommand reboot", '"x', "%d/x", "$HOME/x", "a\\b"])
def test_block_takes_no_file_name_with_a_meaning_for_ssh(name: str) -> None:
    with pytest.raises(ValueError, match="key file"):
        SERVER.config_block(name)


def test_commands_need_no_quotes_in_a_shell() -> None:
    for command in (SERVER.command("482913"), SERVER.plink("482913"), SERVER.command(None)):
        assert shlex.join(shlex.split(command)) == command
    assert SERVER.plink("482913") == "plink -ssh -P 2222 mfa@login.example.org 482913"


def test_published_server_is_read_again() -> None:
    assert SshServer.of_json(SERVER.as_json()) == SERVER


@pytest.mark.parametrize(
    "change",
    [
        {"user": "-l"},
        {"user": "a\nHost *"},
        {"user": None},
        {"host": "-oProxyCommand=reboot"},
        {"host": "a b"},
        {"host": "a\n    ProxyCommand reboot"},
        {"host": "login.example.org\n"},
        {"port": 0},
        {"port": True},
        {"port": "22"},
        {"port": 65536},
        {"host_keys": None},
        {"host_keys": [7]},
        {"host_keys": ["ssh-ed25519 AAAA"]},
        {"host_keys": [f"cert-authority {ed25519('x')}"]},
        {"host_keys": [sk_ed25519("x")]},
    ],
)
def test_hostile_server_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(change)).replace("host_keys", "host.key")):
        SshServer.of_json(SERVER.as_json() | change)


@pytest.mark.parametrize("data", [None, [], "x", {}])
def test_other_json_is_no_server(data: object) -> None:
    with pytest.raises(ValueError, match="not"):
        SshServer.of_json(data)


def test_number_of_host_keys_is_bounded() -> None:
    with pytest.raises(ValueError, match="more than 16"):
        host_keys(ed25519(str(number)) for number in range(17))
