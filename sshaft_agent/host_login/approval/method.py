"""The method `approval`: one login from its page to its account."""

import asyncio
from collections.abc import Callable
from typing import Any

from sshaft_agent.host_login import USER_NAME
from sshaft_agent.host_login.approval.login import ApprovalLogin
from sshaft_agent.host_login.approval.realm import ApprovalRealm
from sshaft_agent.host_login.bindings import Bindings
from sshaft_agent.host_login.conversation import Conversation, LoginQuestion
from sshaft_agent.host_login.first_prompt import ask_first
from sshaft_agent.host_login.realm import RefusedError
from sshaft_agent.host_login.settings import HostSettings
from sshaft_agent.host_login.threads import Threads
from sshaft_agent.host_login.waiting import Waiting
from sshaft_oidc.identity import Identity

Decide = Callable[[ApprovalRealm, LoginQuestion, Identity, str], None]
"""Gives the account of a login to an identity, or raises `RefusedError`. The text is the approval's id. It blocks."""


class ApprovalMethod:
    """Logs people in by approvals. Used on the event loop."""

    def __init__(
        self, threads: Threads, service_threads: Threads, waiting: Waiting, bindings: Bindings, host_name: str,
        decide: Decide, remembered_seconds: Callable[[LoginQuestion], int | None],
    ) -> None:  # fmt: skip
        """`remembered_seconds` returns for how long the approval of a login will be remembered.

        `service_threads` ask the identity service. A service that hangs so delays no other method.
        """
        self._threads = threads
        self._service_threads = service_threads
        self._waiting = waiting
        self._bindings = bindings
        self._host_name = host_name
        self._decide = decide
        self._remembered_seconds = remembered_seconds

    async def log_in(
        self, realm: ApprovalRealm, settings: HostSettings, question: LoginQuestion, conversation: Conversation,
        logger: Any,
    ) -> str:  # fmt: skip
        """Returns the subject who approved this login and owns the account.

        Raises `RefusedError`, `AwayError` before the page is shown, and what the service and the person end it with.
        """
        _check(realm, question)
        threads = self._service_threads
        login = ApprovalLogin(realm, settings, question, conversation, threads, self._host_name, logger)
        is_passed = False
        try:
            async with self._waiting.until_stop():
                if settings.ask_first and not question.keys:
                    await ask_first(conversation, settings.messages)
                bound = await self._threads.run(self._bindings.of, question.user)
                verified = await login.verified(realm.owner(bound), self._remembered_seconds(question))
            identity = realm.identity_of(verified)
            decide = self._threads.run(self._decide, realm, question, identity, login.approval)
            await conversation.keep_waiting(decide)
            is_passed = True
        finally:
            if not is_passed:
                await threads.ask("approval_end", login.tell_page, "gone")
        conversation.after = asyncio.ensure_future(threads.ask("approval_end", login.tell_page, "passed"))
        return identity.subject


def _check(realm: ApprovalRealm, question: LoginQuestion) -> None:
    """Raises `RefusedError` for a login that no approval could open. It says nothing of accounts."""
    if realm.settings.allow.publickey and not question.keys:
        raise RefusedError("allow.publickey: sshd has accepted no key before")
    if not USER_NAME.fullmatch(question.user):
        raise RefusedError("no account can have this name")
