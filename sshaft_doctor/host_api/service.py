"""Asks host-api for /info, as a client does, and compares the answer with config.json."""

import json
import socket
from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Self

from sshaft.addresses import bracketed, is_loopback
from sshaft.config import read_object
from sshaft_doctor.alarm import alarm
from sshaft_doctor.findings import Finding, error, note, ok, warning
from sshaft_doctor.host_api import certificate

_CHECK = "api.info"
_SECONDS = 10
_MAX_ANSWER = 256 * 1024
_LOG = "journalctl -u sshaft-host-api"
_START = f"systemctl enable --now sshaft-host-api; {_LOG}"
_EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing listens here
PROXY_PORTS = (443, 8443)
"""Clients look there for a host."""


@dataclass(frozen=True)
class Address:
    """Where host-api listens: at a UNIX socket, or at a host and port with or without TLS."""

    path: str = ""
    host: str = "127.0.0.1"
    port: int = 8080
    has_tls: bool = False

    @classmethod
    def of_settings(cls, settings: dict[str, Any]) -> Self:
        """Returns the address in host-api.json, which `sshaft host-api check` has found right."""
        host, port = settings.get("host", cls.host), settings.get("port", cls.port)
        return cls(settings.get("socket") or "", host, port, has_tls=settings.get("certificate_file") is not None)

    @property
    def own_host(self) -> str:
        """Returns an address of this host that is connected to."""
        return _EVERYWHERE.get(self.host, self.host)

    def __str__(self) -> str:
        return self.path or f"http{'s' if self.has_tls else ''}://{bracketed(self.host)}:{self.port}"


class _Connection(HTTPConnection):
    """A connection to host-api. The certificate is examined apart, so that a wrong one hides nothing else."""

    def __init__(self, address: Address) -> None:
        super().__init__(address.own_host, address.port)
        self._address = address

    def connect(self) -> None:
        if self._address.path:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.connect(self._address.path)
            return
        super().connect()
        if self._address.has_tls:
            self.sock = certificate.unverified().wrap_socket(self.sock, server_hostname=self._address.own_host)


def read_and_ask(config: Path, issuers: Collection[str]) -> dict[str, Any]:
    """Returns the `agent_socket` of host-api.json, and the `findings` about the service."""
    settings = read_object(config)
    found = examine(Address.of_settings(settings), issuers)
    agent_socket = settings.get("agent_socket", "/run/sshaft/api/agent.sock")
    return {"agent_socket": agent_socket, "findings": [each.as_json() for each in found]}


def examine(
    address: Address, issuers: Collection[str], ports: Sequence[int] = PROXY_PORTS, seconds: int = _SECONDS
) -> list[Finding]:
    """Returns findings about the service, its issuers, and the way of clients to it. `ports` are those of proxies."""
    where = str(address)
    try:
        status, body = _get(address, "/info", seconds)
    except (OSError, HTTPException) as failure:
        what = f"host-api does not answer ({_reason(failure)}): mccli and `sshaft ssh` cannot log in"
        return [error(_CHECK, what, where, _START)]
    if status == 503:
        what = "host-api has no answer of the agent: it must run as the account of the agent's option --api-user"
        return [error(_CHECK, what, where, f"{_LOG}; systemctl status sshaft-agent")]
    try:
        info = json.loads(body) if status == 200 else {}
        named, host = set(map(str, info["supported_OPs"])), info["login_info"].get("ssh_host")
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        what = f"what answers there is not host-api (status {status}, {len(body)} bytes)"
        return [error(_CHECK, what, where, "give one of the two another port")]
    found = _issuers(named, set(issuers), where)
    right = [ok(_CHECK, "host-api answers, and names the issuers of config.json", where)]
    return (found or right) + _way(address, host if isinstance(host, str) else None, ports)


def _issuers(named: set[str], configured: set[str], where: str) -> list[Finding]:
    """Compares the issuers of the answer with those of config.json."""
    if named == configured:
        return []
    what = f"host-api names the issuers {_listed(named)}, and config.json {_listed(configured)}"
    return [warning("api.issuers", what, where, "systemctl reload sshaft-agent: it reads config.json again")]


def _listed(issuers: set[str]) -> str:
    return ", ".join(sorted(issuers)) or "none"


def _way(address: Address, host: str | None, ports: Sequence[int]) -> list[Finding]:
    """Returns findings about TLS: of host-api itself, or of a proxy on this host."""
    if address.has_tls:
        return certificate.examine(address.own_host, address.port, host)
    if not address.path and not is_loopback(address.host):
        what = "host-api has no TLS at an address that is not loopback: tokens cross the network readable"
        return [error("api.tls", what, str(address), "certificate_file and private_key_file, or a proxy at `socket`")]
    found = [port for port in ports if _is_proxy(port)]
    if not found:
        what = f"no proxy of this host answers for host-api at port {' or '.join(map(str, ports))}"
        right = "see examples/host-api for nginx and Caddy; or people name the address with --endpoint"
        return [note("api.proxy", what, str(address), right)]
    return [each for port in found for each in certificate.examine("127.0.0.1", port, host)]


def _is_proxy(port: int) -> bool:
    """Whether a service of this contract answers there, below /motley_cue as clients ask."""
    try:
        status, body = _get(Address(port=port, has_tls=True), "/motley_cue/info")
        return status == 200 and "supported_OPs" in json.loads(body)
    except (OSError, HTTPException, RecursionError, TypeError, ValueError):
        return False


def _get(address: Address, path: str, seconds: int = _SECONDS) -> tuple[int, bytes]:
    with alarm(seconds), closing(_Connection(address)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read(_MAX_ANSWER)


def _reason(failure: Exception) -> str:
    return getattr(failure, "strerror", None) or str(failure) or type(failure).__name__
