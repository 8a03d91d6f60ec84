"""Answers `sshaft host accounts approve` and `list`: which first logins wait for an operator."""

from collections.abc import Callable, Sequence
from typing import Any

from sshaft import log
from sshaft.text import printable
from sshaft_agent.host_login.first_login.approvals import Approvals
from sshaft_agent.host_login.pages import page

FOR_ROOT = ("approve", "deny")


class RequestsOperator:
    """The questions of an operator about requests. Each answer blocks. `clock` is in seconds since 1970."""

    def __init__(self, approvals: Approvals, clock: Callable[[], float]) -> None:
        self._approvals = approvals
        self._clock = clock

    def answers(self) -> dict[str, Callable[[dict[str, str]], Any]]:
        return {
            "requests": self._list,
            "approve": lambda fields: self._decide(fields, self._approvals.approve),
            "deny": lambda fields: self._decide(fields, self._approvals.deny),
        }

    def _list(self, fields: dict[str, str]) -> Sequence[dict[str, Any]]:
        return page([each.facts() for each in self._approvals.all(int(self._clock()))], fields)

    def _decide(self, fields: dict[str, str], decide: Callable[[str, str, int], Any]) -> dict[str, Any]:
        """Returns what became of a request, and the request, or those of which the operator must choose one."""
        outcome, requests = decide(fields["account"], fields["reference"], int(self._clock()))
        facts = [each.facts() for each in requests]
        if outcome in ("approved", "denied"):
            names = {"user": "account", "reference": "reference", "issuer": "issuer", "subject": "subject"}
            shown = {name: printable(facts[0][fact]) for name, fact in names.items()}
            log.get_logger().warning(f"host_request.{outcome}", **shown)
        return {"outcome": outcome, "requests": facts}
