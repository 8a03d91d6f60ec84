"""Answers sshaft-keys, sshaft-login, pam_sshaft and the operator; reloads and stops on signals."""

import asyncio
import json
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sshaft
from sshaft import log
from sshaft.clocks import ClockWatch
from sshaft.daemon import notify
from sshaft.daemon.handover import Handover, predecessor
from sshaft.errors import ConfigurationError, SshaftError
from sshaft.identity_client import IdentityClient
from sshaft_agent import configuration, sockets
from sshaft_agent.configuration import Configuration
from sshaft_agent.observe import Observe, observe_nothing
from sshaft_agent.server import Answer, Endpoint, Message, Server, one_answer
from sshaft_agent.server_thread import ServerThread
from sshaft_agent.sockets import Account
from sshaft_agent.ssh_factor.factor import Factor
from sshaft_agent.ssh_factor.logins import PROMPT_SECONDS
from sshaft_agent.ssh_factor.questions import LOGIN_REQUESTS, KeysQuestion, LoginRequest
from sshaft_agent.ssh_factor.tickets import LIFETIME

if TYPE_CHECKING:
    from sshaft_agent.host_login.host_login import HostLogin

PURGE_SECONDS = 30.0
_RETIRED_SECONDS = 300.0
"""A login that has begun may go on so long after an upgrade. It is the LoginGraceTime of our sshd_config."""
_QUEUE_SECONDS = 1.0
"""Connections to the old sockets that nobody has accepted yet."""

_NO_API = "without host_login there is no socket for sshaft-host-api: --api-user has no effect"


class Agent:
    """The agent of one host: the SSH factor of an identity service, host login at a provider, or both."""

    def __init__(
        self,
        config_path: Path,
        directory: Path,
        keys_user: Account,
        login_user: Account,
        observe: Observe = observe_nothing,
        api_user: Account | None = None,
    ) -> None:
        """`api_user` is the account of sshaft-host-api. None: there is no socket for it."""
        self._config_path = config_path
        self._directory = directory
        self._keys_user = keys_user
        self._login_user = login_user
        self._api_user = api_user
        self._login_path = sockets.login_path(directory, is_successor=predecessor.is_there)
        self._stopping = asyncio.Event()
        self._retirement: asyncio.Task[None] | None = None
        self.listening: dict[str, socket.socket] = {}
        """Further sockets that a successor gets, by name."""
        self.on_retire: Callable[[], None] = lambda: None
        self._started = time.monotonic()
        self._refused_configuration: str | None = None
        found = configuration.load(config_path)
        _log_notes(found)
        self.factor: Factor | None = None
        if found.factor is not None:
            self.factor = Factor(IdentityClient(found.factor), str(self._login_path), observe)
        self.host_login = _new_host_login(found, observe)
        if api_user is not None and self.host_login is None:
            log.get_logger().warning("config.warning", message=_NO_API)
        self.server = Server(self._endpoints())
        self.api_server = self._new_api_server()

    def _new_api_server(self) -> ServerThread | None:
        """Returns the server of the API socket. No login waits for the questions of strangers there."""
        if self.host_login is None or self._api_user is None:
            return None
        answers = one_answer(self.host_login.api.answers())
        path = sockets.api_path(self._directory)
        return ServerThread(Server([Endpoint(path, self._api_user, answers, is_repeated=True)]), "host-api")

    def refused(self) -> Counter[str]:
        """Returns how many connections were refused, by reason."""
        return self.server.refused + (self.api_server.server.refused if self.api_server else Counter())

    def _endpoints(self) -> tuple[Endpoint, ...]:
        """Returns the table of sockets."""
        endpoints: list[Endpoint] = []
        operator: dict[str, Answer] = {"status": self._answer_status}
        if self.factor is not None:
            keys = one_answer({"keys": partial(self._answer_keys, self.factor)})
            kinds = {kind: partial(self._answer_login, self.factor, each) for kind, each in LOGIN_REQUESTS.items()}
            endpoints += [
                Endpoint(sockets.keys_path(self._directory), self._keys_user, keys),
                Endpoint(self._login_path, self._login_user, one_answer(kinds)),
            ]
        if self.host_login is not None:
            operator |= self.host_login.operator.answers()
            names = one_answer({"name": self.host_login.first_login.answer_name})
            endpoints += [
                Endpoint(sockets.host_path(self._directory), sockets.ROOT, self.host_login.handle),
                Endpoint(sockets.names_path(self._directory), sockets.ROOT, names),
            ]
        status = one_answer(operator, self.host_login.operator.for_owner if self.host_login else ())
        return (*endpoints, Endpoint(sockets.status_path(self._directory), None, status))

    async def run(self) -> None:
        """Serves until SIGTERM or SIGINT. Raises `ConfigurationError` before it serves anything."""
        sockets.make_directory(self._directory)
        if predecessor.is_there:
            self._wait_for_predecessor()
        await self._open_sockets()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        Handover(self._retire, self.listening, self._pause, self._resume).listen()
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        purging = asyncio.create_task(self._purge())
        if self.host_login is not None:
            self.host_login.periodic.start()
        log.get_logger().info(
            "agent.ready",
            version=sshaft.__version__,
            directory=str(self._directory),
            keys_user=self._keys_user.name,
            login_user=self._login_user.name,
        )
        notify.notify("READY=1")
        predecessor.serves()
        await self._stopping.wait()
        notify.notify("STOPPING=1")
        log.get_logger().info("agent.stopping", open=len(self.server.connections))
        purging.cancel()
        if self.host_login is not None:
            self.host_login.stop()
        await self.server.stop()
        if self.api_server is not None:
            await self.api_server.stop()
        for part in (self.factor, self.host_login):
            if part is not None:
                part.close()
        log.get_logger().info("agent.stopped")

    async def _pause(self) -> None:
        """Stops what two agents may not do at the same time: both could redeem the same refresh token."""
        if self.host_login is not None:
            await asyncio.to_thread(self.host_login.periodic.pause)

    def _resume(self) -> None:
        if self.host_login is not None:
            self.host_login.periodic.start()

    def _retire(self) -> None:
        """Lets the logins of this agent end. New ones come to its successor, which has its sockets."""
        self.on_retire()
        if self.api_server is not None:
            self.api_server.end_repeated()
        self._retirement = asyncio.create_task(self._wait_for_logins())

    async def _wait_for_logins(self) -> None:
        """Ends this agent when no login can come back to it any more."""
        end = time.monotonic() + _RETIRED_SECONDS
        await asyncio.sleep(_QUEUE_SECONDS if self.factor is None else LIFETIME + PROMPT_SECONDS)
        if self.server.connections:
            await asyncio.wait(self.server.connections, timeout=end - time.monotonic())
        self._stopping.set()

    def _wait_for_predecessor(self) -> None:
        """Opens the sockets beside those of the agent that runs, and waits for its word. Raises `HandoverError`."""
        with ExitStack() as undo:
            for server in (self.server, *([self.api_server.server] if self.api_server else [])):
                server.open_beside()
                undo.callback(server.close_beside)
            predecessor.wait()
            undo.pop_all()

    async def _open_sockets(self) -> None:
        await self.server.start()
        if self.api_server is not None:
            try:
                await self.api_server.start()
            except ConfigurationError:
                await self.server.stop()
                raise

    async def _answer_keys(self, factor: Factor, fields: dict[str, str]) -> Message:
        question = KeysQuestion.of(fields)
        try:
            return "keys", {"lines": await factor.key_line(question)}
        except SshaftError as error:
            # The level is info because this happens for every offered key while the service is down.
            log.get_logger().info("keys.failed", message=str(error), request_id=question.request_id)
            return "error", {"reason": error.code}

    async def _answer_login(self, factor: Factor, request: type[LoginRequest], fields: dict[str, str]) -> Message:
        return "result", await factor.answer_login(request.of(fields))

    async def _answer_status(self, _fields: dict[str, str]) -> Message:
        facts: dict[str, Any] = {
            "version": sshaft.__version__,
            "uptime_seconds": int(time.monotonic() - self._started),
        }
        if self.factor is not None:
            facts |= self.factor.status()
        if self.host_login is not None:
            facts |= self.host_login.status()
        facts["refused_configuration"] = self._refused_configuration
        return "status", {"json": json.dumps(facts)}

    def _reload(self) -> None:
        """Reads the configuration again. A wrong configuration is refused, and the old one stays."""
        notify.reloading()
        self._refused_configuration = None
        try:
            self._use(configuration.load(self._config_path))
        except SshaftError as error:
            self._refused_configuration = str(error)
            log.get_logger().error("config.refused", message=str(error), in_use="the old configuration")
        else:
            log.get_logger().info("config.reloaded", path=str(self._config_path))
        notify.reloaded(self._refused_configuration)

    def _use(self, found: Configuration) -> None:
        """Switches to a configuration that was read again. Raises `ConfigurationError`."""
        had = self.factor is not None, self.host_login is not None
        if had != (found.factor is not None, found.host_login is not None):
            raise ConfigurationError("host_login or the SSH factor was added or removed: restart the agent")
        if self.host_login is not None and found.host_login is not None:
            self.host_login.replace_settings(found.host_login)
            _log_notes(found)
        if self.factor is not None and found.factor is not None:
            self.factor.replace_client(IdentityClient(found.factor))

    async def _purge(self) -> None:
        """Removes logins whose ticket has expired every 30 seconds, and logs jumps of the clock."""
        watch = ClockWatch()
        while True:
            await asyncio.sleep(PURGE_SECONDS)
            if seconds := watch.jumped():
                log.get_logger().error("clock.jumped", seconds=round(seconds))
            if self.factor is not None:
                self.factor.logins.purge(time.monotonic())


def _log_notes(found: Configuration) -> None:
    for note in found.notes:
        log.get_logger().warning("config.warning", message=note)


def _new_host_login(found: Configuration, observe: Observe) -> "HostLogin | None":
    if found.host_login is None:
        return None
    from sshaft_agent.host_login.host_login import HostLogin  # noqa: PLC0415 - needs the packages of sshaft[host]

    return HostLogin(found.host_login, observe=observe)
