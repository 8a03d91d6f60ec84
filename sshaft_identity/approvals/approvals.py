"""Opens, finds, approves, verifies and ends approvals in the database. `approval` decides what may happen to one.

Every change is one conditional UPDATE, and its row count decides. So exactly one of many changes at the same time
succeeds, on SQLite and on PostgreSQL.
"""

import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import case, exists, insert

from sshaft_identity.approvals import limits, rows
from sshaft_identity.approvals.approval import (
    LIFETIME,
    MAX_TRIES,
    OPEN,
    Approval,
    Asked,
    Consent,
    State,
    Verdict,
    verdict_before_consent,
)
from sshaft_identity.approvals.events import record_approval
from sshaft_identity.approvals.limits import ApprovalLimits
from sshaft_identity.audit.log import Fact
from sshaft_identity.challenges.challenge import AddressCheck
from sshaft_identity.challenges.challenges import attempts_of
from sshaft_identity.challenges.codes import Codes
from sshaft_identity.common.digests import digest, new_page_token
from sshaft_identity.database.database import Database
from sshaft_identity.database.tables import approvals, sessions, users

RETENTION = timedelta(days=7)
"""An approval is deleted this long after its opening."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A new approval and its page token, which is not stored. `is_known`: there is a user of that name.

    The host must not learn whether the user is known.
    """

    approval: Approval
    page_token: str
    is_known: bool


@dataclass(frozen=True, slots=True)
class TooMany:
    """The limits refuse a new approval until `retry_at`."""

    retry_at: datetime


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of Approve, with the approval as it is now; None: there is no such approval."""

    verdict: Verdict
    approval: Approval | None = field(default=None)


@dataclass(frozen=True, slots=True)
class Verified:
    """The result of digits that a host has brought, with the approval as it is now. `is_right`: it passed just now."""

    approval: Approval
    is_right: bool
    was_counted: bool = False


class Approvals:
    def __init__(self, database: Database, codes: Codes) -> None:
        self._database = database
        self._codes = codes

    def open(
        self, client: str, asked: Asked, most: ApprovalLimits, now: datetime, lifetime: timedelta = LIFETIME
    ) -> Opened | TooMany:
        """Opens an approval, also for an unknown user."""
        with self._database.write(alone=f"approvals of {client}") as connection:
            if until := limits.retry_at(connection, client, asked, most, now):
                return TooMany(until)
            page_token = new_page_token()
            approval = Approval(secrets.token_hex(16), client, asked, now, now + lifetime)
            connection.execute(insert(approvals).values(rows.columns(approval) | {"page_hash": digest(page_token)}))
            user_id = record_approval(connection, "approval.opened", approval, now)
            return Opened(approval, page_token, user_id is not None)

    def get(self, identifier: str) -> Approval | None:
        with self._database.read() as connection:
            return rows.read(connection, approvals.c.id == identifier)

    def of_page(self, page_token: str) -> Approval | None:
        with self._database.read() as connection:
            return rows.read(connection, approvals.c.page_hash == digest(page_token))

    def digits_of(self, approval: Approval) -> str:
        """Returns the digits that the page shows. They are always the same for one approval."""
        return self._codes.given_back(approval.id)

    def approve(
        self, identifier: str, consent: Consent, check: AddressCheck, now: datetime, *, confirmed: bool = False
    ) -> Answer:
        """Approves for a person who is signed in. A sign-in that has ended and a removed user approve nothing."""
        person = consent.person
        # `Revocation` uses this lock too: an approval that sign-out or removal does not see comes after it, or never.
        with self._database.write(alone=attempts_of(person.user)) as connection:
            found = rows.read(connection, approvals.c.id == identifier)
            if found is None:
                return Answer(Verdict.OVER)
            verdict = verdict_before_consent(found, consent, check, confirmed=confirmed)
            if verdict is not None:
                return Answer(verdict, found)
            done = rows.change(
                connection,
                (
                    approvals.c.id == identifier,
                    approvals.c.state == State.PENDING,
                    rows.is_running(now),
                    exists().where(users.c.id == person.user_id, users.c.name == person.user),
                    exists().where(sessions.c.token_hash == consent.session, sessions.c.user_name == person.user),
                ),
                {"state": State.APPROVED, **rows.consent_columns(consent)},
            )
            for each in done:
                record_approval(connection, "approval.approved", each, now)
            return Answer(Verdict.APPROVED, done[0]) if done else Answer(Verdict.OVER, found)

    def refuse(self, identifier: str, state: State, now: datetime, **facts: Fact) -> Approval | None:
        """Denies or reports for the person on the page, also after Approve. Returns None if it was over.

        `state` is DENIED or REPORTED. `facts` are for the audit log.
        """
        with self._database.write() as connection:
            conditions = approvals.c.id == identifier, rows.is_open, rows.is_running(now)
            done = rows.change(connection, conditions, {"state": state})
            for each in done:
                if state is State.REPORTED:
                    record_approval(connection, "approval.reported", each, now, **facts)
                else:
                    record_approval(connection, "approval.denied", each, now, **facts)
        return next(iter(done), None)

    def verify(self, approval: Approval, digits: str, now: datetime) -> Verified:
        """Judges the digits that the host has brought. Exactly one of the calls for an approval gets `is_right`.

        Wrong digits take a try only while the page shows the right ones. After the last try the approval is over.
        """
        is_approved = (
            approvals.c.id == approval.id,
            approvals.c.state == State.APPROVED,
            approvals.c.tries < MAX_TRIES,
            rows.is_running(now),
        )
        is_right = self._codes.matches_given_back(approval.id, digits)
        with self._database.write() as connection:
            if is_right:
                is_user = exists().where(users.c.id == approvals.c.approver_id)
                done = rows.change(connection, (*is_approved, is_user), {"state": State.VERIFIED, "verified_at": now})
            else:
                tries = approvals.c.tries + 1
                state = case((tries >= MAX_TRIES, State.DENIED), else_=approvals.c.state)
                done = rows.change(connection, is_approved, {"tries": tries, "state": state})
            for each in done:
                if is_right:
                    record_approval(connection, "approval.verified", each, now)
                else:
                    record_approval(connection, "approval.wrong_digits", each, now, tries_left=each.tries_left)
                if each.state is State.DENIED:
                    record_approval(connection, "approval.denied", each, now, reason="tried_out")
            present = done[0] if done else rows.read(connection, approvals.c.id == approval.id)
        return Verified(present or approval, is_right and bool(done), bool(done))

    def finish(self, identifier: str, now: datetime, *, passed: bool) -> Approval | None:
        """Notes what became of the SSH login. Returns None if nothing changed: the note is repeated, or too late.

        An SSH login passes only with the digits.
        """
        before, state = ((State.VERIFIED,), State.PASSED) if passed else ((*OPEN, State.VERIFIED), State.ENDED)
        with self._database.write() as connection:
            done = rows.change(
                connection, (approvals.c.id == identifier, approvals.c.state.in_(before)), {"state": state}
            )
            for each in done:
                if passed:
                    record_approval(connection, "approval.passed", each, now)
                else:
                    record_approval(connection, "approval.ended", each, now, reason="gone")
        return next(iter(done), None)
