"""Self-signed certificates of signing keys: there are verifiers that take an RSA key only with one (Entra).

They prove nothing; who trusts the key does so because it is in our published set.
"""

import base64
import hashlib
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

_NAME = "sshaft-identity"
_LIFETIME = timedelta(days=100 * 365)
"""Keys end by being rotated, never by their certificate."""
_BACKDATING = timedelta(days=1)
"""For verifiers whose clocks are behind."""


def certificate_members(key: RSAPrivateKey, now: datetime) -> dict[str, str | list[str]]:
    """`x5c` and `x5t` of its JWK (RFC 7517 §4.7, §4.8)."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _NAME)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATING)
        .not_valid_after(now + _LIFETIME)
        .sign(key, SHA256())
        .public_bytes(Encoding.DER)
    )
    thumbprint = hashlib.sha1(certificate, usedforsecurity=False).digest()
    return {
        "x5c": [base64.b64encode(certificate).decode()],
        "x5t": base64.urlsafe_b64encode(thumbprint).decode().rstrip("="),
    }
