"""Tests how the limit of file descriptors bounds the connections, and the events when descriptors run out."""

import asyncio
import io
import json
import os
import resource

import pytest

from sshaft.http_server.connections import Bounds
from sshaft.http_server.descriptors import Watch, bounds_for, lowest_free_descriptor


@pytest.mark.parametrize(
    ("limit", "connections", "waiting_for_client"),
    [(1_048_576, 10_000, 2_000), (10_256, 10_000, 2_000), (1_024, 768, 768), (100, 50, 50)],
)
def test_connections_leave_descriptors_for_the_rest(limit: int, connections: int, waiting_for_client: int) -> None:
    assert bounds_for(limit) == Bounds(connections, waiting_for_client)


def test_watch_tells_once_that_descriptors_run_out_and_once_that_there_are_enough(events: io.StringIO) -> None:
    """Finding S8: no event told it."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = iter([3, limit - 1, None, None, 3, 3])
    watch = Watch(lambda: next(found))
    for _ in range(6):
        asyncio.run(watch.look())
    lines = [json.loads(line)["event"] for line in events.getvalue().splitlines()]
    assert [line for line in lines if line.startswith("descriptors.")] == ["descriptors.scarce", "descriptors.enough"]


def test_lowest_free_descriptor_is_found_and_stays_free() -> None:
    lowest = lowest_free_descriptor()
    descriptor = os.open(os.devnull, os.O_RDONLY)
    os.close(descriptor)
    assert lowest == descriptor
