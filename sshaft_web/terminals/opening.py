"""Opens the shell of one terminal: account, connection, login, shell. It ends when the terminal ends."""

import asyncio
from asyncio import FIRST_COMPLETED
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import anyio.to_thread
import asyncssh

from sshaft import log
from sshaft.errors import RemoteServiceError
from sshaft.host_api.service import Service
from sshaft.host_api.web import WebError
from sshaft_oidc.refresh_grant import GrantEndedError
from sshaft_oidc.remote_keys import OpenIdError
from sshaft_web.terminals import ssh_connection
from sshaft_web.terminals.login import Login, LoginError
from sshaft_web.terminals.terminal import State, Terminal

_TERM = "xterm-256color"
_WINDOW = 256 * 1024
"""Bytes that a host may send before they are read."""
_THREADS = 8
Answer = TypeVar("Answer")


class HostApi:
    """Asks the API of one host, in threads of its own: a slow host delays no other one."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._limiter = anyio.CapacityLimiter(_THREADS)

    async def account(self, token: str) -> str:
        """Returns the name of the person's account. Raises `LoginError`."""
        try:
            return await self._ask(self._service.account, token)
        except WebError as error:
            raise LoginError(str(error), code="no_account") from error

    async def answers(self, token: str) -> list[str]:
        """Returns what answers the token prompts in turn."""
        return await self._ask(self._service.answers, token)

    async def why_refused(self, token: str) -> str:
        return await self._ask(self._service.why_refused, token)

    async def _ask(self, question: Callable[[str], Answer], token: str) -> Answer:
        return await anyio.to_thread.run_sync(question, token, limiter=self._limiter, abandon_on_cancel=True)


async def run(terminal: Terminal, api: HostApi | None, user: str, opened: Callable[[], None]) -> None:
    """Runs a terminal until its end, and calls `opened` when there is a shell. `user`: if the host has no API.

    Raises `GrantEndedError`: the provider has ended the sign-in.
    """
    opening = asyncio.ensure_future(_open(terminal, api, user, opened))
    try:
        ended = asyncio.ensure_future(terminal.ended.wait())
        await asyncio.wait([opening, ended], return_when=FIRST_COMPLETED)
        if opening.done():
            opening.result()
        await ended
    except LoginError as error:
        terminal.close(error.code, str(error))
    except GrantEndedError:
        raise
    except Exception as error:  # noqa: BLE001 - the last handler: a terminal must not stay half open
        log.fault("terminal.failed", error, terminal=terminal.id[:8])
        terminal.close("failed", "The terminal has failed. Open it again.")
    finally:
        opening.cancel()
        await asyncio.wait([opening])
        if terminal.files is not None and terminal.connection is not None:
            await terminal.files.close()
        terminal.drop_connection()


async def _open(terminal: Terminal, api: HostApi | None, user: str, opened: Callable[[], None]) -> None:
    """Opens the shell. Is cancelled if the terminal ends before that."""
    terminal.connection = await _connect(terminal, api, user)
    await _shell(terminal, terminal.connection)
    terminal.become(State.OPEN)
    opened()


async def _connect(terminal: Terminal, api: HostApi | None, user: str) -> asyncssh.SSHClientConnection:
    """Returns the connection on which the person is logged in."""
    token, answers = "", []
    terminal.account = user
    if api is not None:
        token = await _token(terminal)
        terminal.account = await api.account(token)
        answers = await api.answers(token)
    place = f"{terminal.account}@{terminal.target.host}"
    terminal.become(State.AUTHENTICATING)
    login = Login(place, answers, _Asker(terminal))
    try:
        return await ssh_connection.connect(terminal.target, terminal.account, login)
    except LoginError as error:
        if login.token_was_refused and api is not None:
            raise LoginError(await api.why_refused(token), code="token_refused") from error
        raise


async def _token(terminal: Terminal) -> str:
    try:
        return await terminal.session.tokens.access_token()
    except GrantEndedError:
        raise
    except OpenIdError as error:
        raise LoginError("Your sign-in has ended. Sign in again.", code="sign_in_again") from error
    except RemoteServiceError as error:
        raise LoginError("The provider does not answer now. Try again in a minute.", code=error.code) from error


async def _shell(terminal: Terminal, connection: asyncssh.SSHClientConnection) -> None:
    size = terminal.size
    try:
        await connection.create_session(
            partial(_Shell, terminal), term_type=_TERM, term_size=(size.columns, size.rows), encoding=None,
            window=_WINDOW, request_pty="force",
        )  # fmt: skip
    except (asyncssh.Error, OSError) as error:
        raise LoginError(f"{terminal.target.title} gives no shell.", code="no_shell") from error


class _Asker:
    """Shows the questions of the login in the terminal."""

    def __init__(self, terminal: Terminal) -> None:
        self.show = terminal.show
        self._prompts = terminal.prompts

    async def ask(self, prompt: str, *, echo: bool) -> str:
        return await self._prompts.ask(prompt, echo=echo)


class _Shell(asyncssh.SSHClientSession[bytes]):
    """The channel of a shell."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._said = ""

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        self._channel = chan

    def session_started(self) -> None:
        self._terminal.opened(self._channel)

    def data_received(self, data: bytes, datatype: int | None) -> None:  # noqa: ARG002 - asyncssh's signature
        self._terminal.wrote(data)

    def pause_writing(self) -> None:
        self._terminal.may_write(may=False)

    def resume_writing(self) -> None:
        self._terminal.may_write(may=True)

    def exit_status_received(self, status: int) -> None:
        self._said = f"The shell has ended with status {status}."

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:  # noqa: ARG002
        self._said = "A signal has ended the shell."

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is None or self._said:
            self._terminal.close("exited", self._said or "The shell has ended.")
        else:
            self._terminal.close("connection_lost", "The connection to the host was lost.")
