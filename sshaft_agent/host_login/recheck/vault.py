"""Encrypts refresh tokens. The key is a file of its own: who has a copy of the database has no tokens."""

import base64
import binascii
import json
import os
import secrets
import stat
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sshaft import config
from sshaft.errors import ConfigurationError

_KEY_BYTES = 32
_NONCE_BYTES = 12
_MAX_FILE = 1024


class SealError(Exception):
    """The sealed text is that of another key or of another owner, or it was changed."""


class Vault:
    """One key (AES-256-GCM). `owner` names whose token it is: the sealed text opens for this owner alone."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, token: str, *owner: str) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, token.encode(), json.dumps(owner).encode())

    def open(self, sealed: bytes, *owner: str) -> str:
        """Returns the token. Raises `SealError`."""
        nonce, text = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            return self._cipher.decrypt(nonce, text, json.dumps(owner).encode()).decode()
        except (InvalidTag, ValueError) as error:
            raise SealError from error


def open_vault(path: Path) -> Vault:
    """Returns the vault of the key in the file: 32 bytes in Base64. A missing file is made, with a new key.

    Raises `ConfigurationError`.
    """
    if not path.is_absolute():
        raise ConfigurationError(f"recheck.key_file {path}: give an absolute path")
    if not os.path.lexists(path):
        _make(path)
    text, status = config.read_trusted_file(path, _MAX_FILE)
    if status.st_mode & 0o007:
        mode = stat.S_IMODE(status.st_mode)
        raise ConfigurationError(f"{path}: holds a secret and is open to everybody (mode {mode:04o}): chmod o= {path}")
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != _KEY_BYTES:
        raise ConfigurationError(f"{path}: holds no key of 32 bytes in Base64; one is made by: openssl rand -base64 32")
    return Vault(key)


def _make(path: Path) -> None:
    """Makes the file. Another agent may do so at the same time: the first file stays."""
    beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(base64.b64encode(secrets.token_bytes(_KEY_BYTES)) + b"\n")
                file.flush()
                os.fsync(handle)
            os.link(beside, path)
        except FileExistsError:
            pass
        finally:
            beside.unlink()
    except OSError as error:
        raise ConfigurationError(
            f"recheck.key_file {path}: cannot be made: {error.strerror}; make its folder for the agent"
        ) from None
