"""Waits for the approval of one login in a browser: shows the page and the code, and asks the provider meanwhile."""

import asyncio
import time
from typing import Any

from sshaft.deadline import Deadline
from sshaft.errors import ReachError
from sshaft_agent.host_login import texts
from sshaft_agent.host_login.conversation import Conversation, LoginQuestion
from sshaft_agent.host_login.first_prompt import ask_first
from sshaft_agent.host_login.realm import REQUEST_SECONDS, AwayError, Realm, RefusedError
from sshaft_agent.host_login.threads import Threads
from sshaft_oidc.device_grant import DeviceCode, DeviceGrantError
from sshaft_oidc.identity import Identity
from sshaft_oidc.provider import Tokens

_GRACE_SECONDS = 10.0
"""The person may press Enter before the next poll brings the approval. Enter waits for that poll, this long at most."""
_POLL_SECONDS = 2.0
"""What a poll takes, with much to spare."""
_PROBE_SECONDS = 2.0
"""After this time without a prompt, the agent knows that a person has left, and the person may begin anew."""
_MAX_PROMPTS = 6
_TOO_SOON_SECONDS = 1.0
_MAX_TOO_SOON = 3
"""So many answers that come sooner are no person's. ssh without a terminal answers every prompt at once."""


class DeviceLogin:
    """One login. `host_name` is what the person reads; `logger` names the login in the log."""

    def __init__(
        self, realm: Realm, question: LoginQuestion, conversation: Conversation, threads: Threads, host_name: str,
        needs_enter: bool, logger: Any,
    ) -> None:  # fmt: skip
        self._realm = realm
        self._question = question
        self._conversation = conversation
        self._threads = threads
        self._host_name = host_name
        self._needs_enter = needs_enter
        self._logger = logger
        self.kept: tuple[Identity, Tokens] | None = None
        """Who has approved, and tokens for later checks. They are for the caller to keep, or to end."""

    async def identity(self) -> Identity:
        """Returns who has approved.

        Raises `RefusedError` if nobody does, `GoneError` if the person leaves, and the errors of the provider.
        """
        ends_at = time.monotonic() + min(self._question.timeout - 5, self._realm.settings.login_seconds)
        if self._realm.settings.ask_first and not self._question.keys:
            await ask_first(self._conversation, self._realm.settings.messages)
        begin = self._threads.ask("begin", self._realm.grant.begin, Deadline.after(REQUEST_SECONDS))
        try:
            code = await self._conversation.keep_waiting(begin)
        except ReachError as error:
            raise AwayError(error) from None
        ends_at = min(ends_at, time.monotonic() + code.expires_in)
        self._logger.info("host_login.waits", code_seconds=round(code.expires_in))
        polling = asyncio.create_task(self._poll(code, ends_at))
        try:
            return await self._wait_for_approval(code, polling)
        finally:
            polling.cancel()
            await asyncio.gather(polling, return_exceptions=True)

    async def _wait_for_approval(self, code: DeviceCode, polling: "asyncio.Task[Identity]") -> Identity:
        """Shows the page and the code until the person has approved and, where that is needed, pressed Enter."""
        settings, messages, conversation = self._realm.settings, self._realm.settings.messages, self._conversation
        who = texts.login_line(self._host_name, self._question.user, self._question.client_ip)
        # Without a prompt, clients older than OpenSSH 10.3 show the blocks of a QR code as numbers, and cut it.
        drawing = settings.qr if self._needs_enter or settings.enter == "never" else "off"
        qr = texts.qr_code(texts.address_of(code), drawing, settings.qr_error_correction)
        text = texts.page_and_code(code, who, messages, has_qr=bool(qr))
        if not self._needs_enter:
            await conversation.info(text + texts.CLOSE)
            if qr:
                await conversation.info(qr)
            while not polling.done():
                await conversation.probe()
                await conversation.keep_waiting(asyncio.wait({polling}, timeout=_PROBE_SECONDS))
            return polling.result()
        text += qr + texts.CLOSE + messages.prompt_enter
        too_soon = 0
        for _ in range(_MAX_PROMPTS):
            shown = time.monotonic()
            await conversation.prompt(text)
            too_soon += time.monotonic() - shown < _TOO_SOON_SECONDS
            if too_soon == _MAX_TOO_SOON and not polling.done():
                raise RefusedError("nobody reads the prompts: the answers come at once")
            seconds = min(code.interval + _POLL_SECONDS, _GRACE_SECONDS)
            await conversation.keep_waiting(asyncio.wait({polling}, timeout=seconds))
            if polling.done():
                return polling.result()
            text = texts.not_approved_yet(code, messages)
        raise RefusedError("Enter was pressed too often before the approval")

    async def _poll(self, code: DeviceCode, ends_at: float) -> Identity:
        """Returns who has approved, as soon as somebody has. Raises `RefusedError`.

        Nobody waits for the provider after Enter, and a person who leaves before Enter leaves no token.
        """
        while time.monotonic() + code.interval < ends_at:
            await asyncio.sleep(code.interval)
            try:
                tokens = await self._threads.poll(self._realm.grant.poll, code, Deadline.after(REQUEST_SECONDS))
            except DeviceGrantError as error:
                raise RefusedError(str(error), texts.OF_ERROR.get(error.error, texts.UNAVAILABLE)) from None
            if tokens is not None:
                try:
                    identity = await self._threads.ask("identify", self._realm.identify, tokens)
                    if self._realm.settings.recheck is not None and tokens.refresh_token is not None:
                        self.kept = identity, tokens
                    return identity
                finally:
                    if self.kept is None:
                        self._threads.ask_later("revoke", self._realm.revoke, tokens)
        raise RefusedError("nobody approved in time", texts.EXPIRED)
