"""Finds out who has approved a device login: from the ID token, by introspection, or from UserInfo.

The tokens came straight from the token endpoint, for the device code of this login. So nobody can put the access token
of another login or of another client in their place, and introspection and UserInfo speak of the person who approved.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from sshaft.deadline import Deadline
from sshaft.validation import first_fault
from sshaft_oidc import entra
from sshaft_oidc.entra import Tenant
from sshaft_oidc.provider import NumericDate, Provider, Scope, Tokens
from sshaft_oidc.remote_keys import Document, OpenIdError


@dataclass(frozen=True)
class Identity:
    """A person at a provider, and what the provider says of them. `scopes` are those of the access token."""

    issuer: str
    subject: str
    claims: Mapping[str, Any]
    scopes: frozenset[str]


def subject_of(claims: Mapping[str, Any], names: Collection[str]) -> str | None:
    """Returns the first of these claims that is there. None: none is there, or the value cannot name a person."""
    value = next((claims[name] for name in names if claims.get(name) is not None), None)
    return value if isinstance(value, str) and 1 <= len(value) <= 255 and value.isprintable() else None


class InactiveError(OpenIdError):
    """The provider says that a token is not active, although it has just been given out."""


class _Introspection(Document):
    """The members of RFC 7662 §2.2 that are checked. Only `active` must be there."""

    active: bool
    exp: NumericDate | None = None
    iss: str | None = None
    client_id: str | None = None
    scope: Scope = ""


class Identification:
    """How the people of one provider are identified. Safe for several threads; the methods block.

    `asked` are the scopes of the request, `wanted` the claims that UserInfo may add, and `subject_claims` those that
    name a person: the first one that is there. `groups` are those that decide something. Each method raises
    `OpenIdError` for an answer that proves nothing, and `RemoteServiceError` for a provider that gives none.
    """

    def __init__(
        self, provider: Provider, asked: Collection[str], wanted: Collection[str], subject_claims: Collection[str],
        groups: Collection[str] = (),
    ) -> None:  # fmt: skip
        self._provider = provider
        self._asked = asked
        self._wanted = wanted
        self._subject_claims = subject_claims
        self._groups = groups

    def from_id_token(self, tokens: Tokens, tenant: Tenant | None, deadline: Deadline) -> Identity:
        """Returns the person of the ID token. `tenant`: of Entra, whose Graph knows the groups that do not fit."""
        _claims, all_claims = self._provider.verify_id_token(tokens, deadline)
        if tenant is None:
            all_claims = self._provider.add_userinfo(self._wanted, all_claims, tokens.access_token, deadline)
        elif entra.GROUPS_CLAIM in self._wanted and entra.groups_are_elsewhere(all_claims):
            token, http = tokens.access_token, self._provider.http
            groups = entra.groups_with_person(tenant, self._groups, token, http, deadline)
            all_claims = all_claims | {entra.GROUPS_CLAIM: groups}
        return self._identity(all_claims, tokens.granted(self._asked))

    def from_introspection(self, tokens: Tokens, deadline: Deadline) -> Identity:
        """Returns the person of whom the introspection endpoint speaks."""
        answer = self._provider.introspect(tokens.access_token, deadline)
        try:
            found = _Introspection.model_validate(answer)
        except ValidationError as error:
            raise OpenIdError(f"the introspection endpoint: {first_fault(error)}") from None
        faults = {
            "active": not found.active,
            "exp": found.exp is not None and self._provider.now() >= found.exp,
            "iss": found.iss not in (None, self._provider.issuer),
            "client_id": found.client_id not in (None, self._provider.credentials.client_id),
        }
        if wrong := [name for name, is_wrong in faults.items() if is_wrong]:
            failure = InactiveError if not found.active else OpenIdError
            raise failure(f"the access token is not good: {', '.join(wrong)}")
        if answer.get("sub") is not None:
            answer = self._provider.add_userinfo(self._wanted, answer, tokens.access_token, deadline)
        return self._identity(answer, frozenset(found.scope.split()))

    def from_userinfo(self, tokens: Tokens, deadline: Deadline) -> Identity:
        """Returns the person of whom the userinfo endpoint speaks."""
        claims = self._provider.userinfo(tokens.access_token, deadline)
        return self._identity(claims, tokens.granted(self._asked))

    def _identity(self, claims: dict[str, Any], scopes: frozenset[str]) -> Identity:
        subject = subject_of(claims, self._subject_claims)
        if subject is None:
            raise OpenIdError(f"the provider does not say {' or '.join(self._subject_claims)}")
        return Identity(self._provider.issuer, subject, claims, scopes)
