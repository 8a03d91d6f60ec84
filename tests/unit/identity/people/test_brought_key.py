"""Tests that a key is read however a person brings it, and that each wrong thing is named."""

import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from fakes import public_keys
from fakes.public_keys import SSH_KEYGEN, ed25519
from hypothesis import given
from hypothesis import strategies as st

from sshaft.public_key import DEFAULT_TYPES, parse
from sshaft_identity.people.brought_key import WrongThingError, is_private, read_key, read_keys

pytestmark = pytest.mark.slow

ALL = public_keys.one_of_each()
KEY = ed25519()
ENCODED = KEY.split()[1]


def make(directory: Path, *arguments: str) -> Path:
    file = directory / "key"
    subprocess.run([SSH_KEYGEN, "-q", *arguments, "-N", "", "-C", "alice@laptop", "-f", file], check=True)
    return file


def keygen(*arguments: str | Path) -> str:
    return subprocess.run([SSH_KEYGEN, *arguments], check=True, capture_output=True, text=True).stdout


def said(text: str) -> str:
    with pytest.raises(WrongThingError) as error:
        read_key(text)
    message = str(error.value)
    assert not any(word in message for word in text.split() if len(word) > 30), "the message repeats the text"
    return message


@pytest.mark.parametrize("key_type", DEFAULT_TYPES)
@pytest.mark.parametrize("columns", [40, 64, 80, 81, 132])
def test_line_that_a_terminal_has_broken_is_joined(key_type: str, columns: int) -> None:
    """Case wrong_thing_brought: the line breaks of a terminal are no part of the key."""
    text = f"{ALL[key_type]} alice@laptop"
    broken = "\n".join(text[at : at + columns] for at in range(0, len(text), columns))
    found = read_key(broken)
    assert str(found.key) == ALL[key_type]
    assert found.comment.replace(" ", "") == "alice@laptop"


@pytest.mark.parametrize(
    "text",
    [
        f"ssh-ed25519\n{ENCODED}\n",
        f"  ssh-ed25519\u00a0{ENCODED}  ",
        f'"{KEY}"',
        f"\u200b{KEY}",
        ENCODED,
        f"# my key\n\n{KEY}\n",
        f"ssh-ed25519 {ENCODED[:40]}\r\n   {ENCODED[40:]}\r\n",
    ],
)
def test_key_is_read_in_spite_of_what_surrounds_it(text: str) -> None:
    assert str(read_key(text).key) == KEY


@pytest.mark.parametrize("kind", [["-t", "ed25519"], ["-t", "rsa", "-b", "2048"], ["-t", "ecdsa"]], ids=" ".join)
def test_key_in_rfc_4716_is_converted(kind: list[str], tmp_path: Path) -> None:
    """Case wrong_thing_brought: PuTTYgen's "Save public key" writes this format."""
    file = make(tmp_path, *kind).with_suffix(".pub")
    found = read_key(keygen("-e", "-f", file))
    assert str(found.key) == str(parse(file.read_text()))
    assert "converted" in found.comment


def test_comment_of_rfc_4716_may_take_several_lines() -> None:
    text = f'---- BEGIN SSH2 PUBLIC KEY ----\nComment: "my \\\nkey"\nx-a: b\n{ENCODED}\n---- END SSH2 PUBLIC KEY ----\n'
    assert (str(read_key(text).key), read_key(text).comment) == (KEY, "my key")


@pytest.mark.parametrize("form", ["PKCS8", "PEM"])
@pytest.mark.parametrize("kind", [["-t", "rsa", "-b", "2048"], ["-t", "ecdsa", "-b", "384"]], ids=" ".join)
def test_public_key_in_pem_is_converted(form: str, kind: list[str], tmp_path: Path) -> None:
    """Case wrong_thing_brought: `ssh-keygen -e -m` writes these formats."""
    file = make(tmp_path, *kind).with_suffix(".pub")
    assert str(read_key(keygen("-e", "-m", form, "-f", file)).key) == str(parse(file.read_text()))


PRIVATE_KINDS = [[], ["-m", "PEM", "-t", "rsa"], ["-m", "PKCS8", "-t", "rsa"], ["-t", "ecdsa", "-m", "PEM"]]


@pytest.mark.parametrize("kind", PRIVATE_KINDS, ids=" ".join)
def test_private_key_is_named_and_its_owner_told_to_replace_it(kind: list[str], tmp_path: Path) -> None:
    """Finding U20, case wrong_thing_brought: whoever has seen a private key can log in with it."""
    text = make(tmp_path, *kind).read_text()
    message = said(text)
    assert "private key" in message
    assert "make a new key" in message
    assert said(f"{KEY}\n{text}") == message, "nothing of a text with a private key is taken"


@pytest.mark.parametrize(
    "text",
    [
        "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n",
        "Private-Lines: 1\nAAAAIGX\nPrivate-MAC: 00",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIF\n-----END ENCRYPTED PRIVATE KEY-----",
        "-----BEGIN PGP PRIVATE KEY BLOCK-----",
        "b3BlbnNzaC1rZXktdjEAAAAABG5vbmU",
        "SSH PRIVATE KEY FILE FORMAT 1.1\n",
    ],
)
def test_every_kind_of_private_key_is_recognized(text: str) -> None:
    """Finding U20: PuTTY, PEM, PGP, OpenSSH without its first line, SSH 1."""
    assert is_private(text)
    assert "private key" in said(text)


def test_comment_may_speak_of_private_keys() -> None:
    assert read_key(f"{KEY} my PRIVATE KEY has a pass phrase").comment == "my PRIVATE KEY has a pass phrase"


def certificate(directory: Path) -> str:
    key = make(directory, "-t", "ed25519")
    keygen("-q", "-s", key, "-I", "x", key.with_suffix(".pub"))
    return (directory / "key-cert.pub").read_text()


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----", "X.509 certificate"),
        ("-----BEGIN PGP PUBLIC KEY BLOCK-----\nmQ==\n-----END PGP PUBLIC KEY BLOCK-----", "gpg --export-ssh-key"),
        ("-----BEGIN SSH SIGNATURE-----\nU1NI\n-----END SSH SIGNATURE-----", "signature"),
        ("-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----", "ssh-keygen -i"),
        ("-----BEGIN SOMETHING-----\nMIIB\n-----END SOMETHING-----", "no public key"),
        (f"---- BEGIN SSH2 PUBLIC KEY ----\n{ENCODED[:60]}\n---- END SSH2 PUBLIC KEY ----", "ssh-keygen -i"),
        (f"---- BEGIN SSH2 PUBLIC KEY ----\n{ENCODED}", "ssh-keygen -i"),
        (f'restrict,from="10.0.0.1" {KEY}', "without options"),
        (f'command="echo a.b" {KEY}', "without options"),
        (f"bob {KEY}", "Other text stands before"),
        (f"git.example.org {KEY}", "known_hosts"),
        (f"[192.0.2.1]:2222 {KEY}", "known_hosts"),
        (f"|1|abc=|def= {KEY}", "known_hosts"),
        (f"@cert-authority *.example.org {KEY}", "known_hosts"),
        ("SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU", "fingerprint"),
        ("256 SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU alice (ED25519)", "fingerprint"),
        ("256 MD5:00:11:22 alice", "fingerprint"),
        ("~/.ssh/id_ed25519.pub", "name of a file"),
        ("C:\\Users\\alice\\.ssh\\id_ed25519.pub", "name of a file"),
        ("ssh-dss AAAAB3NzaC1kc3M=", "type that is taken"),
        (KEY[:-8], "not whole"),
        (ENCODED[:-8], "not whole"),
        ("ssh-ed25519", "not whole"),
        (f"{KEY}\n{ed25519('b')}", "more than one key"),
        (public_keys.rsa_key(1024), "RSA key must have 2048"),
        ("ssh-ed25519 " + "A" * 25_000, "longer than 24 KiB"),
        ("hello", "no public key"),
        ("", "no public key"),
    ],
)
def test_each_wrong_thing_is_named(text: str, what: str) -> None:
    """Finding U20, case wrong_thing_brought: the message says what the text is and what to bring."""
    assert what in said(text)


def test_certificate_is_named(tmp_path: Path) -> None:
    assert "certificate of an SSH authority" in said(certificate(tmp_path))


def test_file_of_many_keys_is_read_with_the_lines_of_its_keys() -> None:
    other = ed25519("b")
    text = f"# keys\n{KEY} a\n\n{other[:50]}\n{other[50:]}\n  b\n{ed25519('c')}\n"
    found = read_keys(text)
    assert [(str(each.key), each.line) for each in found] == [(KEY, 2), (other, 4), (ed25519("c"), 7)]


BROKEN = f"{KEY[:50]}\n{KEY[50:]}"
ODD_LINES = [f"restrict {ed25519('b')}", "ssh-dss AAAA", "-----BEGIN CERTIFICATE-----"]


ODD_FILES = [(KEY, "hello"), *((before, line) for before in (KEY, BROKEN) for line in ODD_LINES)]


@pytest.mark.parametrize(("before", "line"), ODD_FILES)
def test_line_of_a_file_that_is_no_key_is_refused(before: str, line: str) -> None:
    with pytest.raises(WrongThingError) as error:
        read_keys(f"{before}\n{line}\n{ed25519('c')}\n")
    assert error.value.line == before.count("\n") + 2


HOSTILE = {
    "many words on the first line": f"ssh-ed25519 {'AAAA ' * 4000}\n" + "x\n" * 17_000,
    "many beginnings of a private key": "BEGIN " * 10_000,
    "many lines": "x\n" * 30_000,
    "many types": "ssh-rsa\n" * 8000,
    "a long word": "ssh-rsa " + "A" * 60_000,
    "many beginnings of blocks": "-----BEGIN X-----\n" * 3000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_is_refused_at_once(text: str) -> None:
    """Whoever has the address of an invitation can send 64 KiB: the work must grow with the size only."""
    with pytest.raises(WrongThingError):
        read_key(text)


@given(st.text())
def test_any_other_text_is_refused_with_one_kind_of_error(text: str) -> None:
    with suppress(WrongThingError):
        read_keys(text)
