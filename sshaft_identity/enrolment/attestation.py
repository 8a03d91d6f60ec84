"""Checks the attestation of a security key: that its private key is in a device of a maker whom the operator trusts.

`ssh-keygen -t ed25519-sk -O challenge=FILE -O write-attestation=FILE` writes the signature of the maker (OpenSSH's
PROTOCOL.u2f, "ssh-sk-attest-v01"). `fido2` reads the authenticator data in it (W3C WebAuthn §6.1).
"""

from collections.abc import Collection
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from fido2 import cbor
from fido2.cose import ES256, RS256, CoseKey, EdDSA
from fido2.webauthn import AuthenticatorData

from sshaft import files
from sshaft.errors import ConfigurationError
from sshaft.public_key import PublicKey
from sshaft.text import printable
from sshaft_identity.common.language import N_
from sshaft_identity.enrolment.ssh_wire import Reader, WireError
from sshaft_identity.people.key_policy import KeyPolicy

MAX_FILE = 32 * 1024
_V00, _V01 = b"ssh-sk-attest-v00", b"ssh-sk-attest-v01"
_AAGUID_EXTENSION = x509.ObjectIdentifier("1.3.6.1.4.1.45724.1.1.4")  # WebAuthn §8.2.1


class AttestationError(ValueError):
    """The data is not an attestation that counts. The text is a sentence for the person, without any of the data."""


def verify(
    data: bytes, key: PublicKey, challenges: Collection[bytes], roots: list[x509.Certificate], now: datetime
) -> str:
    """Returns the AAGUID of the device in hex and the subject of its certificate, with a blank between them.

    Raises `AttestationError` unless `data` attests `key` for one of `challenges` under one of `roots`.
    """
    if not key.is_security_key:
        raise AttestationError(N_("Only a security key (sk-) can have an attestation."))
    if not roots:
        raise AttestationError(N_("This service knows no makers of security keys (attestation_roots)."))
    try:
        return _verify(data, key, [sha256(each).digest() for each in challenges], roots, now)
    except AttestationError:
        raise
    except Exception:  # noqa: BLE001 - fido2 and cryptography raise many kinds of errors for malformed data
        raise AttestationError(N_("This is not a whole attestation of ssh-keygen.")) from None


def _verify(
    data: bytes, key: PublicKey, hashes: Collection[bytes], roots: list[x509.Certificate], now: datetime
) -> str:
    encoded, signature, authenticator = _parse(data)
    certificate = x509.load_der_x509_certificate(encoded)
    credential = authenticator.credential_data
    if credential is None:
        raise WireError("no credential")
    if (
        credential.public_key != _cose_key(key)
        or authenticator.rp_id_hash != sha256(key.fields[-1]).digest()
        or not authenticator.is_user_present()
    ):
        raise AttestationError(N_("The attestation is of another key."))
    _check_certificate(certificate, credential.aaguid, roots, now)
    # OpenSSH does not write down whether the format is `packed` (WebAuthn §8.2) or `fido-u2f` (§8.6).
    packed = [authenticator + each for each in hashes]
    u2f = [b"\0" + authenticator.rp_id_hash + each + credential.credential_id + key.fields[-2] for each in hashes]
    if not any(_is_signed(certificate, signature, covered) for covered in packed + u2f):
        raise AttestationError(N_("The attestation was not made for the challenge of this page."))
    return f"{credential.aaguid.hex()} {printable(certificate.subject.rfc4514_string(), 160)}"


def read_roots(policy: KeyPolicy, directory: Path) -> list[x509.Certificate]:
    """Returns the certificates of `attestation_roots`. A relative path begins at the service's directory.

    Raises `ConfigurationError` if the file cannot be read or holds no certificate.
    """
    if policy.attestation_roots is None:
        return []
    path = directory / policy.attestation_roots
    try:
        return x509.load_pem_x509_certificates(files.read_text(path).encode())
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigurationError(f"{path} holds no PEM certificates") from error


def _parse(data: bytes) -> tuple[bytes, bytes, AuthenticatorData]:
    """Returns the certificate in DER, the signature and the authenticator data."""
    if len(data) > MAX_FILE:
        raise WireError("too long")
    read = Reader(data)
    version = read.string()
    if version == _V00:
        raise AttestationError(
            N_("This attestation lacks the authenticator's data: make it with OpenSSH 8.5 or later.")
        )
    if version != _V01:
        raise WireError("no attestation")
    certificate, signature, wrapped = read.string(), read.string(), read.string()
    read.number(), read.string()  # reserved
    read.end()
    raw = cbor.decode(wrapped)
    if not isinstance(raw, bytes) or cbor.encode(raw) != wrapped:
        raise WireError("no bytes")
    authenticator = AuthenticatorData(raw)
    if not _is_canonical(authenticator):
        raise WireError("not canonical")
    return certificate, signature, authenticator


def _is_canonical(data: AuthenticatorData) -> bool:
    """Whether all CBOR is canonical (CTAP 2.1 §8) and extensions have names. `fido2` also reads values that are cut."""
    if data.extensions and not all(isinstance(name, str) for name in data.extensions):
        return False
    credential = data.credential_data or b""
    rebuilt = AuthenticatorData.create(data.rp_id_hash, data.flags, data.counter, credential, data.extensions)
    return bytes(rebuilt) == bytes(data)  # `==` of fido2's classes compares the members


def _cose_key(key: PublicKey) -> dict[int, int | bytes]:
    """Returns the COSE key that an authenticator must write for `key` (RFC 9053 §7, WebAuthn §6.5.1.1)."""
    point = key.fields[-2]
    if len(point) == 32:
        return {1: 1, 3: EdDSA.ALGORITHM, -1: 6, -2: point}
    return {1: 2, 3: ES256.ALGORITHM, -1: 1, -2: point[1:33], -3: point[33:]}


def _check_certificate(
    certificate: x509.Certificate, aaguid: bytes, roots: list[x509.Certificate], now: datetime
) -> None:
    """Checks a device's certificate. OpenSSH keeps no chain, so one of `roots` must have issued it directly."""
    for root in roots:
        try:
            certificate.verify_directly_issued_by(root)
        except (ValueError, TypeError, InvalidSignature):
            continue
        if _is_ca(root) and _runs(root, now):
            break
    else:
        raise AttestationError(N_("The security key is of no maker that is trusted here."))
    if _is_ca(certificate) or not _runs(certificate, now):
        raise AttestationError(N_("The certificate of the security key is not valid now."))
    try:
        named = certificate.extensions.get_extension_for_oid(_AAGUID_EXTENSION).value
    except x509.ExtensionNotFound:
        return
    # an OCTET STRING of 16 bytes within the extension's own
    if not isinstance(named, x509.UnrecognizedExtension) or named.value != b"\x04\x10" + aaguid:
        raise AttestationError(N_("The certificate is for another model of security key."))


def _runs(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _is_signed(certificate: x509.Certificate, signature: bytes, covered: bytes) -> bool:
    public = certificate.public_key()
    is_rsa, is_ed25519 = isinstance(public, rsa.RSAPublicKey), isinstance(public, ed25519.Ed25519PublicKey)
    kind: type[CoseKey] = RS256 if is_rsa else EdDSA if is_ed25519 else ES256
    try:
        kind.from_cryptography_key(public).verify(covered, signature)
    except InvalidSignature:
        return False
    return True
