"""The hosts of web.json. A request names one of them, and nothing in a request is ever connected to."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import asyncssh

from sshaft.config import read_file
from sshaft.errors import ConfigurationError
from sshaft.host_api.service import Service
from sshaft_web.configuration import Settings, TargetSettings

_MAX_KNOWN_HOSTS = 4 * 1024 * 1024


@dataclass(frozen=True)
class Target:
    """A host. `service` is its API of token login; None: it has none, and people name their account."""

    name: str
    title: str
    host: str
    port: int
    known_hosts: asyncssh.SSHKnownHosts
    service: Service | None

    def host_keys(self, host: str, _address: str, port: int) -> Any:
        """Returns the keys of this host, for asyncssh.

        The address counts for nothing: else a false answer of DNS could lead to another host of the same file.
        """
        return self.known_hosts.match(host, "", port)


def read(settings: Settings) -> Mapping[str, Target]:
    """Returns the hosts by name. Raises `ConfigurationError`: the keys of one are missing."""
    return {name: _target(name, each) for name, each in settings.targets.items()}


def _target(name: str, settings: TargetSettings) -> Target:
    known_hosts = settings.known_hosts
    if isinstance(known_hosts, tuple):
        where, text = f"targets.{name}.known_hosts", "\n".join(known_hosts)
    else:
        where, (text, _) = str(known_hosts), read_file(known_hosts, _MAX_KNOWN_HOSTS)
    try:
        known = asyncssh.import_known_hosts(text)
    except ValueError as error:
        raise ConfigurationError(f"{where}: {error}") from None
    service = None
    if settings.api is not None:
        service = Service(settings.api.rstrip("/"), str(settings.ca_file) if settings.ca_file else None)
    target = Target(name, settings.title or name, settings.host, settings.port, known, service)
    keys, authorities, *_ = target.host_keys(settings.host, "", settings.port)
    if not keys and not authorities:
        place = settings.host if settings.port == 22 else f"[{settings.host}]:{settings.port}"
        raise ConfigurationError(f"{where}: has no host key for {place}: add the line that ssh-keyscan prints, checked")
    return target
