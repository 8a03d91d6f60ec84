"""Waits for the approval of one login on the page of our identity service: shows the page, and takes its digits."""

import asyncio
import re
import threading
import time
from typing import Any

from sshaft.addresses import parse
from sshaft.errors import ReachError, RemoteServiceError
from sshaft_agent.host_login import texts
from sshaft_agent.host_login.approval.realm import ApprovalRealm
from sshaft_agent.host_login.approval.service import (
    WAIT_SECONDS,
    NotNow,
    Opened,
    Outcome,
    TooManyApprovalsError,
    Verified,
    Wish,
    WrongCode,
)
from sshaft_agent.host_login.conversation import Conversation, LoginQuestion
from sshaft_agent.host_login.realm import AwayError, RefusedError
from sshaft_agent.host_login.settings import HostSettings
from sshaft_agent.host_login.threads import FullError, Threads

_MAX_PROMPTS = 10
_TOO_SOON_SECONDS = 1.0
_MAX_TOO_SOON = 3
"""So many answers that come sooner are no person's. ssh without a terminal answers every prompt at once."""
_OPEN_STATES = ("pending", "approved")
_NOT_TYPED = "\b\n\r\x7f"
"""The beginning of what sshd puts in place of an answer for an account that it does not know (`fake_password`)."""
_SHORTEST_SECONDS = 30
"""The service opens no shorter approvals. `end` ends one that this host needs no longer."""


class ApprovalLogin:
    """One login. `host_name` is what the person reads; `logger` names the login in the log."""

    def __init__(
        self, realm: ApprovalRealm, settings: HostSettings, question: LoginQuestion, conversation: Conversation,
        threads: Threads, host_name: str, logger: Any,
    ) -> None:  # fmt: skip
        self._realm = realm
        self._settings = settings
        self._question = question
        self._conversation = conversation
        self._threads = threads
        self._host_name = host_name
        self._logger = logger
        self._lock = threading.Lock()
        self.approval = ""
        """The id of the approval, from the time when its page is shown."""
        self._opened: Opened | None = None
        self._outcome: Outcome | None = None

    async def verified(self, subject: str | None, remember: int | None) -> Verified:
        """Returns who has approved. `subject`: the only person who may, because the account belongs to that person.

        `remember`: the page says that this host will remember the approval for so many seconds.

        Raises `AwayError` if the service cannot be reached before the page is shown, `RefusedError` if nobody approves,
        `GoneError` if the person leaves, and the errors of the service.
        """
        seconds = min(self._question.timeout - 5, self._realm.settings.seconds)
        opened = await self._open(subject, seconds, remember)
        self.approval = opened.id
        ends_at = time.monotonic() + min(seconds, opened.expires_in)
        self._logger.info("host_login.waits", code_seconds=round(opened.expires_in), approval=opened.id)
        watching = asyncio.create_task(self._watch(opened, ends_at))
        try:
            return await self._take_digits(opened, watching)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    def tell_page(self, outcome: Outcome) -> None:
        """Tells the page how the login has ended. It blocks. A failure is logged: the approval ends in its time.

        An approval that the service opens only now is told as soon as it is there.
        """
        with self._lock:
            self._outcome, opened = outcome, self._opened
        if opened is not None:
            self._tell(opened, outcome)

    def _tell(self, opened: Opened, outcome: Outcome) -> None:
        try:
            self._realm.service.end(opened.id, outcome)
        except RemoteServiceError as error:
            self._logger.warning("host_login.page_not_told", message=str(error), approval=opened.id)

    def _open_now(self, wish: Wish) -> Opened:
        """Opens the approval. It blocks. The person may leave meanwhile."""
        opened = self._realm.service.open(wish)
        with self._lock:
            self._opened, outcome = opened, self._outcome
        if outcome is not None:
            self._tell(opened, outcome)
        return opened

    async def _open(self, subject: str | None, seconds: float, remember: int | None) -> Opened:
        question, keys = self._question, self._question.keys
        address = parse(question.client_ip)
        wish = Wish(
            self._host_name, question.service, question.user, self._realm.settings.user_of(question.user),
            None if address is None else str(address), keys[0].fingerprint if keys else None, subject,
            max(int(seconds), _SHORTEST_SECONDS), remember,
        )  # fmt: skip
        opening = self._threads.ask("approval_open", self._open_now, wish)
        try:
            return await self._conversation.keep_waiting(opening)
        except ReachError as error:
            raise AwayError(error) from None
        except TooManyApprovalsError:
            raise RefusedError("the identity service opens no more approvals now", texts.TOO_OFTEN) from None

    async def _take_digits(self, opened: Opened, watching: "asyncio.Task[None]") -> Verified:
        """Shows the page, and asks for the digits until they are right or the approval is over."""
        who = texts.login_line(self._host_name, self._question.user, self._question.client_ip)
        qr = texts.qr_code(opened.page, self._settings.qr, self._settings.qr_error_correction)
        text = texts.page_with_digits(opened.page, who, qr)
        too_soon = 0
        for _ in range(_MAX_PROMPTS):
            shown = time.monotonic()
            typed = await self._ask(text, watching)
            state = await self._conversation.keep_waiting(self._state_now(opened.id))
            digits = re.sub(r"[\s-]", "", typed)
            if state == "pending" or not re.fullmatch(r"[0-9]{6}", digits):
                too_soon += time.monotonic() - shown < _TOO_SOON_SECONDS
                if too_soon == _MAX_TOO_SOON:
                    raise RefusedError("nobody reads the prompts: the answers come at once")
                if state != "pending" and typed.startswith(_NOT_TYPED):
                    raise RefusedError("sshd does not know the account, so it gives no digits to PAM")
                text = texts.page_again(opened.page)
                continue
            verifying = self._threads.ask("approval_verify", self._realm.service.verify, opened.id, digits)
            match await self._conversation.keep_waiting(verifying):
                case WrongCode(0):
                    raise RefusedError("the digits were wrong too often", texts.NO_TRIES)
                case WrongCode(tries_left):
                    text = texts.wrong_digits(tries_left)
                case NotNow(state):
                    raise _over(state)
                case verified:
                    return verified
        raise RefusedError("no digits of the page were typed")

    async def _ask(self, text: str, watching: "asyncio.Task[None]") -> str:
        """Returns what the person types. Raises the error of `watching` as soon as the approval is over."""
        answer = asyncio.ensure_future(self._conversation.prompt(text))
        try:
            await asyncio.wait({answer, watching}, return_when="FIRST_COMPLETED")
            if watching.done():
                watching.result()
            return await answer
        finally:
            answer.cancel()
            await asyncio.gather(answer, return_exceptions=True)

    async def _watch(self, opened: Opened, ends_at: float) -> None:
        """Raises `RefusedError` as soon as the approval is over, or its time. Until then, a service may be away."""
        try:
            async with asyncio.timeout(ends_at - time.monotonic()):
                state = await self._state(opened.id)
                while state in _OPEN_STATES:
                    await asyncio.sleep(opened.interval)
                    state = await self._state(opened.id)
        except TimeoutError:
            state = "expired"
        raise _over(state)

    async def _state(self, approval: str) -> str:
        """Returns the state as soon as it is another one, or after some time. A service that is away says `pending`."""
        try:
            return await self._threads.watch(self._realm.service.state, approval, WAIT_SECONDS)
        except FullError:
            return await self._state_now(approval)
        except RemoteServiceError:
            return "pending"

    async def _state_now(self, approval: str) -> str:
        """Returns the state. It is asked for after each answer, also one without digits, so that all take one way.

        sshd gives PAM no answer of a person whose account it does not know. A stranger must not notice that.
        """
        try:
            return await self._threads.ask("approval_state", self._realm.service.state, approval, 0)
        except RemoteServiceError:
            return "pending"


def _over(state: str) -> RefusedError:
    reasons = {
        "denied": "the login was denied on the page",
        "reported": "the person has reported this login as unknown",
        "expired": "nobody approved in time",
    }
    reason = reasons.get(state, "the identity service has ended the approval")
    return RefusedError(reason, texts.OF_STATE.get(state, texts.ENDED))
