"""Sends a report to the identity service, and reads its answer (`POST /api/v1/approvals/report`)."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from sshaft import log
from sshaft.clocks import ahead_of
from sshaft.errors import IdentityServiceError
from sshaft.http_client import Answer
from sshaft.validation import first_fault
from sshaft_agent.host_login.remembered.reports import Ended, Report
from sshaft_oidc.remote_keys import Document

MOST_BYTES = 1024 * 1024
MOST = 10_000
"""Entries of a report. These two limits are those of the service."""
_ENVELOPE = 1024
"""Bytes of the report besides its entries."""


class _Ids(Document):
    remembered: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()


class _ReportAnswer(Document):
    ended: _Ids


def sender(post: Callable[[dict[str, Any]], Answer], host: str, now: Callable[[], float]) -> Report:
    """Returns what sends reports of `host` with `post`. `now` is in seconds since 1970."""

    def report(remembered: list[dict[str, Any]], sessions: list[dict[str, Any]]) -> Ended:
        body = {"host": host, "remembered": remembered, "sessions": _fitting(remembered, sessions)}
        answer = post(body)
        if answer.status != 200:
            raise IdentityServiceError(f"the report is answered with {answer.status}: check the scope of the client")
        try:
            ended = _ReportAnswer.model_validate_json(answer.body).ended
        except ValidationError as error:
            raise IdentityServiceError(f"the answer to the report cannot be used: {first_fault(error)}") from None
        ahead = ahead_of(answer.headers.get("Date"), datetime.fromtimestamp(now(), UTC))
        return Ended(ended.remembered, ended.sessions, ahead)

    return report


def _fitting(remembered: list[dict[str, Any]], sessions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the sessions for which the report has room, the first ones. An operator hears of the others."""
    places, left = MOST - len(remembered), MOST_BYTES - _ENVELOPE - sum(map(_size, remembered))
    count = 0
    while count < min(places, len(sessions)) and (left := left - _size(sessions[count])) >= 0:
        count += 1
    if count < len(sessions):
        message = f"{len(sessions) - count} sessions have no room in the report: the identity service cannot end them"
        log.get_logger().error("host_report.cut", message=message)
    return sessions[:count]


def _size(row: dict[str, Any]) -> int:
    return len(json.dumps(row)) + 2
