"""Knows when each person was last found good at the provider, and keeps the refresh token for the next check.

A login is a check. `rounds` makes the others, without the person.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from sshaft import log
from sshaft.errors import ConfigurationError, RemoteServiceError
from sshaft.text import printable
from sshaft_agent.host_login.bindings import Binding, Bindings
from sshaft_agent.host_login.database import DatabaseError
from sshaft_agent.host_login.realm import Decider, Realm
from sshaft_agent.host_login.recheck.checks import Check, Checks, Token
from sshaft_agent.host_login.recheck.settings import RecheckSettings
from sshaft_agent.host_login.recheck.vault import SealError, Vault, open_vault
from sshaft_oidc.identity import Identity
from sshaft_oidc.provider import Tokens
from sshaft_oidc.remote_keys import OpenIdError


class Recheck:
    """The checks of one host. Safe for several threads. `clock` is in seconds since 1970.

    `settings` is None where nobody is checked again. Methods raise `DatabaseError`.
    """

    def __init__(self, bindings: Bindings, clock: Callable[[], float] = time.time) -> None:
        """Raises `ConfigurationError` if the database cannot be used."""
        self.settings: RecheckSettings | None = None
        self.checks = Checks(bindings.path.parent)
        self.vault: Vault | None = None
        self._bindings = bindings
        self._clock = clock

    def use(self, settings: RecheckSettings | None) -> None:
        """Uses settings that were read, from now on. Raises `ConfigurationError`."""
        vault = None if settings is None else open_vault(settings.key_file)
        if vault is not None and self.vault is None:
            try:
                self.checks.begin(self.now())
            except DatabaseError as error:
                raise ConfigurationError(str(error)) from None
        self.settings, self.vault = settings, vault

    def now(self) -> int:
        return int(self._clock())

    def open(self, token: Token) -> str:
        """Returns the refresh token. Raises `SealError`."""
        if self.vault is None:
            raise SealError
        return self.vault.open(token.sealed, *token.owner)

    def renew(self, token: Token, refresh_token: str) -> None:
        """Keeps the token that the provider has given for the one that was used."""
        if self.vault is not None:
            self.checks.renew(token, self.vault.seal(refresh_token, *token.owner))

    def logged_in(self, account: str, identity: Identity, realm: Decider, tokens: Tokens | None) -> None:
        """Remembers a login, and the refresh token that it has brought.

        It is on the disk when the method returns. Another token of this identity is ended at the next round.
        """
        if self.settings is None or self.vault is None:
            return
        owner = account, identity.issuer, identity.subject
        if not isinstance(realm, Realm):
            self.checks.seen(*owner, self.now())
            return
        if tokens is not None and tokens.refresh_token is not None:
            client_id = realm.settings.client_id
            sealed = self.vault.seal(tokens.refresh_token, *owner, client_id)
            self.checks.keep(*owner, client_id, sealed, self.now())
            return
        self.checks.good(*owner, self.now())
        if realm.settings.recheck is not None:  # the configuration of a PAM line asks for no refresh token
            message = "the provider gave no refresh token: may this client have the scope offline_access?"
            log.get_logger().warning("host_recheck.no_token", user=printable(account), message=message)

    def revoke(self, realm: Realm, issuer: str, subject: str, tokens: Tokens) -> None:
        """Ends tokens of a person that nobody needs. It blocks. Raises the errors of `Realm.end`.

        Some providers then end other tokens of the person, too.
        """
        if self.settings is None or self.settings.revoke:
            self.checks.doubt(issuer, subject, realm.settings.client_id)
            realm.end(tokens)

    def revoke_new(self, realm: Realm, identity: Identity, tokens: Tokens) -> None:
        """Ends the tokens of a login that was not accepted. It blocks. A failure is logged."""
        try:
            self.revoke(realm, identity.issuer, identity.subject, tokens)
        except (RemoteServiceError, OpenIdError, DatabaseError) as error:
            log.get_logger().warning("host_login.token_not_revoked", message=str(error))

    def refused(self, account: str, issuer: str, subject: str) -> str | None:
        """Returns why a check has found this identity not good. None: it has not."""
        known = self.checks.of(account) if self.settings is not None else []
        own = (each.refused for each in known if (each.issuer, each.subject) == (issuer, subject))
        return next(own, None) or None

    def refusal(self, account: str) -> str | None:
        """Returns why a key or a certificate does not open the account now, for the log. None: nothing is against it.

        An account of several people is open while one of them is good: sshd does not say whose key it has accepted.
        """
        if self.settings is None:
            return None
        faults = self._faults(account, self.settings)
        return None if None in faults.values() else "; ".join(each for each in faults.values() if each) or None

    def all(self) -> dict[tuple[str, str, str], dict[str, str | None]]:
        """Returns `checked_at` and `unchecked`, why keys do not count, for each account, issuer and subject."""
        if self.settings is None:
            return {}
        return {(each.account, each.issuer, each.subject): {
            "checked_at": _time(each.checked_at), "unchecked": self._fault(each, self.settings)
        } for each in self.checks.all()}  # fmt: skip

    def has_other_good(self, token: Token) -> bool:
        """Whether another identity of the account is good."""
        if self.settings is None:
            return True
        faults = self._faults(token.account, self.settings)
        return any(each is None and key != (token.issuer, token.subject) for key, each in faults.items())

    def _faults(self, account: str, settings: RecheckSettings) -> dict[tuple[str, str], str | None]:
        """Returns why each identity of an account does not count as good. None: it does."""
        known = {(each.issuer, each.subject): each for each in self.checks.of(account)}
        bindings = {(each.issuer, each.subject): each for each in self._bindings.of(account)}
        return {key: self._fault(known.get(key) or _begun(each), settings) for key, each in bindings.items()}

    def _fault(self, check: Check, settings: RecheckSettings) -> str | None:
        if check.refused or abs(self.now() - check.checked_at) <= settings.seconds:  # abs: the clock may be set back
            return check.refused or None
        return f"the last good check of {printable(check.subject)} was at {_time(check.checked_at)}"


def _begun(bound: Binding) -> Check:
    """Returns the check of an identity that an operator has bound since the agent has started."""
    at = int(datetime.fromisoformat(bound.bound_at).timestamp())
    return Check(bound.account, bound.issuer, bound.subject, at, refused="")


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
