"""Signs a browser in to "my keys" by a passed challenge, or confirms its session by one. Takes the result, once."""

from datetime import datetime

from sshaft_identity.audit.log import Fact, record_event
from sshaft_identity.challenges.challenge import Challenge
from sshaft_identity.challenges.challenges import consume
from sshaft_identity.database.database import Database
from sshaft_identity.people.sessions import Method, Proof, Session, Sessions, note_pass


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
        approval = passed.approval
        proof = Proof(Method.SSH, approval.accepted_at, approval.fingerprint, amr=tuple(approval.amr), acr=passed.acr)
        begun = sessions.begin(connection, passed.user, proof, now, facts | {"challenge": passed.id})
        return passed, begun


def confirm_by_ssh(
    database: Database, session: Session, challenge: str, now: datetime, **facts: Fact
) -> tuple[Challenge | None, bool]:
    """Returns the consumed challenge, and whether it now confirms the session. `facts` go to the audit log.

    The challenge is None if its result was taken or cancelled before. A session that has ended is not confirmed.
    """
    with database.write() as connection:
        passed = consume(connection, challenge, now, None)
        if passed is None or passed.user != session.user or passed.approval is None:
            return passed, False
        is_confirmed = note_pass(connection, session, passed.approval.accepted_at)
        if is_confirmed:
            known: dict[str, Fact] = {"fingerprint": passed.approval.fingerprint, "challenge": passed.id}
            record_event(connection, "session.passed", now, user=session.user, **known | facts)
        return passed, is_confirmed
