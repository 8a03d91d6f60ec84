"""Makes unguessable values and the digests under which the database stores them."""

import hashlib
import secrets


def new_page_token() -> str:
    """Returns the unguessable part of a page's address: 128 random bits. The database stores only its `digest`."""
    return secrets.token_urlsafe(16)


def digest(value: str) -> str:
    """Returns SHA-256 in hex. Use it only for values of 128 random bits or more: nobody can guess those."""
    return hashlib.sha256(value.encode()).hexdigest()
