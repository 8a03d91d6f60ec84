"""Reads, sets and deletes cookies that only this host can set, where browsers use TLS.

Over https each name has the prefix `__Host-` (RFC 6265bis §4.1.3.2): only this host can set the cookie, over TLS.
Over http to loopback browsers would refuse that prefix, so the names have none.
"""

import re
from dataclasses import dataclass
from typing import Literal

from starlette.requests import HTTPConnection
from starlette.responses import Response

_VALUE = re.compile(r"[A-Za-z0-9_.-]{1,128}")


@dataclass(frozen=True)
class Cookies:
    """The cookies of a service. `is_secure`: browsers use TLS."""

    is_secure: bool

    def read(self, request: HTTPConnection, name: str) -> str | None:
        """Returns the value of the cookie; None if there is none, or if it has not the form of our values."""
        value = request.cookies.get(self._name(name), "")
        return value if _VALUE.fullmatch(value) else None

    def write(
        self, response: Response, name: str, value: str, seconds: int, same_site: Literal["lax", "strict"]
    ) -> None:
        response.set_cookie(
            self._name(name), value, max_age=seconds, path="/", secure=self.is_secure, httponly=True,
            samesite=same_site,
        )  # fmt: skip

    def clear(self, response: Response, name: str) -> None:
        response.delete_cookie(self._name(name), path="/", secure=self.is_secure, httponly=True)

    def _name(self, name: str) -> str:
        return f"__Host-{name}" if self.is_secure else name
