"""Answers `sshaft host approvals`: lists the remembered approvals, and forgets them."""

from collections.abc import Callable, Sequence
from typing import Any

from sshaft_agent.host_login.pages import page
from sshaft_agent.host_login.remembered.remembered import Remembered

FOR_ROOT = ("forget",)
_REASON = "an operator has removed it"


class RememberedOperator:
    """The questions of an operator about remembered approvals. Each answer blocks."""

    def __init__(self, remembered: Remembered, is_confirmed: Callable[[], bool]) -> None:
        self._remembered = remembered
        self._is_confirmed = is_confirmed

    def answers(self) -> dict[str, Callable[[dict[str, str]], Any]]:
        return {"remembered": self._list, "forget": self._forget}

    def _list(self, fields: dict[str, str]) -> Sequence[dict[str, Any]]:
        """Returns an object for each approval. `fault` says why it does not count now."""
        offline = None if self._is_confirmed() else "the reports to the identity service fail"
        rows = [row | {"fault": row["fault"] or offline} for row in self._remembered.listed()]
        return page(rows, fields)

    def _forget(self, fields: dict[str, str]) -> int:
        """Returns how many approvals were forgotten: the one with the id, or all of the account, or all."""
        if "id" in fields:
            return self._remembered.end([fields["id"]], _REASON)
        if "account" in fields:
            return self._remembered.end_of(fields["account"], _REASON)
        return self._remembered.end([each["id"] for each in self._remembered.listed()], _REASON)
