"""Tests the work of host login that belongs to no login."""

import threading
from pathlib import Path

from sshaft_agent.host_login.database import DatabaseError
from sshaft_agent.host_login.periodic import Periodic


def test_task_that_fails_ends_neither_the_others_nor_the_next_round(tmp_path: Path) -> None:
    rounds, done = 0, threading.Event()

    def broken() -> None:
        raise DatabaseError(f"{tmp_path}: locked")

    def wrong() -> None:
        raise KeyError

    def good() -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 3:
            done.set()

    periodic = Periodic(broken, wrong, good, seconds=0)
    periodic.start()
    try:
        assert done.wait(20)
    finally:
        periodic.close()
