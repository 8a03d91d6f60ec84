"""Names the owners of networks, from a table of the operator: lines of `CIDR OWNER`."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_network
from pathlib import Path
from typing import Self

from sshaft import files
from sshaft.addresses import parse
from sshaft.errors import ConfigurationError
from sshaft_identity.common.fields import one_line

_MAX_LENGTH = 100


class NetworkOwners:
    """Finds the owner of the smallest network that an address is in."""

    def __init__(self, networks: Iterable[tuple[str, str]] = ()) -> None:
        """Raises `ValueError` if a network is none."""
        self._owners: dict[tuple[int, int, int], str] = {}
        """By IP version, length of the prefix, and prefix."""
        for text, owner in networks:
            network = ip_network(text)
            self._owners[_key(network.network_address, network.prefixlen)] = owner
        self._lengths = sorted({key[:2] for key in self._owners}, reverse=True)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads a table. Empty lines and lines that begin with `#` do not count. Raises `ConfigurationError`."""
        try:
            lines = files.read_text(path).splitlines()
        except (OSError, files.NotTextError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigurationError(f"networks {path} cannot be read: {reason}") from error
        found = []
        for number, line in enumerate(lines, 1):
            network, _, owner = line.strip().replace("\t", " ").partition(" ")
            if not network or network.startswith("#"):
                continue
            try:
                ip_network(network)
            except ValueError as error:
                raise ConfigurationError(f"networks {path}, line {number}: {error}") from error
            if not owner.strip():
                raise ConfigurationError(f"networks {path}, line {number}: the owner is missing")
            found.append((network, one_line(owner)[:_MAX_LENGTH]))
        return cls(found)

    def of(self, address: str | None) -> str | None:
        """Returns the owner, or None if no network of the table has the address."""
        found = parse(address or "")
        if found is None:
            return None
        lengths = (length for version, length in self._lengths if version == found.version)
        return next((owner for length in lengths if (owner := self._owners.get(_key(found, length)))), None)


def _key(address: IPv4Address | IPv6Address, length: int) -> tuple[int, int, int]:
    return address.version, length, int(address) >> (address.max_prefixlen - length)
