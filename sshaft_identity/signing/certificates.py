"""Makes self-signed certificates for signing keys, because Entra accepts an RSA key only with a certificate.

A certificate proves nothing: verifiers trust the key because it is in the published key set.
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
"""A key ends by rotation, never by its certificate."""
_BACKDATING = timedelta(days=1)
"""For verifiers whose clocks are behind this clock."""


def certificate_members(key: RSAPrivateKey, now: datetime) -> dict[str, str | list[str]]:
    """Returns the members `x5c` and `x5t` of the key's JWK (RFC 7517 §4.7, §4.8)."""
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
