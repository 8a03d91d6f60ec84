"""How an attempt that did not pass is told, to the sshd side and to the client that verifies a code alike."""

import math
from datetime import datetime
from typing import Any

from starlette.responses import Response

from sshaft_identity.challenges.attempts import Answer
from sshaft_identity.challenges.challenge import Challenge, Verdict
from sshaft_identity.common.times import rfc3339
from sshaft_identity.web.problem import problem


def refused(answer: Answer, now: datetime) -> Response:
    match answer.verdict:
        case Verdict.INVALID_CODE if answer.attempts_left is not None:
            return problem("invalid_code", attempts_left=answer.attempts_left)
        case Verdict.TOO_MANY_ATTEMPTS if answer.retry_at is not None:
            return too_many(answer.retry_at, now)
        case Verdict.CONFIRM_REQUIRED:
            return problem(answer.verdict, context=context_of(answer.challenges[0]))
        case verdict:
            return problem(verdict)


def too_many(retry_at: datetime, now: datetime) -> Response:
    """Wrong too often, and when the next try may be."""
    seconds = max(1, math.ceil((retry_at - now).total_seconds()))
    return problem("too_many_attempts", headers={"Retry-After": str(seconds)}, retry_after=seconds)


def context_of(challenge: Challenge) -> dict[str, Any]:
    """What is being approved, for the person at the terminal: only what is known."""
    context = challenge.context
    members = {"app": context.app, "ip": context.ip, "user_agent": context.user_agent}
    known = {name: value for name, value in members.items() if value is not None}
    return known | {"started_at": rfc3339(challenge.created_at)}
