"""Tests attestations of security keys, made by a maker and a device of software: no hardware was at hand."""

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from fakes import public_keys
from fakes.public_keys import string
from fakes.security_key import AAGUID, START, Maker, SecurityKey, cbor
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from sshaft.public_key import parse
from sshaft_identity.enrolment.attestation import AttestationError, read_roots, verify
from sshaft_identity.people.key_policy import KeyPolicy

CHALLENGE = b"sshaft-enrol alice 0123456789abcdef0123456789abcdef\n"
NOW = START + timedelta(days=300)
MAKER = Maker()
ROOTS = [MAKER.root]
DEVICE = f"{AAGUID.hex()} CN=Example Key 5"
TOUCHED, WITH_EXTENSIONS = 0x41, 0xC1


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
@pytest.mark.parametrize("u2f", [False, True], ids=["packed", "fido-u2f"])
def test_attestation_of_a_trusted_maker_names_the_device(kind: str, u2f: bool) -> None:
    key = SecurityKey(kind)
    assert verify(key.attestation(MAKER, CHALLENGE, u2f=u2f), parse(key.public), [CHALLENGE], ROOTS, NOW) == DEVICE


@pytest.mark.parametrize(
    "batch",
    [ed25519.Ed25519PrivateKey.generate, lambda: rsa.generate_private_key(65537, 2048)],
    ids=["Ed25519", "RSA"],
)
def test_device_may_sign_with_another_kind_of_key(batch: Callable[[], Any]) -> None:
    key, other = SecurityKey(batch=batch()), SecurityKey(batch=batch())
    assert verify(key.attestation(MAKER, CHALLENGE), parse(key.public), [CHALLENGE], ROOTS, NOW) == DEVICE
    certificate = MAKER.device_certificate(other.batch.public_key())
    data = key.attestation(MAKER, CHALLENGE, device_certificate=certificate)
    refused(data, key.public, "not made for the challenge")


def test_device_with_a_key_on_another_curve_is_refused() -> None:
    key = SecurityKey(batch=ec.generate_private_key(ec.SECP384R1()))
    refused(key.attestation(MAKER, CHALLENGE), key.public, "^This is not a whole attestation")


@pytest.mark.parametrize(
    "value", [2, 0, 23, 24, 255, 256, 65536, -1, -25, b"", b"x" * 300, "", "é", {1: b"a", "b": {}}, True, False]
)
def test_extensions_of_the_authenticator_are_ignored(value: object) -> None:
    key = SecurityKey()
    data = key.authenticator_data(flags=0xC5, extensions=cbor({"credProtect": value}))
    assert verify(key.attestation(MAKER, CHALLENGE, data=data), parse(key.public), [CHALLENGE], ROOTS, NOW) == DEVICE


def refused(data: bytes, key: str, because: str, *, challenge: bytes = CHALLENGE, roots: object = None) -> None:
    trusted = ROOTS if roots is None else roots
    with pytest.raises(AttestationError, match=because):
        verify(data, parse(key), [challenge], trusted, NOW)  # type: ignore[arg-type]


def test_attestation_for_another_challenge_is_refused() -> None:
    key = SecurityKey()
    refused(key.attestation(MAKER, b"yesterday's"), key.public, "not made for the challenge")


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_attestation_of_another_key_is_refused(kind: str) -> None:
    key = SecurityKey(kind)
    refused(key.attestation(MAKER, CHALLENGE), SecurityKey("ed25519").public, "of another key")
    refused(key.attestation(MAKER, CHALLENGE), SecurityKey("ecdsa").public, "of another key")


def test_key_with_another_application_is_another_key() -> None:
    key = SecurityKey(application=b"ssh:")
    renamed = public_keys.text(public_keys.blob(key.type, key.point, b"ssh:other"))
    refused(key.attestation(MAKER, CHALLENGE), renamed, "of another key")


def test_attestation_of_an_unknown_maker_is_refused() -> None:
    key = SecurityKey()
    refused(key.attestation(Maker("Somebody"), CHALLENGE), key.public, "of no maker")


def test_maker_of_the_same_name_with_another_key_is_refused() -> None:
    key = SecurityKey()
    refused(key.attestation(Maker(), CHALLENGE), key.public, "of no maker")


def test_device_cannot_vouch_for_another_device() -> None:
    """The operator gave the certificate of a device as a root by mistake. It is no certificate authority."""
    key = SecurityKey()
    leaf = Maker("Example Keys Root", key.batch, ca=False)
    data = key.attestation(leaf, CHALLENGE)
    refused(data, key.public, "of no maker", roots=[leaf.root])


def test_certificate_of_an_authority_is_no_device() -> None:
    key = SecurityKey()
    device_certificate = MAKER.device_certificate(key.batch.public_key(), ca=True)
    data = key.attestation(MAKER, CHALLENGE, device_certificate=device_certificate)
    refused(data, key.public, "not valid now")


def test_expired_certificate_is_refused() -> None:
    key = SecurityKey()
    short = MAKER.device_certificate(key.batch.public_key(), days=299)
    refused(key.attestation(MAKER, CHALLENGE, device_certificate=short), key.public, "not valid now")
    old = Maker(days=299)
    refused(key.attestation(old, CHALLENGE), key.public, "of no maker", roots=[old.root])


def test_certificate_for_another_model_is_refused() -> None:
    key = SecurityKey()
    other = MAKER.device_certificate(key.batch.public_key(), aaguid=b"\xff" * 16)
    refused(key.attestation(MAKER, CHALLENGE, device_certificate=other), key.public, "another model")


def test_certificate_without_a_model_is_accepted() -> None:
    key = SecurityKey()
    silent = MAKER.device_certificate(key.batch.public_key(), aaguid=None)
    data = key.attestation(MAKER, CHALLENGE, device_certificate=silent)
    assert verify(data, parse(key.public), [CHALLENGE], ROOTS, NOW)


def test_signature_of_another_device_is_refused() -> None:
    key = SecurityKey()
    shown = MAKER.device_certificate(ec.generate_private_key(ec.SECP256R1()).public_key())
    refused(key.attestation(MAKER, CHALLENGE, device_certificate=shown), key.public, "not made for the challenge")


def test_attestation_without_a_touch_is_refused() -> None:
    key = SecurityKey()
    data = key.authenticator_data(flags=0x40)
    refused(key.attestation(MAKER, CHALLENGE, data=data), key.public, "of another key")


def test_older_format_is_refused_with_advice() -> None:
    key = SecurityKey()
    refused(key.attestation(MAKER, CHALLENGE, version=b"ssh-sk-attest-v00"), key.public, "OpenSSH 8.5")


def test_software_key_has_no_attestation() -> None:
    refused(SecurityKey().attestation(MAKER, CHALLENGE), public_keys.ed25519(), "Only a security key")


def test_attestation_without_known_makers_is_refused() -> None:
    key = SecurityKey()
    refused(key.attestation(MAKER, CHALLENGE), key.public, "knows no makers", roots=[])


@pytest.mark.parametrize("data", [b"", b"\xff" * 100, b"\0\0\0\x11ssh-sk-attest-v01", b"x" * 40_000])
def test_malformed_attestation_is_refused_in_a_sentence(data: bytes) -> None:
    refused(data, SecurityKey().public, "^This is not a whole attestation")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_roots_are_read_as_editors_write_them(tmp_path: Path, encoding: str) -> None:
    """Case bom_utf16: one reader reads every text file of the operator."""
    (tmp_path / "makers.pem").write_bytes(MAKER.pem.decode().replace("\n", "\r\n").encode(encoding))
    assert read_roots(KeyPolicy(attestation_roots="makers.pem"), tmp_path) == ROOTS


# --- CBOR


def malformed(key: SecurityKey, data: bytes) -> None:
    refused(key.attestation(MAKER, CHALLENGE, data=data), key.public, "^This is not a whole attestation")


CUT_OR_ODD = [b"", b"\x58", b"\x5f", b"\x1c", b"\xc0\x00", b"\xf9\x00\x00", b"\x61\xff", b"\x5b" + b"\xff" * 8,
              b"\xbb" + b"\xff" * 8, b"\x18\x05", b"\x42x", b"\xf6", b"\x81" * 20_000 + b"\x00"]  # fmt: skip


@pytest.mark.parametrize(
    "item", [*CUT_OR_ODD, b"\x81" * 9 + b"\x00", b"\xa1\x40\x00"], ids=lambda item: item[:12].hex()
)
def test_malformed_extensions_are_refused(item: bytes) -> None:
    key = SecurityKey()
    malformed(key, key.authenticator_data(WITH_EXTENSIONS, item))


@pytest.mark.parametrize("item", CUT_OR_ODD, ids=lambda item: item[:12].hex())
def test_malformed_value_of_an_extension_is_refused(item: bytes) -> None:
    key = SecurityKey()
    malformed(key, key.authenticator_data(WITH_EXTENSIONS, b"\xa1\x61a" + item))


@pytest.mark.parametrize("extensions", [{"a": 1, "b": 1}, {}], ids=["two", "none"])
def test_bytes_after_the_authenticators_data_are_refused(extensions: dict[str, int]) -> None:
    key = SecurityKey()
    malformed(key, key.authenticator_data(WITH_EXTENSIONS, cbor(extensions) + b"\0"))
    malformed(key, key.authenticator_data(TOUCHED, cbor(extensions)))


def test_name_that_comes_twice_is_refused() -> None:
    key = SecurityKey()
    malformed(key, key.authenticator_data(WITH_EXTENSIONS, b"\xa2\x61a\x01\x61a\x01"))
    key.cose = b"\xa5" + key.cose[1:] + cbor(-2) + cbor(key.point)
    malformed(key, key.authenticator_data())


def test_key_with_a_member_more_is_another_key() -> None:
    key = SecurityKey()
    key.cose = b"\xa5" + key.cose[1:] + cbor(-3) + cbor(b"")
    refused(key.attestation(MAKER, CHALLENGE, data=key.authenticator_data()), key.public, "of another key")


def test_data_without_a_credential_is_refused() -> None:
    key = SecurityKey()
    malformed(key, key.authenticator_data(flags=0x01))
    malformed(key, key.authenticator_data(flags=0x01)[:37])


def test_authenticators_data_must_be_bytes_in_the_shortest_form() -> None:
    key = SecurityKey()
    inner = cbor(key.authenticator_data())
    assert inner[0] == 0x58
    good = key.attestation(MAKER, CHALLENGE)
    for outer in (b"\x59\0" + inner[1:], b"\x58\xff" + inner[2:], inner + b"\0", b"\x78" + inner[1:], cbor(37)):
        changed = good.replace(string(inner), string(outer))
        assert changed != good
        refused(changed, key.public, "^This is not a whole attestation")


# --- random data

SAMPLE = SecurityKey()
SAMPLE_DATA = SAMPLE.attestation(MAKER, CHALLENGE)
CERTIFICATE_AT = 4 + len("ssh-sk-attest-v01") + 4
CERTIFICATE_SIZE = int.from_bytes(SAMPLE_DATA[CERTIFICATE_AT - 4 : CERTIFICATE_AT])
CERTIFICATE = x509.load_der_x509_certificate(SAMPLE_DATA[CERTIFICATE_AT:][:CERTIFICATE_SIZE])
# The byte before the signature is the number of its unused bits: 0 and 1 mean the same if the last bit is 0.
UNUSED_BITS_AT = SAMPLE_DATA.index(CERTIFICATE.signature) - 1
SENTENCE = r"^[A-Z][^\n]*\.$"


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, len(SAMPLE_DATA) - 1), bits=st.integers(1, 255))
@example(at=40, bits=128)  # a negative serial number
def test_changed_byte_is_refused_unless_it_is_reserved(at: int, bits: int) -> None:
    assume(at != UNUSED_BITS_AT)
    raw = bytearray(SAMPLE_DATA)
    raw[at] ^= bits
    reserved = range(len(raw) - 8, len(raw) - 4)
    if at in reserved:
        assert verify(bytes(raw), parse(SAMPLE.public), [CHALLENGE], ROOTS, NOW)
    else:
        refused(bytes(raw), SAMPLE.public, SENTENCE)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, len(SAMPLE_DATA) - 8), removed=st.integers(0, 40), added=st.binary(max_size=40))
def test_random_mutation_is_refused_in_a_sentence(at: int, removed: int, added: bytes) -> None:
    assume(at != UNUSED_BITS_AT)
    end = min(at + removed, len(SAMPLE_DATA) - 8)  # the last 8 bytes are reserved
    assume(added != SAMPLE_DATA[at:end])
    refused(SAMPLE_DATA[:at] + added + SAMPLE_DATA[end:], SAMPLE.public, SENTENCE)


@given(length=st.integers(0, len(SAMPLE_DATA) - 1))
def test_attestation_that_is_cut_off_is_refused_in_a_sentence(length: int) -> None:
    refused(SAMPLE_DATA[:length], SAMPLE.public, SENTENCE)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(flags=st.integers(0, 255), credential=st.binary(max_size=80), extensions=st.binary(max_size=60))
def test_random_authenticators_data_is_refused_in_a_sentence(flags: int, credential: bytes, extensions: bytes) -> None:
    head = SAMPLE.authenticator_data(flags)[:37]
    for data in (head + credential, SAMPLE.authenticator_data(flags | 0x80, extensions)):
        with suppress(AttestationError):
            assert verify(
                SAMPLE.attestation(MAKER, CHALLENGE, data=data), parse(SAMPLE.public), [CHALLENGE], ROOTS, NOW
            )
