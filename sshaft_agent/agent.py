"""Answers sshaft-keys, sshaft-login and the operator; reloads and stops on signals."""

import asyncio
import json
import signal
import time
from functools import partial
from pathlib import Path

import sshaft
from sshaft import config, log
from sshaft.clocks import ClockWatch
from sshaft.daemon import notify
from sshaft.errors import SshaftError
from sshaft.identity_client import IdentityClient
from sshaft_agent import sockets
from sshaft_agent.server import Endpoint, Message, Server, one_answer
from sshaft_agent.sockets import Account
from sshaft_agent.ssh_factor.factor import Factor
from sshaft_agent.ssh_factor.lookup import Observe, observe_nothing
from sshaft_agent.ssh_factor.questions import LOGIN_REQUESTS, KeysQuestion, LoginRequest

PURGE_SECONDS = 30.0


class Agent:
    """The agent of one identity service."""

    def __init__(
        self,
        config_path: Path,
        directory: Path,
        keys_user: Account,
        login_user: Account,
        observe: Observe = observe_nothing,
    ) -> None:
        self._config_path = config_path
        self._directory = directory
        self._keys_user = keys_user
        self._login_user = login_user
        self._started = time.monotonic()
        self._refused_configuration: str | None = None
        self.factor = Factor(IdentityClient(config.load(config_path)), str(sockets.login_path(directory)), observe)
        self.server = Server(self._endpoints())

    def _endpoints(self) -> tuple[Endpoint, ...]:
        """Returns the table of sockets."""
        logins = {kind: partial(self._answer_login, request) for kind, request in LOGIN_REQUESTS.items()}
        return (
            Endpoint(sockets.keys_path(self._directory), self._keys_user, one_answer({"keys": self._answer_keys})),
            Endpoint(sockets.login_path(self._directory), self._login_user, one_answer(logins)),
            Endpoint(sockets.status_path(self._directory), None, one_answer({"status": self._answer_status})),
        )

    async def run(self) -> None:
        """Serves until SIGTERM or SIGINT. Raises `ConfigurationError` before it serves anything."""
        sockets.make_directory(self._directory)
        await self.server.start()
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
        notify.notify("READY=1")
        await stopping.wait()
        notify.notify("STOPPING=1")
        log.get_logger().info("agent.stopping", open=len(self.server.connections))
        purging.cancel()
        await self.server.stop()
        self.factor.close()
        log.get_logger().info("agent.stopped")

    async def _answer_keys(self, fields: dict[str, str]) -> Message:
        question = KeysQuestion.of(fields)
        try:
            return "keys", {"lines": await self.factor.key_line(question)}
        except SshaftError as error:
            # The level is info because this happens for every offered key while the service is down.
            log.get_logger().info("keys.failed", message=str(error), request_id=question.request_id)
            return "error", {"reason": error.code}

    async def _answer_login(self, request: type[LoginRequest], fields: dict[str, str]) -> Message:
        return "result", await self.factor.answer_login(request.of(fields))

    async def _answer_status(self, _fields: dict[str, str]) -> Message:
        lookups = self.factor.lookups
        left = self.factor.client.access_tokens.seconds_left()
        reached = "ok" if lookups.list_requests else "not asked yet"
        facts = {
            "version": sshaft.__version__,
            "uptime_seconds": int(time.monotonic() - self._started),
            "identity_service": "down" if lookups.breaker.is_open else reached,
            "access_token_seconds_left": None if left is None else int(left),
            "logins": len(self.factor.logins),
            "lookups": lookups.count,
            "list_requests": lookups.list_requests,
            "accepted": self.factor.outcomes["accepted"],
            "refused_configuration": self._refused_configuration,
        }
        return "status", {"json": json.dumps(facts)}

    def _reload(self) -> None:
        """Reads the configuration again. A wrong configuration is refused, and the old one stays."""
        notify.reloading()
        self._refused_configuration = None
        try:
            self.factor.replace_client(IdentityClient(config.load(self._config_path)))
        except SshaftError as error:
            self._refused_configuration = str(error)
            log.get_logger().error("config.refused", message=str(error), in_use="the old configuration")
        else:
            log.get_logger().info("config.reloaded", path=str(self._config_path))
        notify.reloaded(self._refused_configuration)

    async def _purge(self) -> None:
        """Removes logins whose ticket has expired every 30 seconds, and logs jumps of the clock."""
        watch = ClockWatch()
        while True:
            await asyncio.sleep(PURGE_SECONDS)
            if seconds := watch.jumped():
                log.get_logger().error("clock.jumped", seconds=round(seconds))
            self.factor.logins.purge(time.monotonic())
