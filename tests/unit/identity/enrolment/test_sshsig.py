"""Tests that real signatures of `ssh-keygen -Y sign` are accepted, and no other data."""

import base64
import struct
import subprocess
from functools import cache
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from fakes.public_keys import SSH_KEYGEN, blob, mpint, string
from fakes.security_key import SecurityKey, armored, unarmored
from hypothesis import given, settings
from hypothesis import strategies as st

from sshaft.public_key import parse
from sshaft_identity.enrolment.sshsig import NAMESPACE, SignatureError, signed_texts, text_to_sign, verify

TEXT = text_to_sign("alice", "0123456789abcdef0123456789abcdef").encode()
KINDS = {
    "ed25519": ("-t", "ed25519"),
    "ecdsa-256": ("-t", "ecdsa", "-b", "256"),
    "ecdsa-384": ("-t", "ecdsa", "-b", "384"),
    "ecdsa-521": ("-t", "ecdsa", "-b", "521"),
    "rsa": ("-t", "rsa", "-b", "2048"),
}


def signed(place: Path, *options: str, message: bytes = TEXT, namespace: str = NAMESPACE) -> tuple[str, str]:
    """Returns a public key and a signature, both made by ssh-keygen."""
    key = place / "key"
    if not key.exists():
        subprocess.run([SSH_KEYGEN, "-q", *options, "-N", "", "-f", str(key)], check=True)
    command = [SSH_KEYGEN, "-Y", "sign", "-n", namespace, "-f", str(key)]
    done = subprocess.run(command, input=message, capture_output=True, check=True)
    return key.with_suffix(".pub").read_text(), done.stdout.decode()


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS.keys())
def test_signature_of_ssh_keygen_names_its_key(options: tuple[str, ...], tmp_path: Path) -> None:
    public, signature = signed(tmp_path, *options)
    assert verify(signature, [TEXT]) == parse(public)


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS.keys())
def test_signature_counts_for_one_text_only(options: tuple[str, ...], tmp_path: Path) -> None:
    _, signature = signed(tmp_path, *options)
    for other in (b"", TEXT[:-1], text_to_sign("bob", "0123456789abcdef0123456789abcdef").encode()):
        with pytest.raises(SignatureError, match="does not fit the text"):
            verify(signature, [other])


BARE = TEXT.decode().rstrip("\n")
OF_SHELLS = {
    "echo of bash": TEXT,
    "printf": BARE.encode(),
    "PowerShell": f"{BARE}\r\n".encode(),
    "PowerShell with [Console]::OutputEncoding": f"{BARE}\r\n".encode("utf-8-sig"),
    "file of Windows PowerShell": f"{BARE}\r\n".encode("utf-16"),
    "echo of cmd.exe": f"{BARE}\r\n".encode(),
    "echo of cmd.exe, blank before the pipe": f"{BARE} \r\n".encode(),
    "echo of cmd.exe, quoted": f"'{BARE}' \r\n".encode(),
    "echo of cmd.exe, quoted twice": f'"{BARE}" \r\n'.encode(),
}


@pytest.mark.parametrize("message", OF_SHELLS.values(), ids=OF_SHELLS.keys())
def test_signature_of_the_line_counts_whichever_shell_gave_it(message: bytes, tmp_path: Path) -> None:
    """Case windows_signature, finding U8: shells end and quote a line in different ways."""
    public, signature = signed(tmp_path, *KINDS["ed25519"], message=message)
    assert verify(signature, signed_texts("alice", "0123456789abcdef0123456789abcdef")) == parse(public)


def test_every_form_of_the_line_names_the_person_and_the_enrolment() -> None:
    forms = signed_texts("alice", "0123456789abcdef0123456789abcdef")
    others = signed_texts("bob", "0123456789abcdef0123456789abcdef"), signed_texts("alice", "0" * 32)
    assert all(not set(forms) & set(other) for other in others)


@pytest.mark.parametrize("namespace", ["git", "file", "sshaft-enrolment"])
def test_signature_with_another_namespace_is_refused(namespace: str, tmp_path: Path) -> None:
    _, signature = signed(tmp_path, *KINDS["ed25519"], namespace=namespace)
    with pytest.raises(SignatureError, match="-n sshaft-enrol"):
        verify(signature, [TEXT])


@pytest.mark.parametrize("hash_name", ["sha256", "sha512"])
def test_both_hashes_of_openssh_are_accepted(hash_name: str, tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run([SSH_KEYGEN, "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    command = [SSH_KEYGEN, "-Y", "sign", "-n", NAMESPACE, "-O", f"hashalg={hash_name}", "-f", str(key)]
    done = subprocess.run(command, input=TEXT, capture_output=True, check=True)
    assert verify(done.stdout.decode(), [TEXT]) == parse(key.with_suffix(".pub").read_text())


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_signature_of_a_touched_security_key_is_accepted(kind: str) -> None:
    key = SecurityKey(kind)
    assert verify(key.signature(TEXT), [TEXT]) == parse(key.public)
    assert verify(key.signature(TEXT, flags=5), [TEXT]) == parse(key.public)


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_signature_of_an_untouched_security_key_is_refused(kind: str) -> None:
    with pytest.raises(SignatureError, match="not touched"):
        verify(SecurityKey(kind).signature(TEXT, flags=4), [TEXT])


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_changed_flags_and_counter_are_refused(kind: str) -> None:
    raw = bytearray(unarmored(SecurityKey(kind).signature(TEXT)))
    for at in (-1, -5):
        changed = raw[:]
        changed[at] ^= 0x04
        with pytest.raises(SignatureError):
            verify(armored(bytes(changed)), [TEXT])


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_openssh_accepts_the_signature_of_our_fake_security_key(kind: str, tmp_path: Path) -> None:
    """The tests above rely on the fake: OpenSSH must accept its signatures."""
    key = SecurityKey(kind)
    (tmp_path / "allowed").write_text(f'me namespaces="{NAMESPACE}" {key.public}\n')
    (tmp_path / "signature").write_text(key.signature(TEXT))
    command = [SSH_KEYGEN, "-Y", "verify", "-f", "allowed", "-I", "me", "-n", NAMESPACE, "-s", "signature"]
    done = subprocess.run(command, cwd=tmp_path, input=TEXT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def rsa_signature(algorithm: bytes, digest: hashes.HashAlgorithm) -> str:
    private = rsa.generate_private_key(65537, 2048)
    numbers = private.public_key().public_numbers()
    public = blob("ssh-rsa", mpint(numbers.e), mpint(numbers.n))
    head = string(NAMESPACE.encode()) + string(b"") + string(b"sha256")
    hashed = hashes.Hash(hashes.SHA256())
    hashed.update(TEXT)
    covered = b"SSHSIG" + head + string(hashed.finalize())
    inner = string(algorithm) + string(private.sign(covered, padding.PKCS1v15(), digest))
    return armored(b"SSHSIG" + struct.pack(">I", 1) + string(public) + head + string(inner))


def test_rsa_signature_needs_sha2() -> None:
    verify(rsa_signature(b"rsa-sha2-256", hashes.SHA256()), [TEXT])
    with pytest.raises(SignatureError, match="rsa-sha2"):
        verify(rsa_signature(b"ssh-rsa", hashes.SHA1()), [TEXT])


@pytest.mark.parametrize(
    "junk",
    ["", "hello", "-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----", "-----BEGIN PGP SIGNATURE-----\nAA\n",
     "-----BEGIN SSH SIGNATURE-----\n!!!!\n-----END SSH SIGNATURE-----", armored(b"SSHSIG"), armored(b"\xff" * 300),
     armored(b"SSHSIG" + b"\0\0\0\1" + b"\xff\xff\xff\xff"), armored(b"x" * 40_000),
     armored(b"SSHSIG\0\0\0\1" + string(blob("ssh-dss", b"x")) + string(b"") * 4)],
)  # fmt: skip
def test_text_that_is_no_signature_is_refused_in_a_sentence(junk: str) -> None:
    with pytest.raises(SignatureError, match=r"^[A-Z][^\n]*\.$"):
        verify(junk, [TEXT])


@cache
def samples() -> list[tuple[str, bytes]]:
    import tempfile  # noqa: PLC0415 - hypothesis calls without pytest's folders

    found = []
    for options in (KINDS["ed25519"], KINDS["ecdsa-256"], KINDS["rsa"]):
        with tempfile.TemporaryDirectory() as place:
            public, signature = signed(Path(place), *options)
            found.append((public, unarmored(signature)))
    for kind in ("ed25519", "ecdsa"):
        key = SecurityKey(kind)
        found.append((key.public, unarmored(key.signature(TEXT))))
    return found


@settings(max_examples=400, deadline=None)
@given(which=st.integers(0, 4), at=st.integers(0, 2000), bits=st.integers(1, 255))
def test_changed_byte_is_refused(which: int, at: int, bits: int) -> None:
    raw = bytearray(samples()[which][1])
    raw[at % len(raw)] ^= bits
    with pytest.raises(SignatureError):
        verify(armored(bytes(raw)), [TEXT])


@settings(max_examples=200, deadline=None)
@given(which=st.integers(0, 4), at=st.integers(0, 2000), more=st.binary(max_size=8), cut=st.integers(0, 8))
def test_longer_or_shorter_signature_is_refused(which: int, at: int, more: bytes, cut: int) -> None:
    raw = samples()[which][1]
    at %= len(raw) + 1
    changed = raw[:at] + more + raw[at + cut :]
    if changed != raw:
        with pytest.raises(SignatureError):
            verify(armored(changed), [TEXT])


def test_signature_with_another_persons_key_is_refused() -> None:
    """The signature carries its public key. Another public key in its place does not fit the signature."""
    (_, mine), (theirs, _) = samples()[3], samples()[0]
    other = base64.b64decode(theirs.split()[1])
    length = int.from_bytes(mine[10:14])
    swapped = mine[:10] + string(other) + mine[14 + length :]
    with pytest.raises(SignatureError):
        verify(armored(swapped), [TEXT])


def test_signed_text_is_one_line_with_the_person_and_the_enrolment() -> None:
    assert TEXT == b"sshaft-enrol alice 0123456789abcdef0123456789abcdef\n"
