"""Makes public keys for tests without ssh-keygen, which makes no sk- keys without a device."""

import base64
import functools
import shutil
import struct
import subprocess

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

SSH_KEYGEN = shutil.which("ssh-keygen") or "/usr/bin/ssh-keygen"


def string(data: bytes) -> bytes:
    """Encodes a string of RFC 4251 §5."""
    return struct.pack(">I", len(data)) + data


def blob(key_type: str, *fields: bytes) -> bytes:
    return b"".join(string(part) for part in (key_type.encode(), *fields))


def text(data: bytes, key_type: str | None = None) -> str:
    """Returns `TYPE BASE64` with the type of the blob."""
    length = int.from_bytes(data[:4])
    return f"{key_type or data[4 : 4 + length].decode()} {base64.b64encode(data).decode()}"


def of(public: str) -> tuple[str, str]:
    """Returns type and base64 as sshd passes them (%t, %k)."""
    key_type, encoded = public.split(" ")[:2]
    return key_type, encoded


def ed25519(seed: str = "a") -> str:
    """Returns a public key without private key. Different seeds give different keys."""
    return text(blob("ssh-ed25519", seed.encode().ljust(32, b"\x01")[:32]))


def sk_ed25519(seed: str = "a", application: bytes = b"ssh:") -> str:
    return text(blob("sk-ssh-ed25519@openssh.com", seed.encode().ljust(32, b"\x02")[:32], application))


@functools.cache
def point(bits: int, seed: int = 1) -> bytes:
    curve = {256: ec.SECP256R1(), 384: ec.SECP384R1(), 521: ec.SECP521R1()}[bits]
    public = ec.derive_private_key(seed, curve).public_key()
    return public.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


def ecdsa(bits: int = 256, seed: int = 1) -> str:
    return text(blob(f"ecdsa-sha2-nistp{bits}", f"nistp{bits}".encode(), point(bits, seed)))


def sk_ecdsa(seed: int = 1) -> str:
    return text(blob("sk-ecdsa-sha2-nistp256@openssh.com", b"nistp256", point(256, seed), b"ssh:"))


def mpint(number: int) -> bytes:
    return number.to_bytes(number.bit_length() // 8 + 1)


@functools.cache
def rsa_key(bits: int = 2048, exponent: int = 65537) -> str:
    numbers = rsa.generate_private_key(exponent, bits).public_key().public_numbers()
    return text(blob("ssh-rsa", mpint(numbers.e), mpint(numbers.n)))


def one_of_each() -> dict[str, str]:
    keys = [ed25519(), ecdsa(256), ecdsa(384), ecdsa(521), rsa_key(), sk_ed25519(), sk_ecdsa()]
    return {key.split(" ")[0]: key for key in keys}


def openssh_fingerprints(lines: list[str]) -> list[str]:
    """Returns the output of `ssh-keygen -l` for an authorized_keys file with these lines, without unreadable lines."""
    if not lines:
        return []
    done = subprocess.run(
        [SSH_KEYGEN, "-l", "-f", "-"], input="\n".join(lines) + "\n", capture_output=True, text=True, check=False
    )
    return [line.split(" ")[1] for line in done.stdout.splitlines()]
