"""Keeps the refresh tokens of our own logins in the desktop's keyring. Without a keyring nothing is kept."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

_SERVICE = "sshaft"


@dataclass(frozen=True)
class Shelf:
    """The place of one refresh token. `key` names provider, client, service and what the token is for.

    The service is part of the key: another service, which may be hostile, cannot use a login that was for this one.
    """

    key: str
    keyring: Any
    """A backend of the library `keyring`, or None."""

    def load(self) -> str | None:
        """Returns the refresh token, if there is one."""
        if self.keyring is not None:
            with suppress(Exception):  # a backend has its own errors: closed, no desktop, refused by the person
                token: str | None = self.keyring.get_password(_SERVICE, self.key)
                return token
        return None

    def save(self, token: str) -> None:
        """Puts a refresh token in the place of the one before."""
        if self.keyring is not None:
            with suppress(Exception):
                self.keyring.set_password(_SERVICE, self.key, token)

    def clear(self) -> None:
        """Removes a refresh token that has ended."""
        if self.keyring is not None:
            with suppress(Exception):
                self.keyring.delete_password(_SERVICE, self.key)


def desktop_keyring() -> Any:
    """Returns the keyring of the desktop, or None: there is none, or the library `keyring` is not installed."""
    try:
        import keyring  # noqa: PLC0415 - optional
        from keyring.backends import chainer, fail, null  # noqa: PLC0415
    except ImportError:
        return None
    with suppress(Exception):
        backend = keyring.get_keyring()
        is_empty = isinstance(backend, chainer.ChainerBackend) and not backend.backends
        return None if is_empty or isinstance(backend, fail.Keyring | null.Keyring) else backend
    return None
