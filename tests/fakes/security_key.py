"""A security key made of software: signs as a FIDO device does, and has a maker with a root certificate.

Nothing here talks to a device; what it writes is what OpenSSH's PROTOCOL.u2f and W3C WebAuthn §6.5 describe.
"""

import base64
import struct
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256, sha512
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID
from fakes.public_keys import blob, mpint, string, text

START = datetime(2026, 1, 1, tzinfo=UTC)
AAGUID = bytes(range(16))


def armored(data: bytes) -> str:
    lines = base64.b64encode(data).decode()
    parts = [lines[at : at + 70] for at in range(0, len(lines), 70)]
    return "\n".join(["-----BEGIN SSH SIGNATURE-----", *parts, "-----END SSH SIGNATURE-----", ""])


def unarmored(signature: str) -> bytes:
    return base64.b64decode("".join(signature.strip().splitlines()[1:-1]))


def certificate(
    name: str, public: Any, issuer: str, signer: Any, *, ca: bool = False, days: int = 3650, aaguid: bytes | None = None
) -> x509.Certificate:
    def named(value: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, value)])

    builder = (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(named(issuer))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(START)
        .not_valid_after(START + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if aaguid is not None:
        kind = x509.ObjectIdentifier("1.3.6.1.4.1.45724.1.1.4")
        builder = builder.add_extension(x509.UnrecognizedExtension(kind, b"\x04\x10" + aaguid), critical=False)
    return builder.sign(signer, hashes.SHA256())


@dataclass
class Maker:
    """Who makes devices and vouches for them."""

    name: str = "Example Keys Root"
    private: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    ca: bool = True
    days: int = 3650

    def __post_init__(self) -> None:
        public = self.private.public_key()
        self.root = certificate(self.name, public, self.name, self.private, ca=self.ca, days=self.days)

    @property
    def pem(self) -> bytes:
        return self.root.public_bytes(serialization.Encoding.PEM)

    def device_certificate(
        self, public: Any, *, ca: bool = False, days: int = 3650, aaguid: bytes | None = AAGUID
    ) -> x509.Certificate:
        return certificate("Example Key 5", public, self.name, self.private, ca=ca, days=days, aaguid=aaguid)


class SecurityKey:
    """One key on one device. `kind`: ed25519 or ecdsa."""

    def __init__(self, kind: str = "ed25519", application: bytes = b"ssh:") -> None:
        self.application = application
        self.batch = ec.generate_private_key(ec.SECP256R1())
        self.private: Any
        if kind == "ed25519":
            self.private = ed25519.Ed25519PrivateKey.generate()
            self.type = "sk-ssh-ed25519@openssh.com"
            self.point = self.private.public_key().public_bytes_raw()
            self.blob = blob(self.type, self.point, application)
            cose = {1: 1, 3: -8, -1: 6, -2: self.point}
        else:
            self.private = ec.generate_private_key(ec.SECP256R1())
            self.type = "sk-ecdsa-sha2-nistp256@openssh.com"
            public = self.private.public_key()
            self.point = public.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
            self.blob = blob(self.type, b"nistp256", self.point, application)
            cose = {1: 2, 3: -7, -1: 1, -2: self.point[1:33], -3: self.point[33:]}
        self.cose = cbor(cose)
        self.public = text(self.blob)

    def signature(self, message: bytes, namespace: str = "sshaft-enrol", flags: int = 1, counter: int = 7) -> str:
        """Armored, as `ssh-keygen -Y sign` writes it."""
        head = string(namespace.encode()) + string(b"") + string(b"sha512")
        signed = b"SSHSIG" + head + string(sha512(message).digest())
        inner = self.signed(signed, flags, counter)
        return armored(b"SSHSIG" + struct.pack(">I", 1) + string(self.blob) + head + string(inner))

    def signed(self, message: bytes, flags: int = 1, counter: int = 7) -> bytes:
        """A signature as ssh sends it (PROTOCOL.u2f). `flags`: 1, it was touched; 4, it has verified its user."""
        state = struct.pack(">BI", flags, counter)
        covered = sha256(self.application).digest() + state + sha256(message).digest()
        return string(self.type.encode()) + string(self._sign(covered)) + state

    def _sign(self, covered: bytes) -> bytes:
        if isinstance(self.private, ed25519.Ed25519PrivateKey):
            return self.private.sign(covered)
        r, s = decode_dss_signature(self.private.sign(covered, ec.ECDSA(hashes.SHA256())))
        return string(mpint(r)) + string(mpint(s))

    def authenticator_data(self, flags: int = 0x41, extensions: bytes = b"") -> bytes:
        identifier = b"credential-id-0123456789"
        state = struct.pack(">BI", flags, 3)
        credential = AAGUID + struct.pack(">H", len(identifier)) + identifier + self.cose
        return sha256(self.application).digest() + state + credential + extensions

    def attestation(
        self,
        maker: Maker,
        challenge: bytes,
        *,
        u2f: bool = False,
        version: bytes = b"ssh-sk-attest-v01",
        data: bytes | None = None,
        device_certificate: x509.Certificate | None = None,
    ) -> bytes:
        """What `ssh-keygen -O write-attestation=` leaves."""
        data = self.authenticator_data() if data is None else data
        covered = data + sha256(challenge).digest()
        if u2f:
            covered = b"\0" + data[:32] + sha256(challenge).digest() + b"credential-id-0123456789" + self.point
        shown = device_certificate or maker.device_certificate(self.batch.public_key())
        fields = [version, shown.public_bytes(serialization.Encoding.DER)]
        fields += [self.batch.sign(covered, ec.ECDSA(hashes.SHA256())), cbor(data)]
        return b"".join(map(string, fields)) + struct.pack(">I", 0) + string(b"")


def cbor(value: Any) -> bytes:
    """Whole numbers, bytes, text and maps in the shortest form (RFC 8949 §4.2.1)."""
    match value:
        case bool():
            return b"\xf5" if value else b"\xf4"
        case int():
            return _head(0, value) if value >= 0 else _head(1, -1 - value)
        case bytes():
            return _head(2, len(value)) + value
        case str():
            return _head(3, len(value.encode())) + value.encode()
        case dict():
            return _head(5, len(value)) + b"".join(cbor(k) + cbor(v) for k, v in value.items())
    raise TypeError(value)


def _head(kind: int, count: int) -> bytes:
    if count < 24:
        return bytes([kind << 5 | count])
    for short, size in ((24, 1), (25, 2), (26, 4)):
        if count < 1 << 8 * size:
            return bytes([kind << 5 | short]) + count.to_bytes(size)
    raise ValueError(count)
