"""Says what a person has on this host: the account, or what is between the person and the account."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

from sshaft_agent.host_login import accounts
from sshaft_agent.host_login.accounts import Account
from sshaft_agent.host_login.bindings import Bindings, is_bound_to, is_free
from sshaft_agent.host_login.first_login.approvals import Approvals, Request
from sshaft_agent.host_login.realm import Decider, RefusedError
from sshaft_oidc.identity import Identity

State = Literal["not_deployed", "deployed", "pending", "rejected", "suspended", "limited"]
USABLE: Collection[State] = ("deployed", "limited")
_NO_SHELL = ("nologin", "false")


@dataclass(frozen=True)
class Standing:
    """`name` is the account that the rules give to the person. The host may not have it."""

    state: State
    name: str

    @property
    def account(self) -> str:
        """Returns the account that the person has. Empty: none."""
        return self.name if self.state in (*USABLE, "suspended") else ""


class Standings:
    """Reads them from the host and from the agent's database, and changes nothing. It blocks.

    `candidate` returns an account that the host has or could make. `closed` returns why an account, which belongs to an
    issuer and a subject, opens with no token of theirs.
    """

    def __init__(
        self,
        candidate: Callable[[str], Account | None],
        bindings: Bindings,
        approvals: Approvals,
        closed: Callable[[str, str, str], str | None],
        clock: Callable[[], float],
    ) -> None:
        self._candidate = candidate
        self._bindings = bindings
        self._approvals = approvals
        self._closed = closed
        self._clock = clock

    def of(self, realm: Decider, identity: Identity, user: str = "") -> Standing:
        """Returns what the person has. Of several accounts, it is `user`, or else one that the person can use.

        Raises `RefusedError` for a person who may not log in to this host, and `DatabaseError`.
        """
        names = accounts.names(realm.settings, identity.claims)
        if user in names:
            names = (user,)
        refusals: list[RefusedError] = []
        standings: list[Standing] = []
        for name in names:
            try:
                standings.append(self._standing(realm, identity, name))
            except RefusedError as refused:
                refusals.append(refused)
        if standings:
            return max(standings, key=lambda each: (each.state in USABLE, each.account != ""))
        raise refusals[0] if refusals else RefusedError("no claim names an account", subject=identity.subject)

    def of_subject(self, issuer: str, subject: str) -> Standing:
        """Returns what a person has, of whom only the number at the provider is known. Raises `DatabaseError`."""
        names = [each.account for each in self._bindings.of_identity(issuer, subject)]
        found = [account for name in names if (account := self._candidate(name)) is not None and account.is_made]
        standings = [Standing(self._state(account, issuer, subject), account.name) for account in found]
        requests = [each for each in self._approvals.all(int(self._clock())) if
                    (each.issuer, each.subject) == (issuer, subject)]  # fmt: skip
        standings += [Standing(_state_of(each), each.account) for each in requests]
        return next(iter(standings), Standing("not_deployed", ""))

    def _standing(self, realm: Decider, identity: Identity, name: str) -> Standing:
        account = self._candidate(name) or Account(name, -1, is_made=False)
        realm.allow(account, identity)
        bound = self._bindings.of(name)
        is_owner = is_bound_to(bound, identity.issuer, identity.subject)
        if not is_owner and not is_free(bound, accounts.person(realm.settings, identity.claims)):
            raise RefusedError("the account belongs to another identity", subject=identity.subject)
        if account.is_made:
            state = self._state(account, identity.issuer, identity.subject) if is_owner else "not_deployed"
            return Standing(state, name)
        return Standing("not_deployed" if is_owner else self._request(name, identity), name)

    def _state(self, account: Account, issuer: str, subject: str) -> State:
        if self._closed(account.name, issuer, subject):
            return "suspended"
        return "limited" if PurePath(account.shell or "").name in _NO_SHELL else "deployed"

    def _request(self, name: str, identity: Identity) -> State:
        request = self._approvals.of(name, identity, int(self._clock()))
        return "not_deployed" if request is None else _state_of(request)


def _state_of(request: Request) -> State:
    return "rejected" if request.state == "denied" else "pending"
