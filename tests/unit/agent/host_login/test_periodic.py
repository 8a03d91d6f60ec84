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


def test_pause_waits_for_the_task_that_runs_and_no_other_one_begins_until_the_start() -> None:
    """An agent that hands over must not redeem a refresh token which its successor redeems, too."""
    begun, may_end, ended = threading.Semaphore(0), threading.Semaphore(0), 0

    def task() -> None:
        nonlocal ended
        begun.release()
        may_end.acquire()
        ended += 1

    periodic = Periodic(task, seconds=0)
    periodic.start()
    assert begun.acquire(timeout=20)
    pausing = threading.Thread(target=periodic.pause)
    pausing.start()
    may_end.release()
    pausing.join(20)
    assert not pausing.is_alive()
    for _ in range(2):  # it may have begun once more before the pause
        may_end.release()
    count = ended
    assert not begun.acquire(timeout=0) or ended == count
    periodic.start()
    assert begun.acquire(timeout=20)
    periodic.close()
    may_end.release()


def test_task_says_when_it_comes_next_and_can_be_woken() -> None:
    begun = threading.Semaphore(0)

    def task() -> float:
        begun.release()
        return 1000

    periodic = Periodic(task, seconds=0)
    periodic.start()
    assert begun.acquire(timeout=20)
    assert not begun.acquire(timeout=0.05)
    periodic.wake(task)
    assert begun.acquire(timeout=20)
    periodic.pause()  # it does not wait until the next time
    assert not begun.acquire(timeout=0)
    periodic.start()
    assert begun.acquire(timeout=20)
    periodic.close()
