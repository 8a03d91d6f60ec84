"""Answers the questions of an sshd whose host key is the known one: with the token, or with what the person types."""

from collections.abc import Callable, Sequence
from typing import Protocol

import asyncssh

from sshaft.errors import SshaftError
from sshaft.host_api.prompt import is_token_prompt

MOST_TEXT = 64 * 1024
"""Bytes that a host may write before it lets the person in."""
_MOST_ROUNDS = 64
_MOST_PROMPTS = 16


class Asker(Protocol):
    """Shows text to the person, and asks them."""

    def show(self, text: str) -> None: ...

    async def ask(self, prompt: str, *, echo: bool) -> str:
        """Returns the line that the person types. Raises `PromptCancelledError`."""
        ...


class LoginError(SshaftError):
    """The login cannot go on. The text is for the person."""

    code = "login_failed"


class Login(asyncssh.SSHClient):
    """One login. `answers` are for the token prompts in turn; empty: the host takes no tokens from us.

    The token goes to the first prompts only. Once the person has answered one, what looks like a token prompt is
    theirs to read: it could be the text of a program that imitates sshd.
    """

    def __init__(self, place: str, answers: Sequence[str], asker: Asker) -> None:
        self._place = place
        self._answers = list(answers)
        self._asker = asker
        self._has_token = bool(answers)
        self._person_answers = False
        self._rounds = 0
        self._text = 0
        self.failure: Exception | None = None
        self.token_was_refused = False
        self.begun: Callable[[], object] = lambda: None
        """Is called when the host has proven its key."""

    def begin_auth(self, _username: str) -> None:
        self.begun()

    def auth_banner_received(self, msg: str, lang: str) -> None:  # noqa: ARG002 - asyncssh's signature
        self._show(msg)

    def kbdint_auth_requested(self) -> str | None:
        if self._has_token and not self._answers and not self._person_answers:
            self.token_was_refused = True
        return None if self.failure else ""

    async def kbdint_challenge_received(
        self, name: str, instructions: str, lang: str, prompts: Sequence[tuple[str, bool]]  # noqa: ARG002
    ) -> list[str] | None:  # fmt: skip
        return await self._guarded(lambda: self._round(name, instructions, prompts))

    async def password_auth_requested(self) -> str | None:
        if self.failure:
            return None
        answers = await self._guarded(lambda: self._round("", "", [(f"{self._place}'s password: ", False)]))
        return answers[0] if answers else None

    async def _guarded(self, work: Callable[[], object]) -> list[str] | None:
        """Returns the answers. None ends the login, for the reason in `failure`."""
        try:
            return await work()  # type: ignore[misc, no-any-return]
        except Exception as error:  # noqa: BLE001 - asyncssh would hide it; it is raised where the login was begun
            self.failure = error
            return None

    async def _round(self, name: str, instructions: str, prompts: Sequence[tuple[str, bool]]) -> list[str]:
        self._rounds += 1
        if self._rounds > _MOST_ROUNDS or len(prompts) > _MOST_PROMPTS:
            raise LoginError("The host asks too many questions.")
        if name or instructions:
            self._show("".join(f"{each}\n" for each in (name, instructions) if each))
        return [await self._answer(text, echo=echo) for text, echo in prompts]

    async def _answer(self, prompt: str, *, echo: bool) -> str:
        if self._has_token and not self._person_answers and is_token_prompt(prompt):
            if not self._answers:
                self.token_was_refused = True
                raise LoginError("The host did not take your access token.")
            return self._answers.pop(0)
        self._person_answers = True
        self._count(prompt)
        return await self._asker.ask(_lines(prompt), echo=echo)

    def _show(self, text: str) -> None:
        self._count(text)
        self._asker.show(_lines(text))

    def _count(self, text: str) -> None:
        self._text += len(text)
        if self._text > MOST_TEXT:
            self.failure = LoginError("The host writes without end before it lets you in.")
            raise self.failure


def _lines(text: str) -> str:
    """Returns the text with the ends of lines that a terminal wants."""
    return text.replace("\r\n", "\n").replace("\n", "\r\n")
