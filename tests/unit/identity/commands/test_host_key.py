"""Tests `init --ssh-host-key` and `sshfp` in this process. `tests/unit/sshaft/test_ssh_server.py` has the records."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from fakes.public_keys import ed25519, sk_ed25519

from sshaft.errors import ConfigurationError
from sshaft.public_key import parse
from sshaft_identity.commands.identity import identity

pytestmark = pytest.mark.slow


def run(folder: Path, *arguments: str | Path) -> Result:
    return CliRunner().invoke(identity, ["--directory", str(folder / "id"), *map(str, arguments)])


def key_file(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.pub"
    path.write_text(text)
    return path


def kept(folder: Path) -> list[str]:
    keys: list[str] = json.loads((folder / "id" / "identity.json").read_text())["ssh_host_keys"]
    return keys


def test_init_keeps_the_host_keys_until_others_are_given(tmp_path: Path) -> None:
    one, two = (key_file(tmp_path, name, f"{ed25519(name)} root@{name}\n") for name in ("one", "two"))
    assert run(tmp_path, "init", "--ssh-host-key", one, "--ssh-host-key", two).exit_code == 0
    assert kept(tmp_path) == [str(parse(ed25519(name))) for name in ("one", "two")]
    assert run(tmp_path, "init", "--lifetime", "120").exit_code == 0
    assert len(kept(tmp_path)) == 2
    assert run(tmp_path, "init", "--ssh-host-key", two).exit_code == 0
    assert kept(tmp_path) == [str(parse(ed25519("two")))]
    printed = run(tmp_path, "sshfp").output
    assert printed.startswith("localhost IN SSHFP 4 2 ")
    assert len(printed.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nx\n", "is a private key: give the file with .pub"),
        ("root:x:0:0:\n", "holds no public key"),
        (f"login.example.org {ed25519('a')}\n", "holds no public key"),
        (sk_ed25519("a"), "no sshd has a host key of the type sk-ssh-ed25519@openssh.com"),
    ],
)
def test_other_file_is_refused_and_never_shown(tmp_path: Path, text: str, words: str) -> None:
    done = run(tmp_path, "init", "--ssh-host-key", key_file(tmp_path, "key", text))
    assert (done.exit_code, words in done.output) == (2, True)
    assert "root:x" not in done.output
    assert not (tmp_path / "id").exists()


def test_missing_file_is_named(tmp_path: Path) -> None:
    done = run(tmp_path, "init", "--ssh-host-key", tmp_path / "nosuch.pub")
    assert (done.exit_code, "nosuch.pub cannot be read: No such file" in done.output) == (2, True)


def test_records_need_a_host_key(tmp_path: Path) -> None:
    run(tmp_path, "init")
    done = run(tmp_path, "sshfp")
    assert isinstance(done.exception, ConfigurationError)
    assert "init --ssh-host-key" in str(done.exception)
