"""Examines the hosts: whether each can be reached, shows a known key, and takes tokens of the provider."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from functools import partial

import asyncssh

from sshaft.command_line.severity import Severity
from sshaft.host_api.service import Service, canonical
from sshaft.host_api.web import CertificateError, WebError
from sshaft.text import printable
from sshaft_web.checks.findings import Finding
from sshaft_web.configuration import ProviderSettings
from sshaft_web.targets import Target

_SECONDS = 10.0
_AT_ONCE = 16


async def examine(targets: list[Target], provider: ProviderSettings) -> list[Finding]:
    """Returns the findings about all hosts, in their order."""
    turn = asyncio.Semaphore(_AT_ONCE)

    async def examine_one(target: Target) -> list[Finding]:
        async with turn:
            return [finding async for finding in _examine(target, provider)]

    return [finding for found in await asyncio.gather(*map(examine_one, targets)) for finding in found]


async def _examine(target: Target, provider: ProviderSettings) -> AsyncIterator[Finding]:
    yield await _host_key(target)
    if target.service is None:
        what = "not configured: people name their account, and answer the prompts of the host"
        yield Finding(target.name, "API", Severity.NOTE, what)
        return
    yield await asyncio.to_thread(_api, target.name, target.service, provider)


class _Client(asyncssh.SSHClient):
    """Ends the connection before it says who logs in. sshd so counts no failed login."""

    def __init__(self) -> None:
        self.shown = ""
        """The key that is not known."""
        self.known = ""
        """The key that is known."""

    def connection_made(self, connection: asyncssh.SSHClientConnection) -> None:
        self._connection = connection

    def validate_host_public_key(self, _host: str, _addr: str, _port: int, key: asyncssh.SSHKey) -> bool:
        self.shown = _named(key)
        return False

    def validate_host_ca_key(self, _host: str, _addr: str, _port: int, key: asyncssh.SSHKey) -> bool:
        self.shown = f"a certificate of {_named(key)}"
        return False

    def begin_auth(self, _username: str) -> None:
        key = self._connection.get_server_host_key()
        self.known = _named(key) if key else "no key"
        self._connection.abort()


async def _host_key(target: Target) -> Finding:
    """Connects as far as the host has proven its key."""
    found, where = partial(Finding, target.name), f"{target.host} port {target.port}"
    client, began = _Client(), time.monotonic()
    try:
        async with asyncio.timeout(_SECONDS):
            await asyncssh.connect(
                target.host, target.port, client_factory=lambda: client, known_hosts=target.host_keys, config=None,
                username="nobody", client_keys=None, agent_path=None, password=None,
            )  # fmt: skip
    except asyncssh.HostKeyNotVerifiable as error:
        shown = (
            f"{where} shows {client.shown}, which known_hosts does not have" if client.shown else f"{where}: {error}"
        )
        remedy = "if this is right, put the key into known_hosts: a changed key may also be an attack"
        return found("host key", Severity.ERROR, shown, remedy)
    except (OSError, asyncssh.Error, TimeoutError) as error:
        if not client.known:
            return found(
                "host", Severity.ERROR, f"{where}: {_reason(error)}", "look whether sshd runs there, and for a firewall"
            )
    return found(
        "host",
        Severity.OK,
        f"{where} answers in {(time.monotonic() - began) * 1000:.0f} ms with a known key, {client.known}",
    )


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer in {_SECONDS:.0f} s"
    if isinstance(error, asyncssh.Error):
        return printable(str(error.reason))
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)  # asyncio's own text has the address in place of the reason
    return printable(getattr(error, "strerror", None) or str(error))


def _named(key: asyncssh.SSHKey) -> str:
    return f"{key.get_algorithm()} {key.get_fingerprint()}"


def _api(name: str, service: Service, provider: ProviderSettings) -> Finding:
    """Asks the host's API whether it takes tokens of the provider, and which."""
    found = partial(Finding, name, "API")
    try:
        known = service.info().providers
        if canonical(provider.issuer) not in map(canonical, known):
            what = f"{service.url} takes no tokens of {provider.issuer}, but of {', '.join(known) or 'nobody'}"
            return found(Severity.ERROR, what, "add it on the host: host_login.tokens in the agent's config.json")
        wish = service.wish(provider.issuer)
    except CertificateError as error:
        return found(Severity.ERROR, str(error), f"name the authority: targets.{name}.ca_file")
    except WebError as error:
        return found(Severity.ERROR, str(error), f"look whether sshaft host-api runs there, and at targets.{name}.api")
    missing = [scope for scope in wish.scopes if scope not in provider.scopes]
    if wish.audience and wish.audience != provider.audience:
        what = (
            f"{service.url} wants tokens for {wish.audience}, and provider.audience is {provider.audience or 'not set'}"
        )
        return found(Severity.ERROR, what, f"set provider.audience to {wish.audience}, or ask the operator of the host")
    if missing:
        return found(
            Severity.WARNING, f"{service.url} wants the scopes {' '.join(missing)}", "add these to provider.scopes"
        )
    return found(Severity.OK, f"{service.url} takes tokens of {provider.issuer}")
