"""Answers PAM's account phase: was somebody approved for this account, and is it open? sshd also asks after a key.

Only the database of this host is asked, so the answer does not depend on the provider.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sshaft.text import printable
from sshaft_agent.host_login import texts
from sshaft_agent.host_login.bindings import Bindings
from sshaft_agent.host_login.conversation import Conversation, LoginQuestion
from sshaft_agent.host_login.database import DatabaseError


class AccountPhase:
    """`outcomes` counts the answers: accepted, refused, unavailable."""

    def __init__(
        self,
        bindings: Bindings,
        is_ready: Callable[[str, float], bool],
        unchecked: Callable[[str], str | None],
        closed: Callable[[str], str | None],
        logged_in: Callable[[str], None],
    ) -> None:
        """`is_ready`: whether the host has the account, and a connection that began then knows it.

        `unchecked` returns why nobody of an account counts as good at the provider any more, and `closed` why nobody
        may log in to it. `logged_in` is told of each account that passes.
        """
        self.outcomes: Counter[str] = Counter()
        self._bindings = bindings
        self._is_ready = is_ready
        self._unchecked = unchecked
        self._closed = closed
        self._logged_in = logged_in
        # A thread of its own, so that a provider that hangs cannot delay a login by a key.
        self._worker = ThreadPoolExecutor(1, "host-account")

    def close(self) -> None:
        self._worker.shutdown(wait=False, cancel_futures=True)

    async def answer(self, question: LoginQuestion, conversation: Conversation, reference: str, logger: Any) -> None:
        """Ends the conversation with its result. The person reads why an account is refused, and the reference."""
        try:
            refusal = await asyncio.get_running_loop().run_in_executor(self._worker, self._refusal, question)
        except DatabaseError as error:
            self.outcomes["unavailable"] += 1
            logger.error("host_account.failed", message=str(error))  # noqa: TRY400 - it is no fault of the agent
            await conversation.result("unavailable", f"{error.code}, reference {reference}")
            return
        if refusal is None:
            self.outcomes["accepted"] += 1
            await conversation.result("success")
            return
        self.outcomes["refused"] += 1
        reason, text = refusal
        logger.warning("host_account.refused", reason=reason)
        await conversation.info(text.format(reference=reference))
        await conversation.result("denied", f"{reason}, reference {reference}")

    def _refusal(self, question: LoginQuestion) -> tuple[str, str] | None:
        """Returns why the account is refused, for the log and for the person. Raises `DatabaseError`."""
        user = question.user
        if not self._bindings.of(user) or not self._is_ready(user, question.began):
            return "nobody was approved for the account", texts.NOT_APPROVED
        if reason := self._unchecked(user):
            return printable(reason), texts.NOT_CHECKED
        if reason := self._closed(user):
            return printable(reason), texts.NOT_OPEN
        self._logged_in(user)
        return None
