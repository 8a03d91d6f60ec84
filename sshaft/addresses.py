"""Reads IP addresses as programs write them, and names the source that is counted for one."""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network


def parse(text: str) -> IPv4Address | IPv6Address | None:
    """Returns the address in `192.0.2.7`, `192.0.2.7:4711`, `2001:db8::1` or `[2001:db8::1]:4711`; None: there is none.

    IPv4 within IPv6 becomes IPv4.
    """
    found = re.fullmatch(r"\[([^\]]*)\](?::\d+)?|([0-9.]+):\d+", text)
    bare = (found[1] or found[2] or "") if found else text
    try:
        address = ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def source_of(text: str) -> str:
    """Returns the source that tries and requests are counted for: an IPv4 address, or the /64 of an IPv6 address.

    An IPv6 host can use every address of its /64. A text that is not an address is returned unchanged.
    """
    address = parse(text)
    if address is None:
        return text
    return str(ip_network((address, 64), strict=False)) if isinstance(address, IPv6Address) else str(address)


def bracketed(host: str) -> str:
    """Returns the host as a URL writes it: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def is_loopback(host: str) -> bool:
    """Whether the name or the address is that of this host alone."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
