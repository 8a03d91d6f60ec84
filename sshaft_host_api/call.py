"""Reads one HTTP request: its path, its parameters, its bearer token and its client."""

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote

from starlette.datastructures import Headers
from starlette.types import Scope

from sshaft import addresses
from sshaft_host_api import refusals

MAX_TOKEN = 12 * 1024
MAX_PARAMETER = 1024
_LONGEST_ADDRESS = 64
_MOUNTS = re.compile(r"(/motley_cue)?(/api/v1|/api)?(?=/|\Z)")
_BEARER = re.compile(r"bearer +([A-Za-z0-9\-._~+/]+=*) *", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class Call:
    """One request. `client` is the address of the client, or empty."""

    method: str
    path: str
    query: str
    authorization: tuple[str, ...]
    client: str

    @classmethod
    def of(cls, scope: Scope) -> "Call":
        return cls(
            scope["method"],
            path_without_mount(scope["path"]),
            scope["query_string"].decode("latin-1"),
            tuple(Headers(scope=scope).getlist("authorization")),
            _address(scope["client"][0][:_LONGEST_ADDRESS]) if scope["client"] else "",
        )

    def token(self) -> str:
        """Returns the access token or one-time password. Raises `RefusedError`."""
        if len(self.authorization) > 1:
            raise refusals.unusable_token("There are two authorization headers")
        header = self.authorization[0].strip() if self.authorization else ""
        scheme, _, value = header.partition(" ")
        if scheme.lower() != "bearer" or not value:
            raise refusals.not_authenticated()
        found = _BEARER.fullmatch(header)
        if found is None:
            raise refusals.unusable_token("The bearer token holds characters that no token holds")
        if len(found[1]) > MAX_TOKEN:
            raise refusals.unusable_token(f"The bearer token is longer than {MAX_TOKEN} bytes")
        return found[1]

    def parameter(self, name: str) -> str:
        """Returns the only parameter of this name. Raises `RefusedError`.

        The PAM module puts the name of a user into the URL as it is, so `+` is not a blank.
        """
        pairs = [part.partition("=") for part in self.query.split("&")]
        values = [value for key, _, value in pairs if unquote(key) == name]
        if not values:
            raise refusals.bad_parameter(name, "Field required")
        if len(values) > 1:
            raise refusals.bad_parameter(name, "Field is there twice")
        try:
            value = unquote(values[0], errors="strict")
        except UnicodeDecodeError:
            raise refusals.bad_parameter(name, "Field is not UTF-8") from None
        if len(value) > MAX_PARAMETER:
            raise refusals.bad_parameter(name, "Field is too long")
        return value


@lru_cache(maxsize=1024)
def _address(text: str) -> str:
    """Returns the address in the text, or an empty text."""
    address = addresses.parse(text)
    return str(address) if address else ""


def path_without_mount(path: str) -> str:
    """Returns the path of an endpoint: without the prefix of a mount, and without a slash at its end."""
    found = _MOUNTS.match(path)
    rest = path[found.end() :] if found else path
    return rest if rest in ("", "/") else rest.removesuffix("/")
