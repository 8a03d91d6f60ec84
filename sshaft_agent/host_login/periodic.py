"""Does the work of host login that belongs to no login, each minute."""

import threading
from collections.abc import Callable

from sshaft import log
from sshaft_agent.host_login.database import DatabaseError


class Periodic:
    """Each of `tasks` has a thread of its own, so that none waits for another one.

    The threads are daemons: the agent stops without waiting for what does not answer.
    """

    def __init__(self, *tasks: Callable[[], None], seconds: float = 60.0) -> None:
        self._tasks = tasks
        self._seconds = seconds
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Does the tasks at once, and then each minute."""
        self._stopping = threading.Event()  # a thread that has not ended yet keeps its own one
        self._threads = [
            threading.Thread(target=self._repeat, args=(task, self._stopping), name="host-periodic", daemon=True)
            for task in self._tasks
        ]
        for thread in self._threads:
            thread.start()

    def pause(self) -> None:
        """Waits until the tasks that run have ended. No other one begins until `start`."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def close(self) -> None:
        self._stopping.set()

    def _repeat(self, task: Callable[[], None], stopping: threading.Event) -> None:
        while not stopping.is_set():
            _do(task)
            stopping.wait(self._seconds)


def _do(task: Callable[[], None]) -> None:
    try:
        task()
    except DatabaseError as error:
        log.get_logger().error("host_login.work_failed", message=str(error))
    except Exception:  # noqa: BLE001 - one task that fails must not end the others
        log.get_logger().exception("agent.fault")
