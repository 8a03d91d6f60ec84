"""Compares addresses: the browser behind trusted proxies, networks, hosts and origins of URLs."""

from collections.abc import Iterable
from ipaddress import ip_network
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator

from sshaft.addresses import bracketed, parse, source_of


def _network(text: str) -> str:
    ip_network(text)  # raises a ValueError of its own
    return text


Network = Annotated[str, AfterValidator(_network)]
"""An address, or a network as `10.0.0.0/8`."""


def read(text: str) -> str | None:
    """Returns the address in the one form in which addresses are stored and compared; None: the text is no address.

    A port is left out: `192.0.2.7:4711` and `[2001:db8::1]:4711`. IPv4 within IPv6 becomes IPv4.
    """
    found = parse(text.strip())
    return None if found is None else str(found)


def _read_or_refuse(text: str) -> str | None:
    found = read(text)
    if found is None and text.strip():
        raise ValueError("must be an IP address")
    return found


Address = Annotated[str, AfterValidator(_read_or_refuse)]
"""An address in any form that `read` reads. An empty text is no address."""


def believed(peer: str | None, forwarded: Iterable[str], trusted: Iterable[Network], most: int = 1) -> str | None:
    """Returns the address of the browser: the first address that is not a trusted proxy.

    The walk begins at `peer` and goes back over the `X-Forwarded-For` lines. Strangers can write the part behind the
    first untrusted address, so that part is ignored. The walk ends before anything that is not an address, and after
    `most` proxies: a browser that is itself in a trusted network must not choose its address.
    """
    networks = [ip_network(each) for each in trusted]
    hops = [each.strip() for line in forwarded for each in line.split(",")]
    found = parse(peer or "")
    if found is None:
        return peer
    for hop in map(parse, reversed(hops[-most:])):
        if hop is None or not any(found in network for network in networks):
            break
        found = hop
    return str(found)


def is_within(address: str | None, networks: Iterable[Network]) -> bool:
    """Whether the address is known and in one of the networks."""
    found = parse(address or "")
    return found is not None and any(found in ip_network(each) for each in networks)


def is_same_source(one: str | None, other: str | None) -> bool:
    """Whether both are addresses, and of the same source."""
    if parse(one or "") is None or parse(other or "") is None:
        return False
    return source_of(one or "") == source_of(other or "")


def origin_of(url: str) -> str:
    """Returns scheme, host and port, without the scheme's own port (RFC 6454 §6.2)."""
    parts = urlsplit(url)
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    port = f":{parts.port}" if parts.port not in (None, usual) else ""
    return f"{parts.scheme}://{bracketed(parts.hostname or '')}{port}"
