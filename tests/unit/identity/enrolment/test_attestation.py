"""Attestations of security keys, by a maker and a device of our own: no hardware was at hand."""

from contextlib import suppress
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from fakes import public_keys
from fakes.security_key import AAGUID, START, Maker, SecurityKey, cbor
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from sshaft.public_key import parse
from sshaft_identity.enrolment import cbor as reading
from sshaft_identity.enrolment.attestation import AttestationError, verify
from sshaft_identity.enrolment.ssh_wire import Reader, WireError

CHALLENGE = b"sshaft-enrol alice 0123456789abcdef0123456789abcdef\n"
NOW = START + timedelta(days=300)
MAKER = Maker()
ROOTS = [MAKER.root]


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
@pytest.mark.parametrize("u2f", [False, True], ids=["packed", "fido-u2f"])
def test_an_attestation_of_a_trusted_maker_names_the_device(kind: str, u2f: bool) -> None:
    key = SecurityKey(kind)
    said = verify(key.attestation(MAKER, CHALLENGE, u2f=u2f), parse(key.public), CHALLENGE, ROOTS, NOW)
    assert said == f"{AAGUID.hex()} CN=Example Key 5"


def test_extensions_of_the_authenticator_are_read_over() -> None:
    key = SecurityKey()
    data = key.authenticator_data(flags=0xC5, extensions=cbor({"credProtect": 2}))
    assert verify(key.attestation(MAKER, CHALLENGE, data=data), parse(key.public), CHALLENGE, ROOTS, NOW)


def refused(data: bytes, key: str, because: str, *, challenge: bytes = CHALLENGE, roots: object = None) -> None:
    trusted = ROOTS if roots is None else roots
    with pytest.raises(AttestationError, match=because):
        verify(data, parse(key), challenge, trusted, NOW)  # type: ignore[arg-type]


def test_another_challenge_is_refused() -> None:
    key = SecurityKey()
    refused(key.attestation(MAKER, b"yesterday's"), key.public, "not made for the challenge")


def test_another_key_than_the_attested_is_refused() -> None:
    key, other = SecurityKey(), SecurityKey()
    refused(key.attestation(MAKER, CHALLENGE), other.public, "of another key")


def test_another_application_is_another_key() -> None:
    key = SecurityKey(application=b"ssh:")
    renamed = public_keys.text(public_keys.blob(key.type, key.point, b"ssh:other"))
    refused(key.attestation(MAKER, CHALLENGE), renamed, "of another key")


def test_an_unknown_maker_is_refused() -> None:
    key = SecurityKey()
    refused(key.attestation(Maker("Somebody"), CHALLENGE), key.public, "of no maker")


def test_a_maker_of_the_same_name_with_another_key_is_refused() -> None:
    key = SecurityKey()
    refused(key.attestation(Maker(), CHALLENGE), key.public, "of no maker")


def test_a_device_cannot_vouch_for_another() -> None:
    """A certificate of a device, given as a root by mistake, is no certificate authority."""
    key = SecurityKey()
    leaf = Maker("Example Keys Root", key.batch, ca=False)
    data = key.attestation(leaf, CHALLENGE)
    refused(data, key.public, "of no maker", roots=[leaf.root])


def test_an_authoritys_own_certificate_is_no_device() -> None:
    key = SecurityKey()
    device_certificate = MAKER.device_certificate(key.batch.public_key(), ca=True)
    data = key.attestation(MAKER, CHALLENGE, device_certificate=device_certificate)
    refused(data, key.public, "not valid now")


def test_what_has_run_out_is_refused() -> None:
    key = SecurityKey()
    short = MAKER.device_certificate(key.batch.public_key(), days=299)
    refused(key.attestation(MAKER, CHALLENGE, device_certificate=short), key.public, "not valid now")
    old = Maker(days=299)
    refused(key.attestation(old, CHALLENGE), key.public, "of no maker", roots=[old.root])


def test_a_certificate_for_another_model_is_refused() -> None:
    key = SecurityKey()
    other = MAKER.device_certificate(key.batch.public_key(), aaguid=b"\xff" * 16)
    refused(key.attestation(MAKER, CHALLENGE, device_certificate=other), key.public, "another model")
    silent = MAKER.device_certificate(key.batch.public_key(), aaguid=None)
    data = key.attestation(MAKER, CHALLENGE, device_certificate=silent)
    assert verify(data, parse(key.public), CHALLENGE, ROOTS, NOW)


def test_a_signature_by_another_device_is_refused() -> None:
    key = SecurityKey()
    shown = MAKER.device_certificate(ec.generate_private_key(ec.SECP256R1()).public_key())
    refused(key.attestation(MAKER, CHALLENGE, device_certificate=shown), key.public, "not made for the challenge")


def test_no_touch_no_attestation() -> None:
    key = SecurityKey()
    data = key.authenticator_data(flags=0x40)
    refused(key.attestation(MAKER, CHALLENGE, data=data), key.public, "of another key")


def test_the_older_format_is_refused_with_what_to_do() -> None:
    key = SecurityKey()
    refused(key.attestation(MAKER, CHALLENGE, version=b"ssh-sk-attest-v00"), key.public, "OpenSSH 8.5")


def test_a_software_key_has_no_attestation() -> None:
    refused(SecurityKey().attestation(MAKER, CHALLENGE), public_keys.ed25519(), "Only a security key")


def test_without_roots_nothing_counts() -> None:
    key = SecurityKey()
    refused(key.attestation(MAKER, CHALLENGE), key.public, "knows no makers", roots=[])


@pytest.mark.parametrize("data", [b"", b"\xff" * 100, b"\0\0\0\x11ssh-sk-attest-v01", b"x" * 40_000])
def test_what_is_no_attestation_is_refused_in_a_sentence(data: bytes) -> None:
    refused(data, SecurityKey().public, "^This is not a whole attestation")


SAMPLE = SecurityKey()
SAMPLE_DATA = SAMPLE.attestation(MAKER, CHALLENGE)
CERTIFICATE_AT = 4 + len("ssh-sk-attest-v01") + 4
CERTIFICATE_SIZE = int.from_bytes(SAMPLE_DATA[CERTIFICATE_AT - 4 : CERTIFICATE_AT])
CERTIFICATE = x509.load_der_x509_certificate(SAMPLE_DATA[CERTIFICATE_AT:][:CERTIFICATE_SIZE])
# In front of a certificate's signature stands how many of its last bits are not used: 1 says nothing where that is 0.
UNUSED_BITS_AT = SAMPLE_DATA.index(CERTIFICATE.signature) - 1


@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, len(SAMPLE_DATA) - 1), bits=st.integers(1, 255))
@example(at=40, bits=128)  # a negative serial number
def test_no_changed_byte_passes_but_in_what_is_reserved(at: int, bits: int) -> None:
    assume(at != UNUSED_BITS_AT)
    raw = bytearray(SAMPLE_DATA)
    raw[at] ^= bits
    reserved = range(len(raw) - 8, len(raw) - 4)
    if at in reserved:
        assert verify(bytes(raw), parse(SAMPLE.public), CHALLENGE, ROOTS, NOW)
    else:
        refused(bytes(raw), SAMPLE.public, r"^[A-Z][^\n]*\.$")


# --- CBOR


@pytest.mark.parametrize("value", [0, 23, 24, 255, 256, 65536, -1, -25, b"", b"x" * 300, "", "é", {1: b"a", "b": {}}])
def test_cbor_is_read_as_it_was_written(value: object) -> None:
    read = Reader(cbor(value))
    assert reading.read(read) == value
    read.end()


@pytest.mark.parametrize(
    "data",
    [b"", b"\x58", b"\x5f", b"\x1c", b"\xc0\x00", b"\xf9\x00\x00", b"\x81" * 9 + b"\x00", b"\xa1\x40\x00", b"\x61\xff",
     b"\x5b" + b"\xff" * 8, b"\xbb" + b"\xff" * 8],
    ids=bytes.hex,
)  # fmt: skip
def test_cbor_that_is_odd_or_cut_off_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        reading.read(Reader(data))


@settings(max_examples=300)
@given(st.binary(max_size=60))
def test_cbor_never_fails_in_another_way(data: bytes) -> None:
    with suppress(WireError):
        reading.read(Reader(data))
