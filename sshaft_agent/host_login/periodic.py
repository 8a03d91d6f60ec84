"""Does the work of host login that belongs to no login, each minute or when there is news."""

import threading
from collections.abc import Callable

from sshaft import log
from sshaft_agent.host_login.database import DatabaseError

Task = Callable[[], float | None]
"""Does some work. Returns the seconds until its next time. None: a minute."""


class Periodic:
    """Each of `tasks` has a thread of its own, so that none waits for another one.

    The threads are daemons: the agent stops without waiting for what does not answer.
    """

    def __init__(self, *tasks: Task, seconds: float = 60.0) -> None:
        self._tasks = tasks
        self._seconds = seconds
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._wakes = {task: threading.Event() for task in tasks}

    def start(self) -> None:
        """Does the tasks at once, and then each minute."""
        self._stopping = threading.Event()  # a thread that has not ended yet keeps its own one
        self._threads = [
            threading.Thread(target=self._repeat, args=(task, self._stopping), name="host-periodic", daemon=True)
            for task in self._tasks
        ]
        for thread in self._threads:
            thread.start()

    def wake(self, task: Task) -> None:
        """Lets a task begin now, or once more if it runs."""
        self._wakes[task].set()

    def pause(self) -> None:
        """Waits until the tasks that run have ended. No other one begins until `start`."""
        self.close()
        for thread in self._threads:
            thread.join()

    def close(self) -> None:
        self._stopping.set()
        for wake in self._wakes.values():
            wake.set()

    def _repeat(self, task: Task, stopping: threading.Event) -> None:
        wake = self._wakes[task]
        while not stopping.is_set():
            wake.clear()
            if stopping.is_set():  # it was set just before the wake was cleared
                return
            pause = _do(task)
            wake.wait(self._seconds if pause is None else pause)


def _do(task: Task) -> float | None:
    try:
        return task()
    except DatabaseError as error:
        log.get_logger().error("host_login.work_failed", message=str(error))
    except Exception:  # noqa: BLE001 - one task that fails must not end the others
        log.get_logger().exception("agent.fault")
    return None
