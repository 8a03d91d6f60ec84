"""Checks a signature of `ssh-keygen -Y sign` (OpenSSH's PROTOCOL.sshsig): it proves possession of a key without ssh.

The signed text names the person and the enrolment, so a signature counts for one enrolment only. The namespace keeps
out signatures that the key has made for another purpose (git, files).
"""

import base64
import binascii
from collections.abc import Collection
from contextlib import suppress
from hashlib import new, sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from sshaft import public_key
from sshaft.errors import InvalidKeyError
from sshaft.public_key import PublicKey
from sshaft_identity.common.language import N_, Filled
from sshaft_identity.enrolment.ssh_wire import Reader, WireError, positive, string

NAMESPACE = "sshaft-enrol"
_MAX_ARMORED = 32 * 1024
_USER_PRESENT = 0x01

_MAGIC = b"SSHSIG"
_BEGIN, _END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
_HASHES = (b"sha256", b"sha512")
_RSA: dict[bytes, hashes.HashAlgorithm] = {b"rsa-sha2-256": hashes.SHA256(), b"rsa-sha2-512": hashes.SHA512()}
_CURVES: dict[str, tuple[ec.EllipticCurve, hashes.HashAlgorithm]] = {
    "ecdsa-sha2-nistp256": (ec.SECP256R1(), hashes.SHA256()),
    "ecdsa-sha2-nistp384": (ec.SECP384R1(), hashes.SHA384()),
    "ecdsa-sha2-nistp521": (ec.SECP521R1(), hashes.SHA512()),
}


class SignatureError(ValueError):
    """The signature does not count. The text is a sentence for the person, without any of the data."""


def text_to_sign(user: str, enrolment_id: str) -> str:
    """Returns the line to sign. Within single quotes, no shell reads a part of the line as syntax."""
    return f"{NAMESPACE} {user} {enrolment_id}\n"


def signed_texts(user: str, enrolment_id: str) -> tuple[bytes, ...]:
    r"""Returns the forms in which a shell gives the line of `text_to_sign` to ssh-keygen.

    PowerShell ends a line with `\r\n`, and may write a byte order mark or UTF-16. `echo` of cmd.exe keeps quotes and
    blanks. Each form names the person and the enrolment, so a signature still counts for one enrolment only.
    """
    line = text_to_sign(user, enrolment_id).rstrip("\n")
    quoted = [f"{quote}{line}{quote}" for quote in ("", "'", '"')]
    forms = [each + blank + end for each in quoted for blank in ("", " ") for end in ("\n", "\r\n", "")]
    return tuple(form.encode(encoding) for encoding in ("utf-8", "utf-8-sig", "utf-16") for form in forms)


def verify(armored: str, messages: Collection[bytes], namespace: str = NAMESPACE) -> PublicKey:
    """Returns the key that signed one of `messages`.

    Raises `SignatureError` unless `armored` is one whole, valid signature.
    """
    try:
        return _verify_blob(_unarmor(armored), messages, namespace)
    except WireError:
        raise SignatureError(N_("This is not a whole SSH signature.")) from None
    except InvalidKeyError:
        raise SignatureError(N_("The signature is by a kind of key that is not taken here.")) from None


def _unarmor(armored: str) -> bytes:
    if len(armored) > _MAX_ARMORED:
        raise WireError("too long")
    lines = [line.strip() for line in armored.strip().splitlines()]
    if len(lines) < 3 or lines[0] != _BEGIN or lines[-1] != _END:
        raise SignatureError(N_("Paste the whole signature, from -----BEGIN to END SSH SIGNATURE-----."))
    try:
        return base64.b64decode("".join(lines[1:-1]).encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise WireError("not base64") from None


def _verify_blob(blob: bytes, messages: Collection[bytes], namespace: str) -> PublicKey:
    read = Reader(blob)
    if read.take(len(_MAGIC)) != _MAGIC or read.number() != 1:
        raise WireError("no SSHSIG of version 1")
    key = _public_key(read.string())
    signed_namespace, reserved, hash_name, signature = (read.string() for _ in range(4))
    read.end()
    if signed_namespace != namespace.encode():
        raise SignatureError(
            Filled(N_("The signature is for something else: sign with -n {namespace}."), namespace=namespace)
        )
    if reserved or hash_name not in _HASHES:
        raise WireError("unknown members")
    for message in messages:
        digest = new(hash_name.decode(), message).digest()
        signed = _MAGIC + b"".join(map(string, (signed_namespace, reserved, hash_name, digest)))
        with suppress(InvalidSignature):
            _check(key, signature, signed)
            return key
    raise SignatureError(N_("The signature does not fit the text of this page."))


def _public_key(blob: bytes) -> PublicKey:
    kind = Reader(blob).string().decode("ascii", "replace")
    return public_key.from_blob(kind, base64.b64encode(blob).decode())


def _check(key: PublicKey, signature: bytes, signed: bytes) -> None:
    """Raises `InvalidSignature`, `WireError` or `SignatureError` unless `signature` is `key`'s over `signed`."""
    read = Reader(signature)
    algorithm, value = read.string(), read.string()
    if key.is_security_key:
        signed = _signed_by_device(key, read, signed)
    read.end()
    if key.type == "ssh-rsa":
        if algorithm not in _RSA:
            raise SignatureError(N_("RSA signatures must be rsa-sha2-256 or rsa-sha2-512."))
        exponent, modulus = (int.from_bytes(field) for field in key.fields)
        if len(value) != (modulus.bit_length() + 7) // 8:
            raise WireError("not as long as the key")
        rsa.RSAPublicNumbers(exponent, modulus).public_key().verify(value, signed, padding.PKCS1v15(), _RSA[algorithm])
    elif algorithm != key.type.encode():
        raise WireError("of another type than its key")
    elif "ed25519" in key.type:
        ed25519.Ed25519PublicKey.from_public_bytes(key.fields[0]).verify(value, signed)
    else:
        _check_ecdsa(key, value, signed)


def _signed_by_device(key: PublicKey, read: Reader, signed: bytes) -> bytes:
    """Returns the data that the device signs: hashes, its flags and its counter (PROTOCOL.u2f, SSH U2F Signatures)."""
    flags, counter = read.take(1), read.take(4)
    if not flags[0] & _USER_PRESENT:
        raise SignatureError(N_("The security key was not touched: sign without -O no-touch-required."))
    return sha256(key.fields[-1]).digest() + flags + counter + sha256(signed).digest()


def _check_ecdsa(key: PublicKey, value: bytes, signed: bytes) -> None:
    curve, digest = _CURVES[key.type.removeprefix("sk-").removesuffix("@openssh.com")]
    read = Reader(value)
    r, s = positive(read.string()), positive(read.string())
    read.end()
    public = ec.EllipticCurvePublicKey.from_encoded_point(curve, key.fields[1])
    public.verify(encode_dss_signature(r, s), signed, ec.ECDSA(digest))
