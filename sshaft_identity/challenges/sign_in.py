"""Signs a browser in to "my keys" by a passed challenge: takes its result and begins the session."""

from datetime import datetime

from sshaft_identity.audit.log import Fact
from sshaft_identity.challenges.challenge import Challenge
from sshaft_identity.challenges.challenges import consume
from sshaft_identity.database.database import Database
from sshaft_identity.people.sessions import Method, Session, Sessions


def sign_in_by_ssh(
    database: Database, sessions: Sessions, challenge: str, now: datetime, **facts: Fact
) -> tuple[Challenge | None, Session | None]:
    """Returns the consumed challenge and the session. `facts` go to the audit log.

    The challenge is None if its result was taken or cancelled before. The session is None if the owner of the key is no
    longer a user. Both happen in one transaction: the removal of the key cancels the result, or ends the session.
    """
    with database.write() as connection:
        passed = consume(connection, challenge, now, None)
        if passed is None or passed.user is None or passed.approval is None:
            return passed, None
        # the session is fresh from the time of the SSH login, not from the time of this request
        begun = sessions.begin(
            connection, passed.user, Method.SSH, now, authenticated_at=passed.approval.accepted_at,
            fingerprint=passed.approval.fingerprint, facts=facts,
        )  # fmt: skip
        return passed, begun
