"""Lets a new process of the installed version take the place of a running one, so that somebody always answers.

The packages send SIGUSR2 after an upgrade. The running process then starts its successor, which makes everything ready
and takes over. The old process ends the work that it has begun. If the successor does not start, the old process goes
on as before.

The two processes speak over a pair of sockets: the successor writes its process id when it is prepared, the old process
answers when it has stopped what only one of them may do, and the successor writes once more when it serves.
"""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from sshaft.daemon import notify
from sshaft.errors import SshaftError
from sshaft.log import get_logger

_SECONDS = 60.0
_SOCKET, _LISTENING = "SSHAFT_PREDECESSOR", "SSHAFT_LISTENING"
_START = ["/bin/sh", "-c", '"$@" &', "sh"]
"""The shell ends at once, so the successor gets systemd as its parent. systemd sees the end of its children only."""


class HandoverError(SshaftError):
    """The predecessor has gone on alone, or is no more."""

    code = "handover_ended"
    exit_status = 75


class Predecessor:
    """The process whose place this one takes. Without one, all methods do nothing."""

    def __init__(self) -> None:
        """Reads the environment, and removes what it has read there."""
        number, names = os.environ.pop(_SOCKET, ""), os.environ.pop(_LISTENING, "")
        self._link = _inherited(int(number)) if number else None
        self._listening = {name: _inherited(number) for name, number in json.loads(names or "{}").items()}

    @property
    def is_there(self) -> bool:
        return self._link is not None

    def listening(self, name: str) -> socket.socket | None:
        """Returns the listening socket of this name."""
        return self._listening.pop(name, None)

    def wait(self) -> None:
        """Says that this process is prepared. Returns when it may begin its work. Raises `HandoverError`."""
        if self._link is not None:
            try:
                self._link.sendall(b"%d\n" % os.getpid())
                answer = self._link.recv(1)
            except OSError:
                answer = b""
            if not answer:
                raise HandoverError("the running process did not let this one take its place")

    def serves(self) -> None:
        """Says that this process serves."""
        if self._link is not None:
            with suppress(OSError):
                self._link.sendall(b"serves\n")
            self._link.close()
            self._link = None


def _inherited(number: int) -> socket.socket:
    found = socket.socket(fileno=number)
    found.set_inheritable(False)
    return found


predecessor = Predecessor()
"""That of this process."""


class Handover:
    """Starts a successor when SIGUSR2 comes. `listening` has the sockets that it gets, by name.

    `pause` stops what only one process may do, `resume` starts it again after a failure, and `retire` is called when
    the successor serves.
    """

    def __init__(
        self, retire: Callable[[], None], listening: Mapping[str, socket.socket] | None = None,
        pause: Callable[[], Awaitable[None]] | None = None, resume: Callable[[], None] | None = None,
    ) -> None:  # fmt: skip
        self._retire, self._listening, self._pause, self._resume = retire, listening or {}, pause, resume
        self._task: asyncio.Task[None] | None = None

    def listen(self) -> None:
        """Makes SIGUSR2 start a successor. The event loop must run."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, self._begin)

    def _begin(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        """Hands over. After a failure this process goes on, and can try again."""
        ours, theirs = socket.socketpair()
        with ours:
            ours.setblocking(False)
            with theirs:
                group = _start(theirs, self._listening)
            paused = False
            pid = 0
            try:
                async with asyncio.timeout(_SECONDS):
                    pid = int(await _line(ours))
                    if self._pause is not None:
                        paused = True
                        await self._pause()
                    await asyncio.get_running_loop().sock_sendall(ours, b"\n")
                    await _line(ours)
            except (OSError, ValueError, TimeoutError):
                with suppress(OSError):
                    os.killpg(group, signal.SIGKILL)
                if paused and self._resume is not None:
                    self._resume()
                self._task = None
                get_logger().error("successor.failed", pid=pid, in_use="the running process")
                notify.notify(f"STATUS=A new process did not start ({group}), and the old one goes on.")
                return
        get_logger().info("successor.serves", pid=pid)
        notify.notify(f"MAINPID={pid}")
        self._retire()


def _start(link: socket.socket, listening: Mapping[str, socket.socket]) -> int:
    """Starts this program again, as it is on the disk now. Returns the group of its process."""
    descriptors = [link.fileno(), *(each.fileno() for each in listening.values())]
    names = json.dumps({name: each.fileno() for name, each in listening.items()})
    environment = os.environ | {_SOCKET: str(link.fileno()), _LISTENING: names}
    command = [*_START, sys.executable, *sys.orig_argv[1:]]
    shell = subprocess.Popen(command, pass_fds=descriptors, env=environment, start_new_session=True)  # noqa: S603 - our own command line
    shell.wait()
    return shell.pid


async def _line(link: socket.socket) -> str:
    """Returns the next line without its end. Raises `OSError` at the end of the connection."""
    said = b""
    while not said.endswith(b"\n"):
        part = await asyncio.get_running_loop().sock_recv(link, 32)
        if not part:
            raise ConnectionResetError
        said += part
    return said.decode().strip()
