"""Reads SSH public keys: foreign text becomes a checked value, and only this value is written out again."""

import base64
import binascii
import hashlib
import struct
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

from sshaft.errors import InvalidKeyError

SK_TYPES = ("sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com")
DEFAULT_TYPES = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
    *SK_TYPES,
)
MAX_TEXT = 24 * 1024
MIN_RSA_BITS = 2048
MAX_RSA_BITS = 16384  # OpenSSH's own limit (OPENSSL_RSA_MAX_MODULUS_BITS)

_CERTIFICATE = "-cert-v01@openssh.com"
_CURVES = {"nistp256": 65, "nistp384": 97, "nistp521": 133}  # uncompressed points, SEC 1 §2.3.3


@dataclass(frozen=True)
class PublicKey:
    """A public key of OpenSSH: its type and the blob of RFC 4253 §6.6. `parse` and `from_blob` make it."""

    type: str
    blob: bytes

    @cached_property
    def fingerprint(self) -> str:
        """Returns `SHA256:` and unpadded base64, as sshd's `%f` and `ssh-keygen -l` do."""
        return fingerprint(self.blob)

    @property
    def is_security_key(self) -> bool:
        return self.type in SK_TYPES

    @property
    def fields(self) -> tuple[bytes, ...]:
        """Returns the strings after the type in the blob, in the order of the type's standard."""
        return tuple(_fields(self.blob)[1:])

    def __str__(self) -> str:
        """Returns `TYPE BASE64`, the only form in which a program writes a key."""
        return f"{self.type} {base64.b64encode(self.blob).decode()}"


def is_certificate_type(key_type: str) -> bool:
    """Whether `key_type` names a certificate (`ssh-ed25519-cert-v01@openssh.com`)."""
    return "-cert-v" in key_type


def fingerprint(blob: bytes) -> str:
    """Returns the fingerprint of the key with this blob, see `PublicKey.fingerprint`."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def accepted_fingerprint(key_type: str, encoded: str) -> str:
    """Returns the fingerprint of a key that sshd has accepted, as sshd logs it: of a certificate, that of its key.

    sshd has judged the key, so only the form is checked here. Raises `InvalidKeyError`.
    """
    if not is_certificate_type(key_type):
        blob = _decode(encoded)
        if _fields(blob)[:1] != [key_type.encode()]:
            raise InvalidKeyError("the key data is of another type than its name")
        return fingerprint(blob)
    plain_type = key_type.removesuffix(_CERTIFICATE) + ("@openssh.com" if key_type.startswith("sk-") else "")
    count = _number_of_fields(plain_type)
    if count is None:
        raise InvalidKeyError("a certificate of an unknown type")
    fields = _fields(_decode(encoded), 2 + count)  # the type, a nonce and the key (OpenSSH's PROTOCOL.certkeys)
    if len(fields) != 2 + count or fields[0] != key_type.encode():
        raise InvalidKeyError("the certificate is of another type than its name")
    key = (plain_type.encode(), *fields[2:])
    return fingerprint(b"".join(struct.pack(">I", len(part)) + part for part in key))


def parse(text: str, types: Collection[str] = DEFAULT_TYPES) -> PublicKey:
    """Returns the key in `TYPE BASE64 [COMMENT]`, without the comment.

    Raises `InvalidKeyError` for other text (options, a second line, a certificate) and for a type outside `types`. It
    also refuses RSA below 2048 bits, and a blob that has not exactly the form of its type.
    """
    if len(text) > MAX_TEXT:
        raise InvalidKeyError("longer than 24 KiB")
    line = text.strip(" \t\r\n")
    if not line.isprintable() and any(c < " " and c != "\t" for c in line):
        raise InvalidKeyError("more than one line, or a control character")
    words = line.replace("\t", " ").split(" ", 1)
    if words[0] not in types:
        raise InvalidKeyError("not a public key of an allowed type")
    encoded = words[1].lstrip(" ").split(" ", 1)[0] if len(words) > 1 else ""
    return from_blob(words[0], encoded, types)


def from_blob(key_type: str, encoded: str, types: Collection[str] = DEFAULT_TYPES) -> PublicKey:
    """Returns the key in sshd's `%t` and `%k`. Raises `InvalidKeyError` as `parse` does."""
    if key_type not in types:
        raise InvalidKeyError("not a public key of an allowed type")
    blob = _decode(encoded)
    fields = _fields(blob)
    if not fields or fields[0] != key_type.encode():
        raise InvalidKeyError("the key data is of another type than its name")
    _check(key_type, fields[1:])
    return PublicKey(key_type, blob)


def _decode(encoded: str) -> bytes:
    try:
        blob = base64.b64decode(encoded.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise InvalidKeyError("not base64") from None
    if base64.b64encode(blob).decode() != encoded:  # one key, one spelling
        raise InvalidKeyError("not canonical base64")
    return blob


def _fields(blob: bytes, most: int = MAX_TEXT) -> list[bytes]:
    """Returns the strings (RFC 4251 §5) of a blob, the first `most` of them."""
    fields: list[bytes] = []
    at = 0
    while at < len(blob) and len(fields) < most:
        if at + 4 > len(blob):
            raise InvalidKeyError("truncated key data")
        (length,) = struct.unpack_from(">I", blob, at)
        at += 4
        if length > len(blob) - at:
            raise InvalidKeyError("truncated key data")
        fields.append(blob[at : at + length])
        at += length
    return fields


def _number_of_fields(key_type: str) -> int | None:
    """Returns how many strings follow the type in a blob. None: the type is not known here."""
    if key_type.startswith("ecdsa-sha2-"):
        return 2
    if key_type in SK_TYPES:
        return 2 if "ed25519" in key_type else 3
    return {"ssh-rsa": 2, "ssh-ed25519": 1}.get(key_type)


def _check(key_type: str, fields: list[bytes]) -> None:
    expected = _number_of_fields(key_type)
    if expected is None:  # a type that the operator has allowed and this module does not know
        if not fields or is_certificate_type(key_type):
            raise InvalidKeyError("no key data")
        return
    if len(fields) != expected:
        raise InvalidKeyError("wrong number of fields in the key data")
    if key_type == "ssh-rsa":
        _check_rsa(*fields)
    elif "ed25519" in key_type:
        if len(fields[0]) != 32:
            raise InvalidKeyError("an Ed25519 key has 32 bytes")
    else:
        _check_ecdsa(key_type, fields)
    if key_type in SK_TYPES and not fields[-1]:
        raise InvalidKeyError("no application in the security key")


def _check_ecdsa(key_type: str, fields: list[bytes]) -> None:
    curve = key_type.removeprefix("sk-").removeprefix("ecdsa-sha2-").removesuffix("@openssh.com")
    if fields[0] != curve.encode():
        raise InvalidKeyError("the curve is not that of the key's type")
    if len(fields[1]) != _CURVES.get(curve) or fields[1][:1] != b"\x04":
        raise InvalidKeyError("not an uncompressed point of the key's curve")
    if not _on_curve(curve, fields[1][1:]):
        raise InvalidKeyError("the point is not on the key's curve")


# SEC 2 §2.4, §2.5, §2.6: p and b; a is -3.
_PARAMETERS = {
    "nistp256": (
        2**256 - 2**224 + 2**192 + 2**96 - 1,
        0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B,
    ),
    "nistp384": (
        2**384 - 2**128 - 2**96 + 2**32 - 1,
        0xB3312FA7E23EE7E4988E056BE3F82D19181D9C6EFE8141120314088F5013875AC656398D8A2ED19D2A85C8EDD3EC2AEF,
    ),
    "nistp521": (
        2**521 - 1,
        0x0051953EB9618E1C9A1F929A21A0B68540EEA2DA725B99B315F3B8B489918EF109E156193951EC7E937B1652C0BD3BB1BF073573DF883D2C34F1EF451FD46B503F00,
    ),
}


def _on_curve(curve: str, point: bytes) -> bool:
    p, b = _PARAMETERS[curve]
    half = len(point) // 2
    x, y = int.from_bytes(point[:half]), int.from_bytes(point[half:])
    return x < p and y < p and (y * y - (x * x * x - 3 * x + b)) % p == 0


def _check_rsa(exponent: bytes, modulus: bytes) -> None:
    for number in (exponent, modulus):  # mpint of RFC 4251 §5: positive, without needless zero bytes
        if not number or number[0] & 0x80 or (number[0] == 0 and (len(number) == 1 or not number[1] & 0x80)):
            raise InvalidKeyError("not a positive number in shortest form")
    bits = int.from_bytes(modulus).bit_length()
    if not MIN_RSA_BITS <= bits <= MAX_RSA_BITS:
        raise InvalidKeyError(f"an RSA key must have {MIN_RSA_BITS} to {MAX_RSA_BITS} bits")
    e = int.from_bytes(exponent)
    if e < 3 or not e & 1:
        raise InvalidKeyError("the RSA exponent must be odd and 3 or more")
