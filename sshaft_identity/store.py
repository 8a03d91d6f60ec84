"""Opens one database and offers its parts: users, keys, clients, challenges and more.

All methods block. The service calls them in threads, and the commands call them directly.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from sshaft_identity.approvals.approvals import Approvals
from sshaft_identity.challenges.attempts import Rules
from sshaft_identity.challenges.challenges import Challenges
from sshaft_identity.challenges.codes import Codes
from sshaft_identity.clients.access_tokens import AccessTokens
from sshaft_identity.clients.clients import Clients
from sshaft_identity.clients.subjects import Subjects
from sshaft_identity.database.database import Database
from sshaft_identity.enrolment.enrolments import Enrolments
from sshaft_identity.enrolment.revocation import Revocation
from sshaft_identity.host_logins.reports import HostReports
from sshaft_identity.people.keys import Keys
from sshaft_identity.people.users import Users
from sshaft_identity.signing.signing_keys import SigningKeys


class Store:
    """The parts of one database. Use it as a context manager, or `close` it."""

    def __init__(self, url: str, codes: Codes, rules: Rules | None = None, *, patient: bool = False) -> None:
        """Opens the database of the URL. `patient`: see `Database`."""
        self.database = Database(url, patient=patient)
        self.codes = codes
        self.users = Users(self.database)
        self.keys = Keys(self.database)
        self.clients = Clients(self.database)
        self.access_tokens = AccessTokens(self.database)
        self.challenges = Challenges(self.database, codes, rules or Rules())
        self.approvals = Approvals(self.database, codes)
        self.signing_keys = SigningKeys(self.database, codes.key)
        self.subjects = Subjects(codes.key)
        self.enrolments = Enrolments(self.database, codes, (rules or Rules()).limits)
        self.revocation = Revocation(self.database)
        self.host_reports = HostReports(self.database)

    def use_rules(self, rules: Rules) -> None:
        """Judges the following attempts by other rules."""
        self.challenges.rules = rules
        self.enrolments.limits = rules.limits

    @contextmanager
    def together(self) -> Iterator[None]:
        """Shares one transaction and the token look-ups between requests."""
        with self.access_tokens.cached(), self.database.together():
            yield

    def close(self) -> None:
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
