"""Tests the picture of a key against the picture that OpenSSH draws."""

import subprocess
from pathlib import Path

import pytest
from fakes import public_keys
from hypothesis import given, settings
from hypothesis import strategies as st

from sshaft.public_key import parse
from sshaft.randomart import bits, randomart, short_name

KEYS = public_keys.one_of_each() | {"rsa-3072": public_keys.rsa_key(3072), "rsa-4096": public_keys.rsa_key(4096)}


def drawn_by_openssh(public: str, place: Path) -> tuple[str, list[str]]:
    """Returns the output of `ssh-keygen -lv`: `256 SHA256:... comment (ED25519)`, and the lines of the picture."""
    file = place / "key.pub"
    file.write_text(f"{public} me\n")
    command = [public_keys.SSH_KEYGEN, "-lv", "-f", str(file)]
    first, *picture = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return first, picture


@pytest.mark.parametrize("public", KEYS.values(), ids=KEYS.keys())
def test_picture_and_title_are_those_of_ssh_keygen(public: str, tmp_path: Path) -> None:
    key = parse(public)
    first, picture = drawn_by_openssh(public, tmp_path)
    assert list(randomart(key)) == picture
    assert first == f"{bits(key)} {key.fingerprint} me ({short_name(key)})"


def test_random_keys_are_drawn_as_openssh_draws_them(tmp_path: Path) -> None:
    keys = [public_keys.ed25519(f"seed-{number}") for number in range(40)]
    file = tmp_path / "keys"
    file.write_text("".join(f"{key}\n" for key in keys))
    command = [public_keys.SSH_KEYGEN, "-lv", "-f", str(file)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line for line in shown if not line.startswith("256 ")] == [
        line for key in keys for line in randomart(parse(key))
    ]


@settings(max_examples=50)
@given(st.text("abcdefghijkl0123456789", max_size=30))
def test_every_picture_is_eleven_lines_of_nineteen_plain_characters(seed: str) -> None:
    lines = randomart(parse(public_keys.ed25519(seed)))
    assert [len(line) for line in lines] == [19] * 11
    assert all(" " <= character <= "~" for line in lines for character in line)
