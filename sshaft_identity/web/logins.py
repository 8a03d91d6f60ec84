"""Opens, verifies and consumes a login: the steps that the JSON API, the pages and every face share.
Each step logs the same facts for every caller. `call.changed` names the challenges whose pages get news.
"""

from collections.abc import Sequence

from sshaft.log import get_logger
from sshaft_identity.challenges.attempts import Answer
from sshaft_identity.challenges.challenge import Challenge
from sshaft_identity.challenges.challenges import Opened, Wish
from sshaft_identity.web.call import Call


def open_login(call: Call, wish: Wish) -> Opened:
    """Opens the challenge of a login."""
    opened = call.state.store.challenges.open(wish, call.state.clock())
    call.changed = opened.superseded
    if wish.user is not None and not opened.is_known:
        call.state.unknown_users.note(wish.user, wish.client, call.state.clock())
    get_logger().info(
        "challenge.created",
        challenge=opened.challenge.id,
        user=wish.user,
        client=wish.client,
        app=wish.context.app,
        ip=wish.context.ip,
    )
    return opened


def consume(call: Call, challenge: str, client: str | None) -> Challenge | None:
    """Consumes an accepted challenge of the client, once. Returns None if that is not possible."""
    after = call.state.store.challenges.consume(challenge, call.state.clock(), client)
    if after is not None:
        call.changed = [after]
        get_logger().info("challenge.consumed", challenge=after.id, user=after.user, client=after.client)
    return after


def verify(call: Call, meant: Sequence[Challenge], code: str, attempt: str | None = None) -> Answer:
    """Checks a code that a person typed for one of the challenges in `meant`, which are of one user.

    A repeated `attempt` of the same name gets the same answer and counts once.
    """
    answer = call.state.store.challenges.verify(meant, code, attempt, call.state.clock())
    call.changed = answer.challenges
    get_logger().info(
        "challenge.verified",
        verdict=answer.verdict,
        challenges=[each.id for each in meant],
        user=meant[0].user if meant else None,
        client=meant[0].client if meant else None,
    )
    return answer
