"""Answers `sshaft host`: which identity has which account, and how a login would be decided.

The running agent answers, so the commands need no file of the agent, and root trusts none of them.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from sshaft_agent.host_login import accounts
from sshaft_agent.host_login.accounts import Account, Check
from sshaft_agent.host_login.bindings import Bindings, BindingsError
from sshaft_agent.host_login.settings import HostLoginSettings
from sshaft_agent.server import Answer, Message


class Operator:
    """The questions of an operator. `settings` returns the configuration in use."""

    def __init__(
        self,
        settings: Callable[[], HostLoginSettings],
        bindings: Bindings,
        find_account: Callable[[str], Account | None],
    ) -> None:
        self._settings = settings
        self._bindings = bindings
        self._find_account = find_account

    def answers(self) -> dict[str, Answer]:
        """Returns a function for each kind of question."""
        return {
            "bindings": self._in_thread(self._list),
            "bind": self._in_thread(self._bind),
            "unbind": self._in_thread(self._unbind),
            "explain": self._in_thread(self._explain),
        }

    def _in_thread(self, answer: Callable[[dict[str, str]], Any]) -> Answer:
        """Returns a coroutine function: the database and the sources of accounts may block."""

        async def ask(fields: dict[str, str]) -> Message:
            try:
                return "answer", {"json": json.dumps(await asyncio.to_thread(answer, fields))}
            except BindingsError as error:
                return "error", {"reason": str(error)}

        return ask

    def _list(self, _fields: dict[str, str]) -> Any:
        return [asdict(each) for each in self._bindings.all()]

    def _bind(self, fields: dict[str, str]) -> bool:
        """Whether the account belongs to the identity now. An account of another identity stays as it is."""
        return self._bindings.bind(fields["account"], fields["issuer"], fields["subject"], datetime.now(UTC))

    def _unbind(self, fields: dict[str, str]) -> bool:
        return self._bindings.unbind(fields["account"])

    def _explain(self, fields: dict[str, str]) -> Any:
        """Returns the checks of a login of this name by a person with these claims."""
        try:
            claims = json.loads(fields.get("claims", ""))
        except ValueError:
            claims = None
        if not isinstance(claims, dict):
            return None
        settings = self._settings()
        found = self._find_account(fields.get("user", ""))
        checks = list(accounts.checks(found, settings, claims))
        if found is not None:
            checks.append(self._check_binding(found, settings.issuer, claims.get("sub")))
        return [asdict(each) for each in checks]

    def _check_binding(self, account: Account, issuer: str, subject: Any) -> Check:
        bound = [each for each in self._bindings.all() if each.account == account.name]
        if not bound:
            return Check("binding", passed=True, detail="the account belongs to nobody yet: the first login takes it")
        is_own = (bound[0].issuer, bound[0].subject) == (issuer, subject)
        return Check("binding", is_own, f"the account belongs to {bound[0].subject!r} of {bound[0].issuer}")
