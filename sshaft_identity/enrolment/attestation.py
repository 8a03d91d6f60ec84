"""Whether a security key's private half is in a device of a kind that the operator trusts.

`ssh-keygen -t ed25519-sk -O challenge=FILE -O write-attestation=FILE` leaves what the device's maker signed (OpenSSH's
PROTOCOL.u2f, "ssh-sk-attest-v01"); W3C WebAuthn §6.5 says how to read it, §8.2 and §8.6 what the signature covers.
"""

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from sshaft.errors import ConfigurationError
from sshaft.public_key import PublicKey
from sshaft.text import printable
from sshaft_identity.enrolment import cbor
from sshaft_identity.enrolment.ssh_wire import Reader, WireError
from sshaft_identity.people.key_policy import KeyPolicy

MAX_FILE = 32 * 1024
_V00, _V01 = b"ssh-sk-attest-v00", b"ssh-sk-attest-v01"
_PRESENT, _HAS_CREDENTIAL, _HAS_EXTENSIONS = 0x01, 0x40, 0x80
_MALFORMED = (  # WireError is a ValueError; the others are what cryptography says of odd certificates
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
_AAGUID_EXTENSION = x509.ObjectIdentifier("1.3.6.1.4.1.45724.1.1.4")  # WebAuthn §8.2.1


class AttestationError(ValueError):
    """Not an attestation that counts. Says why in words for the person, without repeating what came."""


@dataclass(frozen=True, slots=True)
class _Credential:
    """The attested credential data of the authenticator (WebAuthn §6.5.1)."""

    raw: bytes
    application_hash: bytes
    flags: int
    aaguid: bytes
    identifier: bytes
    point: bytes
    """65 bytes uncompressed for ES256, 32 for EdDSA."""


def verify(data: bytes, key: PublicKey, challenge: bytes, roots: list[x509.Certificate], now: datetime) -> str:
    """What the attestation says of the device: its AAGUID and the maker's name of the certificate.

    Raises `AttestationError` unless `data` attests `key` for `challenge` under one of `roots`.
    """
    if not key.is_security_key:
        raise AttestationError("Only a security key (sk-) can have an attestation.")
    if not roots:
        raise AttestationError("This service knows no makers of security keys (attestation_roots).")
    try:
        return _verified(data, key, sha256(challenge).digest(), roots, now)
    except AttestationError:
        raise
    except _MALFORMED:
        raise AttestationError("This is not a whole attestation of ssh-keygen.") from None


def _verified(data: bytes, key: PublicKey, challenge_hash: bytes, roots: list[x509.Certificate], now: datetime) -> str:
    encoded, signature, credential = _parsed(data)
    certificate = x509.load_der_x509_certificate(encoded)
    if (
        credential.point != _point(key)
        or credential.application_hash != sha256(key.fields[-1]).digest()
        or not credential.flags & _PRESENT
    ):
        raise AttestationError("The attestation is of another key.")
    _check_certificate(certificate, credential.aaguid, roots, now)
    _check_signature(certificate, signature, credential, challenge_hash)
    return f"{credential.aaguid.hex()} {printable(certificate.subject.rfc4514_string(), 160)}"


def read_roots(policy: KeyPolicy, directory: Path) -> list[x509.Certificate]:
    """Returns the certificates of `attestation_roots`. A relative path begins at the service's directory.

    Raises `ConfigurationError` if the file cannot be read or holds no certificate.
    """
    if policy.attestation_roots is None:
        return []
    path = directory / policy.attestation_roots
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigurationError(f"{path} holds no PEM certificates") from error


def _parsed(data: bytes) -> tuple[bytes, bytes, _Credential]:
    """Certificate, signature and credential. Raises `WireError`."""
    if len(data) > MAX_FILE:
        raise WireError("too long")
    read = Reader(data)
    version = read.string()
    if version == _V00:
        raise AttestationError("This attestation lacks the authenticator's data: make it with OpenSSH 8.5 or later.")
    if version != _V01:
        raise WireError("no attestation")
    certificate, signature, wrapped = read.string(), read.string(), read.string()
    read.number(), read.string()  # reserved
    read.end()
    unwrapping = Reader(wrapped)
    authenticator_data = cbor.read(unwrapping)
    unwrapping.end()
    if not isinstance(authenticator_data, bytes):
        raise WireError("no bytes")
    return certificate, signature, _credential(authenticator_data)


def _credential(raw: bytes) -> _Credential:
    read = Reader(raw)
    application_hash, flags = read.take(32), read.take(1)[0]
    read.take(4)  # the counter
    if not flags & _HAS_CREDENTIAL:
        raise WireError("no credential")
    aaguid = read.take(16)
    identifier = read.take(int.from_bytes(read.take(2)))
    cose = cbor.read(read)
    if flags & _HAS_EXTENSIONS:
        cbor.read(read)
    read.end()
    return _Credential(raw, application_hash, flags, aaguid, identifier, _cose_point(cose))


def _cose_point(cose: cbor.Value) -> bytes:
    """RFC 9053 §7: ES256 on P-256 (kty 2, crv 1) or EdDSA on Ed25519 (kty 1, crv 6)."""
    if not isinstance(cose, dict):
        raise WireError("no key")
    x, y = cose.get(-2), cose.get(-3)
    if (cose.get(1), cose.get(3), cose.get(-1)) == (1, -8, 6) and isinstance(x, bytes) and len(x) == 32:
        return x
    kind = cose.get(1), cose.get(3), cose.get(-1)
    if kind == (2, -7, 1) and isinstance(x, bytes) and isinstance(y, bytes) and len(x) == len(y) == 32:
        return b"\x04" + x + y
    raise WireError("a key of a kind that OpenSSH does not make")


def _point(key: PublicKey) -> bytes:
    return key.fields[-2]


def _check_certificate(
    certificate: x509.Certificate, aaguid: bytes, roots: list[x509.Certificate], now: datetime
) -> None:
    """OpenSSH keeps the device's own certificate only, so it must be issued by one that the operator gave."""
    for root in roots:
        try:
            certificate.verify_directly_issued_by(root)
        except (ValueError, TypeError, InvalidSignature):
            continue
        if _is_ca(root) and _runs(root, now):
            break
    else:
        raise AttestationError("The security key is of no maker that is trusted here.")
    if _is_ca(certificate) or not _runs(certificate, now):
        raise AttestationError("The certificate of the security key is not valid now.")
    try:
        named = certificate.extensions.get_extension_for_oid(_AAGUID_EXTENSION).value
    except x509.ExtensionNotFound:
        return
    # an OCTET STRING of 16 bytes within the extension's own
    if not isinstance(named, x509.UnrecognizedExtension) or named.value != b"\x04\x10" + aaguid:
        raise AttestationError("The certificate is for another model of security key.")


def _runs(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _check_signature(
    certificate: x509.Certificate, signature: bytes, credential: _Credential, challenge_hash: bytes
) -> None:
    """WebAuthn's `packed`, or `fido-u2f` for older devices: OpenSSH does not write down which."""
    packed = credential.raw + challenge_hash
    older = b"\0" + credential.application_hash + challenge_hash + credential.identifier + credential.point
    if not any(_is_signed(certificate, signature, covered) for covered in (packed, older)):
        raise AttestationError("The attestation was not made for the challenge of this page.")


def _is_signed(certificate: x509.Certificate, signature: bytes, covered: bytes) -> bool:
    public = certificate.public_key()
    try:
        match public:
            case ec.EllipticCurvePublicKey():
                public.verify(signature, covered, ec.ECDSA(hashes.SHA256()))
            case rsa.RSAPublicKey():
                public.verify(signature, covered, padding.PKCS1v15(), hashes.SHA256())
            case ed25519.Ed25519PublicKey():
                public.verify(signature, covered)
            case _:
                return False
    except InvalidSignature:
        return False
    return True
