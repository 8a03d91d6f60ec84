"""Speaks with pam_sshaft about one login, over one connection: prompts and answers, information, the result.

native/pam_sshaft.c is the other side. It shows what it gets, knows nothing of OAuth, and denies whatever it does not
know.
"""

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Literal, Self, TypeVar

from sshaft import messages

Result = Literal["success", "denied", "unknown_user", "unavailable", "ignore"]
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
    timeout: float
    """Seconds until the module gives up."""

    @classmethod
    def of(cls, fields: Mapping[str, str]) -> Self:
        """Returns the question. A missing field counts as empty."""
        timeout = fields.get("timeout", "")
        seconds = float(timeout) if timeout.isascii() and timeout.isdigit() and len(timeout) < 6 else _DEFAULT_TIMEOUT
        return cls(
            user=fields.get("user", ""),
            client_ip=fields.get("rhost", ""),
            timeout=min(seconds, _MAX_TIMEOUT),
        )


class Conversation:
    """One connection of the module. Each method raises `GoneError` if the other side ends it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def prompt(self, text: str, *, echo: bool = True) -> str:
        """Shows `text` and returns what the person types, without a limit in time: sshd has one.

        sshd refuses a visible prompt (`echo`) to a client that can only send a password, so nobody waits in vain.
        """
        await self._send("prompt", {"text": text, "echo": "yes" if echo else "no"})
        kind, fields = messages.decode(await self._read())
        if kind != "answer":
            raise GoneError(kind)
        return fields.get("text", "")

    async def info(self, text: str) -> None:
        """Shows `text`. A server older than OpenSSH 10.3 shows it together with the next prompt."""
        await self._send("info", {"text": text})

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

    async def _read(self) -> bytes:
        try:
            return await self._reader.readuntil(messages.END)
        except (OSError, asyncio.IncompleteReadError) as error:
            raise GoneError("the module ended the connection") from error

    async def _send(self, kind: str, fields: dict[str, str]) -> None:
        self._writer.write(messages.encode(kind, fields))
        try:
            async with asyncio.timeout(_SEND_SECONDS):
                await self._writer.drain()
        except (OSError, TimeoutError) as error:
            raise GoneError("the module does not listen") from error
