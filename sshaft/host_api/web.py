"""Asks a web service for JSON objects. A hostile or broken server cannot prolong it, redirect it, or fill the memory.

It speaks HTTP/1.0 by itself: one request on a connection whose end is the answer's end (RFC 9112 §6.3). People feel the
start-up time, and `requests` and `http.client` take longer to load than a login takes.
"""

import json
import re
import socket
import time
from typing import Any
from urllib.parse import urlsplit

import sshaft
from sshaft import exit_status
from sshaft.errors import SshaftError

MAX_ANSWER = 256 * 1024


class WebError(SshaftError):
    """The service gave no usable answer."""

    code = "service_unavailable"
    exit_status = exit_status.NO_LOGIN_BY_SSH


class CertificateError(WebError):
    """The service's certificate is not trusted."""


def get(
    url: str, path: str, *, seconds: float, bearer: str | None = None, ca_file: str | None = None
) -> tuple[int, dict[str, Any]]:
    """Returns the status and the JSON object of `url` + `path`. Raises `WebError`.

    The whole exchange ends after `seconds`. A redirect is not followed, so no token goes elsewhere.
    """
    end = time.monotonic() + seconds
    try:
        answer = _exchange(url, path, bearer, ca_file, end)
    except TimeoutError:
        raise WebError(f"{url}: no whole answer in time") from None
    except (OSError, ValueError) as error:
        if type(error).__name__ == "SSLCertVerificationError":
            raise CertificateError(f"{url}: its certificate is not trusted: {error.verify_message}") from None  # type: ignore[union-attr]
        raise WebError(f"{url}: {getattr(error, 'strerror', None) or type(error).__name__}") from None
    head, _, body = answer.partition(b"\r\n\r\n")
    found = re.match(rb"HTTP/1\.[01] (\d{3})\b", head)
    try:
        told = json.loads(body) if found else None
    except (ValueError, RecursionError):
        told = None
    if found is None or not isinstance(told, dict):
        raise WebError(f"{url}{path.partition('?')[0]}: gives no JSON object")
    return int(found[1]), told


def _exchange(url: str, path: str, bearer: str | None, ca_file: str | None, end: float) -> bytes:
    """Returns the whole answer. Raises `TimeoutError` at the end of the time."""
    parts = urlsplit(url)
    host, is_tls = parts.hostname or "", parts.scheme == "https"
    address = (host, parts.port or (443 if is_tls else 80))
    request = [
        f"GET {parts.path.rstrip('/')}{path} HTTP/1.0",
        f"Host: {parts.netloc.rpartition('@')[2]}",
        f"User-Agent: sshaft/{sshaft.__version__}",
        "Accept: application/json",
        *([] if bearer is None else [f"Authorization: Bearer {bearer}"]),
    ]
    with (
        socket.create_connection(address, timeout=_left(end)) as plain,
        _secured(plain, host, is_tls, ca_file, end) as connection,
    ):
        connection.sendall("".join(f"{line}\r\n" for line in [*request, ""]).encode("ascii"))
        answer = b""
        while True:
            connection.settimeout(_left(end))
            part = connection.recv(65536)
            if not part:
                return answer
            answer += part
            if len(answer) > MAX_ANSWER:
                raise WebError(f"{url}: answer larger than {MAX_ANSWER // 1024} KiB")


def _secured(plain: socket.socket, host: str, is_tls: bool, ca_file: str | None, end: float) -> socket.socket:
    if not is_tls:
        return plain
    import ssl  # noqa: PLC0415 - not for a service on loopback

    plain.settimeout(_left(end))
    return ssl.create_default_context(cafile=ca_file).wrap_socket(plain, server_hostname=host)


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
