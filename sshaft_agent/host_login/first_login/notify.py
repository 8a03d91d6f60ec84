"""Tells an operator of the first logins that wait: by a command, or by an e-mail. Once for each request.

A request stands in the database as untold until then. So a crash, or a mail server that is away, loses none.
"""

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from sshaft import log
from sshaft.deadline import Deadline
from sshaft.errors import SshaftError
from sshaft.text import printable
from sshaft_agent.host_login.first_login.approvals import Approvals, Request
from sshaft_agent.host_login.first_login.settings import CreateSettings, NotifySettings

_SECONDS = 30.0
"""A command has this time."""
_FIRST_PAUSE = 60.0
_LONGEST_PAUSE = 3600.0
_MOST_OUTPUT = 2000
"""Bytes of a command's output that are kept. The rest is read and dropped."""
_LOOK_SECONDS = 0.5
"""A command that runs ends so soon after `stop`."""
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
_MAIL = "sshaft_agent.host_login.first_login.mail"


class NotifyError(SshaftError):
    """The operator was not told."""

    code = "notify_failed"


class Notifier:
    """Tells the operator of one request after the other.

    `settings` returns those in use; `clock` is in seconds since 1970.
    """

    def __init__(
        self, approvals: Approvals, settings: Callable[[], CreateSettings | None], host: str,
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._approvals = approvals
        self._settings = settings
        self._host = host
        self._clock = clock
        self._stopping = threading.Event()
        self._working = threading.Lock()
        self._pauses: dict[str, tuple[float, float]] = {}
        """The time of the next try, and the pause before it, of each request that was tried."""

    def stop(self) -> None:
        """Ends a command that runs, and begins no other one."""
        self._stopping.set()

    def close(self) -> None:
        """Waits until a command that runs has ended, after `stop`."""
        self.stop()
        if self._working.acquire(timeout=4 * _LOOK_SECONDS):
            self._working.release()

    def work(self) -> None:
        """Forgets the requests that have ended, and tells of each one that is untold. It blocks. Call it each minute.

        Raises `DatabaseError`.
        """
        with self._working:
            self._approvals.forget_ended(int(self._clock()))
            self._tell_all()

    def _tell_all(self) -> None:
        # A request that fails keeps no other one back: a mail server may refuse the name of a person.
        untold = self._approvals.untold(int(self._clock()))
        known = {each.reference for each in untold}
        self._pauses = {reference: pause for reference, pause in self._pauses.items() if reference in known}
        for request in untold:
            next_at, pause = self._pauses.get(request.reference, (0.0, _FIRST_PAUSE / 2))
            way = self._way()
            if way is None or self._stopping.is_set():
                return
            if next_at <= self._clock():
                # Before it is told: a full disk may forget that it was.
                pause = min(2 * pause, _LONGEST_PAUSE)
                self._pauses[request.reference] = self._clock() + pause, pause
                self._tell(request, way)

    def _way(self) -> NotifySettings | None:
        settings = self._settings()
        return settings.notify if settings is not None and settings.approve else None

    def _tell(self, request: Request, way: NotifySettings) -> None:
        """Tells the operator of this request, or logs why not. Raises `DatabaseError`."""
        facts = {name: _safe(value) for name, value in (request.facts() | {"host": self._host}).items()}
        logger = log.get_logger().bind(user=printable(request.account), reference=request.reference)
        try:
            output = run(command_of(way), json.dumps(facts) + "\n", Deadline.after(_SECONDS), self._stopping.is_set)
        except NotifyError as error:
            logger.error("host_request.not_told", message=str(error))  # noqa: TRY400 - it is no fault of the agent
            return
        self._approvals.told(request)
        logger.info("host_request.told", **({"output": output} if output else {}))


def _safe(value: Any) -> Any:
    return printable(value, 300) if isinstance(value, str) else value


def command_of(way: NotifySettings) -> Sequence[str]:
    """Returns the command that tells the operator. An e-mail has a process of its own.

    So a mail server or a name server that hangs ends with it.
    """
    return way.command or (sys.executable, "-I", "-m", _MAIL, way.model_dump_json(exclude={"command"}))


def run(command: Sequence[str], text: str, deadline: Deadline, is_stopping: Callable[[], bool]) -> str:
    """Runs a command with this standard input. Returns the beginning of its output, safe for a log. It blocks.

    Raises `NotifyError` if it cannot be started, fails, or does not end in time.
    """
    program = printable(command[0])
    try:
        with _input(text) as stdin:
            process = subprocess.Popen(  # noqa: S603 - the operator's own command, without a shell
                command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=_ENVIRONMENT, cwd="/",
                start_new_session=True,
            )  # fmt: skip
    except (OSError, ValueError) as error:
        raise NotifyError(f"{program} cannot be started: {error}") from None
    with process:
        output = printable(_wait(process, deadline, is_stopping).decode(errors="replace").strip(), 500)
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            why = "the agent stops" if is_stopping() else "it took too long"
            raise NotifyError(f"{program} was ended, because {why}: {output}")
    if process.returncode != 0:
        raise NotifyError(f"{program} ended with status {process.returncode}: {output}")
    return output


def _input(text: str) -> Any:
    """Returns a file without a name that holds the text: a pipe could block."""
    file = os.fdopen(os.memfd_create("facts"), "w+", encoding="utf-8")
    file.write(text)
    file.seek(0)
    return file


def _wait(process: "subprocess.Popen[bytes]", deadline: Deadline, is_stopping: Callable[[], bool]) -> bytes:
    """Waits for the end of the process. Returns the beginning of its output."""
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    output, kept = process.stdout.fileno(), b""
    os.set_blocking(output, False)
    ended = os.pidfd_open(process.pid)
    try:
        events = select.poll()
        events.register(ended, select.POLLIN)
        events.register(output, select.POLLIN)
        while deadline.remaining() and not is_stopping():
            ready = {file for file, _event in events.poll(1000 * min(deadline.remaining(), _LOOK_SECONDS))}
            if output in ready:
                part = os.read(output, 65536)
                kept = (kept + part)[:_MOST_OUTPUT]
                if not part:
                    events.unregister(output)
            elif ended in ready:
                process.wait()
                break
        return kept
    finally:
        os.close(ended)
