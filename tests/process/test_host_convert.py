"""Tests `sshaft host convert`: what it writes, where the secret goes, and that the agent takes the result."""

import json
import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from fakes.agent_process import PROGRAM

FILES = Path(__file__).parent.parent / "unit" / "agent" / "host_login" / "foreign"


def convert(name: str | Path, *words: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [*PROGRAM, "host", "convert", str(FILES / name), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize(
    ("name", "has_secret"),
    [("rust.json", True), ("azure.json", True), ("ics_mu.json", True), ("stfc.json", True), ("config.yml", True),
     ("oracle.yml", False), ("ssh-aad.conf", False)],
)  # fmt: skip
def test_agent_takes_what_is_converted(tmp_path: Path, name: str, *, has_secret: bool) -> None:
    secret, config = tmp_path / "secret", tmp_path / "config.json"
    done = convert(name, "--secret-file", secret)
    assert done.returncode == 0, done.stderr
    assert "the-secret" not in done.stdout + done.stderr
    converted: dict[str, Any] = json.loads(done.stdout)
    assert secret.exists() is has_secret
    assert converted["host_login"].get("client_secret_file") == (str(secret) if has_secret else None)
    if has_secret:
        assert secret.read_text() == "the-secret\n"
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    config.write_text(done.stdout)
    check = [*PROGRAM, "agent", "check", "--config", str(config)]
    checked = subprocess.run(check, capture_output=True, text=True, timeout=30, check=False)
    assert (checked.returncode, checked.stdout) == (0, f"{config} is right.\n"), checked.stderr


def test_secret_is_never_shown() -> None:
    done = convert("rust.json")
    assert done.returncode == 0
    assert "the-secret" not in done.stdout + done.stderr
    assert json.loads(done.stdout)["host_login"]["client_secret_file"] == "/etc/sshaft/client-secret"
    assert done.stderr.splitlines() == [
        "oauth_auth_url: a device login does not use it",
        "issuer: made from the token endpoint; compare it with the metadata of the provider",
        "client_secret_file: the secret is not shown; use --secret-file, or write it to /etc/sshaft/client-secret",
    ]


@pytest.mark.parametrize("kind", ["file", "link"])
def test_file_that_exists_does_not_get_the_secret(tmp_path: Path, kind: str) -> None:
    other, secret = tmp_path / "other", tmp_path / "secret"
    if kind == "link":
        secret.symlink_to(other)
    else:
        secret.write_text("mine")
    done = convert("rust.json", "--secret-file", secret)
    assert (done.returncode, done.stdout) == (65, "")
    assert done.stderr.splitlines()[-1] == f"sshaft: {secret}: File exists"
    assert not other.exists()


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("pam-weblogin.conf", "nothing of it has a counterpart"),
        ("pam-ssh-oidc-config.ini", "convert the motley_cue.conf of that server"),
        ("feudal_adapter.conf", "give motley_cue.conf first"),
        ("/etc/passwd", "is in no format that sshaft knows"),
    ],
)
def test_file_without_a_counterpart_is_named(name: str, fault: str) -> None:
    done = convert(name)
    assert (done.returncode, done.stdout) == (65, "")
    assert fault in done.stderr
    assert "the-secret" not in done.stderr


def test_hostile_names_reach_the_terminal_escaped(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    data = json.loads((FILES / "ics_mu.json").read_text())
    file.write_text(json.dumps(data | {"users": {"\x1b[2J": ["root", "bob"]}}))
    done = convert(file)
    assert done.returncode == 78
    file.write_text(json.dumps(data | {"\x1b[2J": 1}))
    refused = convert(file)
    assert refused.returncode == 65
    assert "\x1b" not in done.stdout + done.stderr + refused.stdout + refused.stderr


def test_agent_takes_what_is_converted_from_motley_cue(tmp_path: Path) -> None:
    done = convert("motley_cue.conf", FILES / "feudal_adapter.conf")
    assert done.returncode == 0, done.stderr
    assert "the-secret" not in done.stdout + done.stderr
    assert "[authorisation.unused]: is left out: it lets nobody in\n" in done.stderr
    config = tmp_path / "config.json"
    config.write_text(done.stdout)
    check = [*PROGRAM, "agent", "check", "--config", str(config)]
    checked = subprocess.run(check, capture_output=True, text=True, timeout=30, check=False)
    assert (checked.returncode, checked.stdout) == (0, f"{config} is right.\n"), checked.stderr


def test_second_file_needs_motley_cue(tmp_path: Path) -> None:
    done = convert("ssh-aad.conf", FILES / "feudal_adapter.conf")
    assert (done.returncode, done.stdout) == (65, "")
    assert "only that has feudal_adapter.conf behind it" in done.stderr
    hostile = tmp_path / "motley_cue.conf"
    hostile.write_text("[mapper]\n[\x1b[2J]\n\x1b[2J = 1\n")
    refused = convert(hostile)
    assert refused.returncode == 65
    assert "\x1b" not in refused.stderr


def test_our_own_format_is_named(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"host_login": {}}))
    assert convert(file).stderr == f"sshaft: {file}: has our format already\n"


def test_special_file_is_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    done = convert(pipe)
    assert (done.returncode, done.stdout) == (78, "")
    assert "not a regular file" in done.stderr
