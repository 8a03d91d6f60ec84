"""Raises the limit of file descriptors, derives the bounds of connections from it, and tells when few are left."""

import errno
import os
import resource
from collections.abc import Callable

from sshaft.http_server.connections import Bounds
from sshaft.log import get_logger

RESERVE = 256
"""Descriptors for everything but connections, such as the database and the calls to other services."""
_FEW = 32


def raise_limit() -> int:
    """Raises the soft limit to the hard limit, and returns it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def bounds_for(limit: int) -> Bounds:
    """Returns the bounds for a process that may have `limit` descriptors."""
    most = max(limit - RESERVE, limit // 2)
    usual = Bounds()
    return Bounds(min(usual.connections, most), min(usual.waiting_for_client, most))


class Watch:
    """Tells once when descriptors run out, and once when there are enough again."""

    def __init__(self, lowest_free: Callable[[], int | None] | None = None) -> None:
        self._lowest_free = lowest_free or lowest_free_descriptor
        self._are_few = False

    async def look(self) -> None:
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        free = self._lowest_free()
        are_few = free is None or free > limit - _FEW
        if are_few and not self._are_few:
            get_logger().error("descriptors.scarce", limit=limit)
        elif self._are_few and not are_few:
            get_logger().info("descriptors.enough", limit=limit)
        self._are_few = are_few


def lowest_free_descriptor() -> int | None:
    """Returns the lowest free descriptor. As many are open at least. Returns None if there is no free one."""
    try:
        descriptor = os.open(os.devnull, os.O_RDONLY)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            return None
        raise
    os.close(descriptor)
    return descriptor
