"""TODO docstring of sshaft_identity.web.logins."""

from sshaft.log import get_logger
from sshaft_identity.challenges.attempts import Answer
from sshaft_identity.challenges.challenge import Challenge
from sshaft_identity.web.call import Call


def verified(call: Call, challenge: Challenge, code: str, name: str | None = None) -> Answer:
    """The verdict on a typed code; `name` as in `Challenges.verify`."""
    answer = call.state.store.challenges.verify(challenge, code, name, call.state.clock())
    call.changed = answer.challenges
    get_logger().info(
        "challenge.verified",
        verdict=answer.verdict,
        challenge=challenge.id,
        user=challenge.user,
        client=challenge.client,
    )
    return answer
