"""Reads the lines that a person types into the terminal at a prompt of the host, before there is a shell."""

import asyncio
import codecs
import re
from collections.abc import Callable

_MOST = 4096
_ENTER, _INTERRUPT, _END, _ERASE, _ERASE_LINE = "\r\n", "\x03", "\x04", "\x08\x7f", "\x15"
_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.|.)?")
"""What a cursor key and the marks of a paste send."""


class PromptCancelledError(Exception):
    """The person has pressed Ctrl-C or Ctrl-D at a prompt."""


class TypedLines:
    """Turns keys into lines. `show` writes to the terminal. Keys count only while a prompt waits for them."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._waiting: asyncio.Future[str] | None = None
        self._line = ""
        self._echo = False

    async def ask(self, prompt: str, *, echo: bool) -> str:
        """Returns the line that the person types. Raises `PromptCancelledError`."""
        self._show(prompt)
        self._line, self._echo = "", echo
        self._waiting = asyncio.get_running_loop().create_future()
        try:
            return await self._waiting
        finally:
            self._waiting = None

    def feed(self, data: bytes) -> None:
        """Takes keys from the page."""
        for key in _SEQUENCE.sub("", self._decoder.decode(data)):
            if self._waiting is None or self._waiting.done():
                return
            self._press(key, self._waiting)

    def _press(self, key: str, waiting: asyncio.Future[str]) -> None:
        if key in _ENTER:
            self._show("\r\n")
            waiting.set_result(self._line)
        elif key in (_INTERRUPT, _END):
            self._show("\r\n")
            waiting.set_exception(PromptCancelledError())
        elif key in _ERASE or key == _ERASE_LINE:
            gone = len(self._line) if key == _ERASE_LINE else min(1, len(self._line))
            self._line = self._line[: len(self._line) - gone]
            self._show("\b \b" * gone if self._echo else "")
        elif key.isprintable() and len(self._line) < _MOST:
            self._line += key
            self._show(key if self._echo else "")
