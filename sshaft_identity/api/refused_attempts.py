"""How an attempt that did not pass is told, to the sshd side and to the client that verifies a code alike."""

import math
from datetime import datetime

from starlette.responses import Response

from sshaft_identity.api.answers import LoginContext
from sshaft_identity.challenges.attempts import Answer
from sshaft_identity.challenges.challenge import Verdict
from sshaft_identity.web.problem import problem


def refused(answer: Answer, now: datetime) -> Response:
    match answer.verdict:
        case Verdict.INVALID_CODE if answer.attempts_left is not None:
            return problem("invalid_code", attempts_left=answer.attempts_left)
        case Verdict.TOO_MANY_ATTEMPTS if answer.retry_at is not None:
            return too_many(answer.retry_at, now)
        case Verdict.CONFIRM_REQUIRED:
            return problem(answer.verdict, context=LoginContext.of(answer.challenges[0]).members())
        case verdict:
            return problem(verdict)


def too_many(retry_at: datetime, now: datetime) -> Response:
    """Wrong too often, and when the next try may be."""
    seconds = max(1, math.ceil((retry_at - now).total_seconds()))
    return problem("too_many_attempts", headers={"Retry-After": str(seconds)}, retry_after=seconds)
