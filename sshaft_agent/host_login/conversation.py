"""Speaks with pam_sshaft about one login, over one connection: prompts and answers, information, the result.

native/pam_sshaft.c is the other side. It shows what it gets, knows nothing of OAuth, and denies whatever it does not
know.
"""

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Literal, Self, TypeVar

from sshaft import messages
from sshaft.text import printable
from sshaft_agent.host_login.auth_info import UsedKey, used_keys

Result = Literal["success", "denied", "final", "unknown_user", "unavailable", "ignore"]
"""`final`: denied, and sshd shall not ask again."""
ATTENTION_SECONDS = 5.0
"""The module gives up after 15 seconds of silence."""
_SEND_SECONDS = 3.0
_DEFAULT_TIMEOUT = 100.0
_MAX_TIMEOUT = 3600.0

T = TypeVar("T")


class GoneError(Exception):
    """The person or the module has ended the conversation."""


@dataclass(frozen=True)
class LoginQuestion:
    """What the module says of a login. Only sshd, as root, can say it; the user name is what a stranger typed."""

    user: str
    client_ip: str
    service: str
    """The PAM service."""
    timeout: float
    """Seconds until the module gives up."""
    config: str = ""
    """The file that the PAM line names by `config=`; empty: the agent's own configuration."""
    keys: tuple[UsedKey, ...] = ()
    """The keys that sshd has accepted before."""
    began: float = 0.0
    """When the connection to sshd began, in seconds since the start of the machine. 0: nobody knows it."""
    connection: str = ""
    """The process of sshd that serves the connection, see `connection_of`."""

    @classmethod
    def of(cls, fields: Mapping[str, str]) -> Self:
        """Returns the question. A missing field counts as empty."""
        seconds = _digits(fields.get("timeout", ""), 5)
        return cls(
            user=fields.get("user", ""),
            client_ip=fields.get("rhost", ""),
            service=fields.get("service", ""),
            timeout=_DEFAULT_TIMEOUT if seconds is None else min(seconds, _MAX_TIMEOUT),
            config=fields.get("config", ""),
            keys=used_keys(fields.get("ssh_auth_info", "")),
            began=(_digits(fields.get("began", ""), 15) or 0) / 1000,
            connection=connection_of(fields),
        )

    def facts(self) -> dict[str, str]:
        """Returns what every event in the log says of a login."""
        keys = {"key_type": [key.type for key in self.keys], "fingerprint": [key.fingerprint for key in self.keys]}
        return {"user": printable(self.user), "client_ip": printable(self.client_ip)} | {
            name: ", ".join(values) for name, values in keys.items() if values
        }


def connection_of(fields: Mapping[str, str]) -> str:
    """Returns `PID:BEGAN`, the process of sshd that serves the connection and its start. Empty: nobody knows it.

    All questions about one connection have the same one.
    """
    pid, began = _digits(fields.get("pid", ""), 10), _digits(fields.get("began", ""), 15)
    return f"{pid}:{began}" if pid and began else ""


def _digits(text: str, most: int) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= most else None


class Conversation:
    """One connection of the module. Each method raises `GoneError` if the other side ends it.

    `timeout` is in seconds from now. No answer counts later, so that an sshd without LoginGraceTime holds no login.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, timeout: float) -> None:
        self.is_with_program = False
        """Whether a program has answered, which presses no Enter."""
        self.has_open_prompt = False
        """Whether a prompt waits for its answer. The person reads nothing else before that."""
        self.page = "device"
        """The method by which the person approves on a page: device or approval."""
        self.instead_of = ""
        """The methods whose services are away, so that another one is used."""
        self.after: Awaitable[None] | None = None
        """What goes on after the result. An agent that stops waits for it."""
        self._reader = reader
        self._writer = writer
        self._ends_at = asyncio.get_running_loop().time() + timeout

    @property
    def way(self) -> str:
        """Returns how the person logs in, for the log."""
        if self.is_with_program:
            return "token"
        return "browser" if self.page == "device" else self.page

    def facts(self) -> dict[str, str]:
        """Returns what the log says of the method at the end of the login."""
        return {"by": self.way} | ({"instead_of": self.instead_of} if self.instead_of else {})

    async def prompt(self, text: str, *, echo: bool = True) -> str:
        """Shows `text` and returns what the person types.

        sshd refuses a visible prompt (`echo`) to a client that can only send a password, so nobody waits in vain.
        """
        await self._send("prompt", {"text": text, "echo": "yes" if echo else "no"})
        self.has_open_prompt = True
        try:
            async with asyncio.timeout_at(self._ends_at):
                kind, fields = messages.decode(await self._reader.readuntil(messages.END))
        except TimeoutError as error:
            raise GoneError("nobody answered before the timeout of the module") from error
        except (OSError, asyncio.IncompleteReadError) as error:
            raise GoneError("the module ended the connection") from error
        except (asyncio.LimitOverrunError, messages.MessageError) as error:
            raise GoneError("the module sent no message of this protocol") from error
        if kind != "answer":
            raise GoneError(kind)
        self.has_open_prompt = False
        return fields.get("text", "")

    async def info(self, text: str) -> None:
        """Shows `text`. A server older than OpenSSH 10.3 shows it together with the next prompt."""
        await self._send("info", {"text": text})

    async def probe(self) -> None:
        """Shows an empty text, of which clients show nothing.

        While no prompt waits, sshd does not notice that a person has left until it has something to send.
        """
        await self.info("")

    async def keep_waiting(self, work: Awaitable[T]) -> T:
        """Returns the result of `work`. Meanwhile the module learns that the agent is alive."""
        task, gone = asyncio.ensure_future(work), asyncio.ensure_future(self._reader.read(1))
        try:
            while True:
                await self._send("wait", {})
                done, _ = await asyncio.wait((task, gone), timeout=ATTENTION_SECONDS, return_when="FIRST_COMPLETED")
                if task in done:
                    return task.result()
                if gone in done:
                    raise GoneError("the module ended the connection, or spoke out of turn")
        finally:
            task.cancel()
            gone.cancel()
            await asyncio.gather(task, gone, return_exceptions=True)

    async def result(self, result: Result, reason: str = "") -> None:
        """Ends the conversation. `reason` is for the log of sshd."""
        await self._send("result", {"result": result, "reason": reason})

    async def _send(self, kind: str, fields: dict[str, str]) -> None:
        self._writer.write(messages.encode(kind, fields))
        try:
            async with asyncio.timeout(_SEND_SECONDS):
                await self._writer.drain()
        except (OSError, TimeoutError) as error:
            raise GoneError("the module does not listen") from error
