"""Answers `sshaft host`: which identity has which account, and how a login would be decided.

The running agent answers, so the commands need no file of the agent, and root trusts none of them.
"""

import asyncio
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from sshaft.deadline import Deadline
from sshaft.errors import RemoteServiceError
from sshaft_agent.host_login import accounts
from sshaft_agent.host_login.accounts import Account, Check
from sshaft_agent.host_login.approval.realm import ApprovalRealm
from sshaft_agent.host_login.bindings import Bindings, is_bound_to, is_free
from sshaft_agent.host_login.database import DatabaseError
from sshaft_agent.host_login.first_login import accounts_client
from sshaft_agent.host_login.first_login import operator as first_login_operator
from sshaft_agent.host_login.first_login.accounts_client import AccountsError
from sshaft_agent.host_login.first_login.settings import CreateSettings, UidOfClaim
from sshaft_agent.host_login.first_login.uids import claimed_uid
from sshaft_agent.host_login.life_cycle import operator as life_cycle_operator
from sshaft_agent.host_login.realm import Decider
from sshaft_agent.host_login.remembered import operator as remembered_operator
from sshaft_agent.host_login.roles.granted import rights_of
from sshaft_agent.host_login.rules import ProviderRules
from sshaft_agent.host_login.settings import HostLoginSettings
from sshaft_agent.host_login.token_login.deciders import Deciders
from sshaft_agent.server import Answer, Message
from sshaft_oidc.identity import subject_of
from sshaft_oidc.remote_keys import OpenIdError

_HELPER_SECONDS = 10.0


class Operator:
    """The questions of an operator. Only root and the agent's account may ask those of `for_owner`.

    `deciders` returns the providers in use, and `closed` why nobody may log in to an account. `more` are questions
    that other parts answer.
    """

    for_owner = (
        "bind",
        "unbind",
        *life_cycle_operator.FOR_ROOT,
        *first_login_operator.FOR_ROOT,
        *remembered_operator.FOR_ROOT,
    )

    def __init__(
        self,
        deciders: Callable[[], Deciders],
        bindings: Bindings,
        find_account: Callable[[str], Account | None],
        closed: Callable[[str], str | None] = lambda _account: None,
        more: Mapping[str, Callable[[dict[str, str]], Any]] = {},
    ) -> None:
        self._deciders = deciders
        self._bindings = bindings
        self._find_account = find_account
        self._closed = closed
        self._more = more

    def answers(self) -> dict[str, Answer]:
        """Returns a function for each kind of question."""
        return {
            "bind": self._in_thread(self._bind),
            "unbind": self._in_thread(self._unbind),
            "explain": self._in_thread(self._explain),
            "create": self._in_thread(self._create),
            **{kind: self._in_thread(answer) for kind, answer in self._more.items()},
        }

    def _in_thread(self, answer: Callable[[dict[str, str]], Any]) -> Answer:
        """Returns a coroutine function: the database and the sources of accounts may block."""

        async def ask(fields: dict[str, str]) -> Message:
            try:
                return "answer", {"json": json.dumps(await asyncio.to_thread(answer, fields))}
            except DatabaseError as error:
                return "error", {"reason": str(error)}

        return ask

    def _bind(self, fields: dict[str, str]) -> bool:
        """Whether the account belongs to the identity now. An account of another identity stays as it is."""
        return self._bindings.bind(fields["account"], fields["issuer"], fields["subject"], datetime.now(UTC))

    def _unbind(self, fields: dict[str, str]) -> bool:
        return self._bindings.unbind(fields["account"])

    def _create(self, _fields: dict[str, str]) -> Any:
        """Returns what `sshaft host enable` must know of first logins, or None without them."""
        create = self._deciders().any().settings.create
        if create is None:
            return None
        silence = accounts_client.silence(create.socket, Deadline.after(_HELPER_SECONDS))
        members = create.model_dump(mode="json", include={"pam_file", "reservation_seconds", "socket"})
        return {**members, "silence": silence}

    def _explain(self, fields: dict[str, str]) -> Any:
        """Returns the checks of a login of this name by a person with these claims, or with this token.

        None: the claims are no JSON object.
        """
        account = self._find_account(fields.get("user", ""))
        if "token" in fields:
            token = fields["token"].strip()
            try:
                realm = self._deciders().of_token(token)
                identity = realm.identify_by(token)
            except (OpenIdError, RemoteServiceError) as error:
                return [asdict(Check("token", passed=False, detail=str(error)))]
            checks = [Check("token", passed=True, detail=f"it is that of {identity.subject!r} at {identity.issuer}")]
            return [asdict(each) for each in checks + self._checks(account, realm, identity.claims, identity.scopes)]
        try:
            claims = json.loads(fields.get("claims", ""))
        except (ValueError, RecursionError):
            claims = None
        if not isinstance(claims, dict):
            return None
        realm = self._deciders().of_claims(claims)
        return [asdict(each) for each in self._checks(account, realm, claims, _scopes(realm.settings, claims))]

    def _checks(
        self, account: Account | None, realm: Decider, claims: Mapping[str, Any], scopes: Collection[str]
    ) -> list[Check]:
        settings = realm.settings
        checks = list(accounts.checks(account, settings, claims, scopes))
        if settings.allow.publickey:
            checks.append(Check("allow.publickey", passed=True, detail="sshd must accept a key first: not tried here"))
        if account is not None and isinstance(realm, ApprovalRealm):
            checks.append(_who_approves(account, realm, self._bindings))
        if account is not None:
            checks.append(self._check_binding(account, settings, claims))
            if (reason := self._closed(account.name)) is not None:
                checks.append(Check("life cycle", passed=False, detail=reason))
            if not account.is_made and settings.create is not None and isinstance(settings.create.uid, UidOfClaim):
                checks.append(_check_uid(settings.create, claims))
        if settings.roles or settings.assurance is not None:
            checks.append(Check("roles", passed=True, detail=str(rights_of(settings, claims))))
        return checks

    def _check_binding(self, account: Account, settings: ProviderRules, claims: Mapping[str, Any]) -> Check:
        subject = subject_of(claims, settings.subject_claims)
        if subject is None:
            return Check("binding", passed=False, detail=f"no {' or '.join(settings.subject_claims)} names the person")
        bound = self._bindings.of(account.name)
        is_own = is_bound_to(bound, settings.issuer, subject)
        if not is_own and is_free(bound, accounts.person(settings, claims)):
            nobody = "the map gives the account to several people" if bound else "the account belongs to nobody yet"
            return Check("binding", passed=True, detail=f"{nobody}: the first login takes it")
        owners = ", ".join(f"{each.subject!r} of {each.issuer}" for each in bound)
        return Check("binding", is_own, f"the account belongs to {owners}")


def _who_approves(account: Account, realm: ApprovalRealm, bindings: Bindings) -> Check:
    owner = realm.owner(bindings.of(account.name))
    said = f"the user {realm.settings.user_of(account.name)!r}" if owner is None else f"the person {owner!r} alone"
    return Check("approval", passed=True, detail=f"{said} may approve a login to {account.name}")


def _check_uid(create: CreateSettings, claims: Mapping[str, Any]) -> Check:
    try:
        return Check("create.uid", passed=True, detail=f"the account gets the uid {claimed_uid(create, claims)}")
    except AccountsError as error:
        return Check("create.uid", passed=False, detail=str(error))


def _scopes(settings: ProviderRules, claims: Mapping[str, Any]) -> Collection[str]:
    """Returns what the provider has granted: the claim `scope`. Without it, an ID token has what is asked for."""
    scope = claims.get("scope")
    if scope is None and isinstance(settings, HostLoginSettings) and settings.identity_from != "introspection":
        return settings.scopes
    return scope.split() if isinstance(scope, str) else ()
