"""Where a request comes from, told by the proxies it came through, as far as they are trusted."""

import re
from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from typing import Annotated

from pydantic import AfterValidator


def _network(text: str) -> str:
    ip_network(text)  # raises a ValueError of its own
    return text


Network = Annotated[str, AfterValidator(_network)]
"""An address, or a network as `10.0.0.0/8`."""


def believed(peer: str | None, forwarded: Iterable[str], trusted: Iterable[Network]) -> str | None:
    """Walking back from `peer` over the `X-Forwarded-For` lines: the first address that is no proxy of ours.

    What stands further off was written by somebody we do not know. Anything odd ends the walk where it stands.
    """
    networks = [ip_network(each) for each in trusted]
    hops = [each.strip() for line in forwarded for each in line.split(",")]
    found = _address(peer or "")
    if found is None:
        return peer
    while hops and any(ip_address(found) in network for network in networks):
        hop = _address(hops.pop())
        if hop is None:
            break
        found = hop
    return found


def is_within(address: str | None, networks: Iterable[Network]) -> bool:
    """Whether the address is known and in one of them."""
    found = _address(address or "")
    return found is not None and any(ip_address(found) in ip_network(each) for each in networks)


def _address(text: str) -> str | None:
    """`192.0.2.7`, `192.0.2.7:4711`, `2001:db8::1`, `[2001:db8::1]:4711`; IPv4 within IPv6 as IPv4."""
    bare = re.fullmatch(r"\[([^\]]*)\](?::\d+)?|([0-9.]+):\d+", text)
    try:
        address = ip_address((bare[1] or bare[2] or "") if bare else text.partition("%")[0])
    except ValueError:
        return None
    return str(getattr(address, "ipv4_mapped", None) or address)
