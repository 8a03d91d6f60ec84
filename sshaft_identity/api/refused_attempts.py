"""Answers refused attempts in the same way to the sshd side and to a client that verifies a code."""

import math
from datetime import datetime

from starlette.responses import Response

from sshaft_identity.api.answers import EndingAnswer, LoginContext
from sshaft_identity.challenges.attempts import Answer
from sshaft_identity.challenges.challenge import Verdict
from sshaft_identity.challenges.endings import Ending
from sshaft_identity.web.problem import problem

MAX_CHOICES = 9
"""The most logins that ssh offers to choose from."""


def refusal_response(answer: Answer, now: datetime, ending: Ending | None = None) -> Response:
    """Returns the problem. `ending` is told to the person whose login it was, and to nobody else."""
    match answer.verdict:
        case Verdict.INVALID_CODE if answer.attempts_left is not None:
            return problem("invalid_code", attempts_left=answer.attempts_left)
        case Verdict.TOO_MANY_ATTEMPTS if answer.retry_at is not None:
            return too_many_attempts(answer.retry_at, now)
        case Verdict.CONFIRM_REQUIRED:
            return problem(answer.verdict, context=LoginContext.of(answer.challenges[0]).members())
        case Verdict.CHOICE_REQUIRED:
            choices = [
                {"challenge": each.id, "context": LoginContext.of(each).members()}
                for each in answer.challenges[:MAX_CHOICES]
            ]
            return problem(answer.verdict, choices=choices)
        case verdict if ending is not None:
            return problem(verdict, ending=EndingAnswer.of(ending).members())
        case verdict:
            return problem(verdict)


def too_many_attempts(retry_at: datetime, now: datetime) -> Response:
    """Answers after too many wrong codes. `retry_at`: the time from which the next attempt is allowed."""
    return too_many("too_many_attempts", retry_at, now)


def too_many(error: str, retry_at: datetime, now: datetime) -> Response:
    """Answers a request that a limit refuses until `retry_at`."""
    seconds = max(1, math.ceil((retry_at - now).total_seconds()))
    return problem(error, headers={"Retry-After": str(seconds)}, retry_after=seconds)
