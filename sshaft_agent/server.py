"""The agent's event loop: one connection, one question, one answer; reload on SIGHUP, drain on SIGTERM."""

import asyncio
import json
import re
import secrets
import signal
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import sshaft
from sshaft import config, log, messages
from sshaft.clocks import ClockWatch
from sshaft.errors import ConfigurationError, SshaftError
from sshaft.identity_client import IdentityClient
from sshaft_agent import sockets
from sshaft_agent.notify import notify, reloading
from sshaft_agent.sockets import Account
from sshaft_agent.ssh_factor.factor import Factor, Fields

MAX_CONNECTIONS = 2000
QUESTION_SECONDS = 3.0
DRAIN_SECONDS = 15.0
PURGE_SECONDS = 30.0

_REQUEST_ID = re.compile(r"[0-9a-f]{32}")

Answer = tuple[str, Fields]
Answers = Callable[[str, Fields], Awaitable[Answer]]


class Server:
    """The agent of one identity service. `run` returns after SIGTERM or SIGINT, once all who had asked are answered."""

    def __init__(self, config_path: Path, directory: Path, keys_user: Account, login_user: Account) -> None:
        self.refused: Counter[str] = Counter()
        self._config_path = config_path
        self._directory = directory
        self._keys_user = keys_user
        self._login_user = login_user
        self._started = time.monotonic()
        self._connections: set[asyncio.Task[None]] = set()
        self.factor = Factor(IdentityClient(config.load(config_path)), str(sockets.login_path(directory)))

    async def run(self) -> None:
        """Serve. Raises `ConfigurationError` before anything is started."""
        listening = self._listen()
        servers = [await self._serve(each, uids, answer) for _path, each, uids, answer in listening]
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        purging = asyncio.create_task(self._purge())
        log.get_logger().info(
            "agent.ready",
            version=sshaft.__version__,
            directory=str(self._directory),
            keys_user=self._keys_user.name,
            login_user=self._login_user.name,
        )
        notify("READY=1")
        await stopping.wait()
        notify("STOPPING=1")
        log.get_logger().info("agent.stopping", open=len(self._connections))
        for server, (path, *_) in zip(servers, listening, strict=True):
            server.close()
            path.unlink(missing_ok=True)  # now and not later: another agent may start here while this one drains
        purging.cancel()
        if self._connections:
            await asyncio.wait(self._connections, timeout=DRAIN_SECONDS)
        self.factor.close()
        log.get_logger().info("agent.stopped")

    def _listen(self) -> list[tuple[Path, socket.socket, set[int], Answers]]:
        """All sockets, or none and a `ConfigurationError`."""
        sockets.make_directory(self._directory)
        keys, login = sockets.keys_path(self._directory), sockets.login_path(self._directory)
        status = sockets.status_path(self._directory)
        listening: list[tuple[Path, socket.socket, set[int], Answers]] = []
        try:
            for path, user, answer in ((keys, self._keys_user, self._keys), (login, self._login_user, self._login)):
                listening.append((path, sockets.listen_for(user, path), {user.uid}, answer))
            own = {0, sockets.account(None).uid}
            listening.append((status, sockets.listen_for_status(status), own, self._status))
        except ConfigurationError:
            for path, each, *_ in listening:
                each.close()
                path.unlink(missing_ok=True)
            raise
        return listening

    async def _serve(self, listening: socket.socket, uids: set[int], answer: Answers) -> asyncio.Server:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None  # noqa: S101 - asyncio runs this as a task
            self._connections.add(task)
            try:
                await self._converse(reader, writer, uids, answer)
            except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
                pass  # the other side went away, or never asked
            finally:
                self._connections.discard(task)
                writer.close()

        # asyncio listens again, with a queue of 100 if it is not told
        return await asyncio.start_unix_server(
            connected, sock=listening, limit=messages.MAX_MESSAGE, backlog=sockets.BACKLOG
        )

    async def _converse(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        uids: set[int],
        answer: Answers,
    ) -> None:
        peer = sockets.peer_uid(writer.get_extra_info("socket"))
        if peer not in uids:
            self.refused["peer"] += 1
            log.get_logger().warning("peer.refused", uid=peer)
            return
        if len(self._connections) > MAX_CONNECTIONS:
            self.refused["busy"] += 1
            reply: Answer = ("error", {"reason": "busy"})
        else:
            async with asyncio.timeout(QUESTION_SECONDS):
                data = await reader.readuntil(messages.END)
            reply = await self._answer(data, answer)
        writer.write(messages.encode(*reply))
        async with asyncio.timeout(QUESTION_SECONDS):
            await writer.drain()

    async def _answer(self, data: bytes, answer: Answers) -> Answer:
        try:
            return await answer(*messages.decode(data))
        except messages.MessageError as error:
            self.refused["bad_message"] += 1
            log.get_logger().warning("message.refused", message=str(error))
            return "error", {"reason": "bad_message"}
        except Exception:  # noqa: BLE001 - one broken question must not end the agent
            log.get_logger().exception("agent.fault")
            return "error", {"reason": "internal"}

    async def _keys(self, kind: str, question: Fields) -> Answer:
        if kind != "keys":
            raise messages.MessageError(f"{kind} is not asked here")
        request_id = question.get("request_id", "")
        if not _REQUEST_ID.fullmatch(request_id):
            request_id = secrets.token_hex(16)
        try:
            return "keys", {"lines": await self.factor.keys(question, request_id)}
        except SshaftError as error:
            # At info level: while the service is down this happens for every key that is offered.
            log.get_logger().info("keys.failed", message=str(error), request_id=request_id)
            return "error", {"reason": error.code}

    async def _login(self, kind: str, question: Fields) -> Answer:
        if kind not in ("accept", "reject", "enrol"):
            raise messages.MessageError(f"{kind} is not asked here")
        return "result", await self.factor.report(kind, question)

    async def _status(self, kind: str, _question: Fields) -> Answer:
        if kind != "status":
            raise messages.MessageError(f"{kind} is not asked here")
        lookups = self.factor.lookups
        left = self.factor.client.access_tokens.seconds_left()
        facts = {
            "version": sshaft.__version__,
            "uptime_seconds": int(time.monotonic() - self._started),
            "identity_service": "down" if lookups.breaker.is_open else "ok" if lookups.calls else "not asked yet",
            "access_token_seconds_left": None if left is None else int(left),
            "tickets": len(self.factor.tickets),
            "lookups": lookups.asked,
            "list_requests": lookups.calls,
            "accepted": self.factor.accepted,
        }
        return "status", {"json": json.dumps(facts)}

    def _reload(self) -> None:
        """A configuration that is not right is refused and the old one stays."""
        reloading()
        try:
            self.factor.use(IdentityClient(config.load(self._config_path)))
        except SshaftError as error:
            log.get_logger().error("config.refused", message=str(error))
        else:
            log.get_logger().info("config.reloaded", path=str(self._config_path))
        notify("READY=1")

    async def _purge(self) -> None:
        watch = ClockWatch()
        while True:
            await asyncio.sleep(PURGE_SECONDS)
            if seconds := watch.jumped():
                log.get_logger().error("clock.jumped", seconds=round(seconds))
            self.factor.tickets.purge(time.monotonic())
            self.factor.enrolment.tickets.purge(time.monotonic())
