"""Checks people without their help: is the person still known at the provider, and still allowed on this host?

Each check is one more login by the rules of the configuration. A person who may not log in any more loses the sessions
of the account. The next good login of the same person opens it again.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable

from sshaft import log
from sshaft.deadline import Deadline
from sshaft.errors import ReachError, RemoteServiceError
from sshaft.text import printable
from sshaft_agent.host_login.accounts import Account
from sshaft_agent.host_login.database import DatabaseError
from sshaft_agent.host_login.first_login.accounts_client import AccountsError
from sshaft_agent.host_login.life_cycle.life_cycle import LifeCycle
from sshaft_agent.host_login.life_cycle.records import RECHECK
from sshaft_agent.host_login.realm import Realm, RefusedError
from sshaft_agent.host_login.recheck.checks import Token
from sshaft_agent.host_login.recheck.recheck import Recheck
from sshaft_agent.host_login.recheck.vault import SealError
from sshaft_agent.observe import Observe, observe_nothing
from sshaft_oidc.identity import Identity, InactiveError
from sshaft_oidc.provider import Tokens
from sshaft_oidc.refresh_grant import GrantEndedError, NotRedeemedError
from sshaft_oidc.remote_keys import OpenIdError

OUTCOMES = ("good", "refused", "failed")
_ROUND_SECONDS = 20.0
"""Other work of the agent waits for the end of a round. The next round goes on."""
_RETRY_SECONDS = 900
_AWAY_SECONDS = 300
_ENDED = "the provider says invalid_grant: the person was disabled, or what was approved has ended"
_LOST = (
    "the provider says invalid_grant after another request of this agent, which may have ended the token: "
    "the person has to log in again; see recheck.revoke"
)


class _UndecidedError(Exception):
    """The check says neither yes nor no."""


class Rounds:
    """Makes the checks that are due. One round runs at a time."""

    def __init__(
        self, recheck: Recheck, realm: Callable[[], Realm | None], find: Callable[[str], Account | None],
        life_cycle: LifeCycle, observe: Observe = observe_nothing,
        apply_roles: Callable[[Realm, str, Identity], None] = lambda *_: None,
    ) -> None:  # fmt: skip
        """`apply_roles` sets the rights of an account. It raises `RefusedError` if a lost right stays."""
        self.outcomes: Counter[str] = Counter()
        self._recheck = recheck
        self._checks = recheck.checks
        self._realm = realm
        self._find = find
        self._life_cycle = life_cycle
        self._observe = observe
        self._apply_roles = apply_roles
        self._stopping = threading.Event()
        self._away_at = -_AWAY_SECONDS

    def stop(self) -> None:
        """Lets no further check begin."""
        self._stopping.set()

    def counts(self) -> dict[str, int]:
        """Returns how many checks have ended in each way."""
        return dict.fromkeys(OUTCOMES, 0) | dict(self.outcomes)

    def lift(self, account: str) -> None:
        """Opens an account again that a check has closed. Call it for a person of the account who has logged in."""
        if self.has_closed(account):
            self._life_cycle.resume(account, by=RECHECK)

    def has_closed(self, account: str) -> bool:
        """Whether a check has closed the account, and nobody else."""
        record = self._life_cycle.of(account)
        return record is not None and record.suspended_by == RECHECK

    def work(self) -> None:
        """Makes one round. It blocks.

        A provider that is away, or refuses this client, is asked once, and then not for five minutes.
        """
        if abs(self._recheck.now() - self._away_at) < _AWAY_SECONDS:
            return
        try:
            realm = self._realm()
            if realm is not None and realm.settings.recheck is not None:
                self._checks.tidy(self._recheck.now())
                self._end_tokens(realm)
                self._check_people(realm, int(realm.settings.recheck.every.total_seconds()))
        except (ReachError, NotRedeemedError) as error:
            self._away_at = self._recheck.now()
            log.get_logger().error("host_recheck.away", message=str(error))
        except DatabaseError as error:
            log.get_logger().error("host_recheck.failed", message=str(error))

    # --- people

    def _check_people(self, realm: Realm, every: int) -> None:
        client, deadline = (realm.settings.issuer, realm.settings.client_id), Deadline.after(_ROUND_SECONDS)
        while deadline.remaining() and not self._stopping.is_set():
            token = self._checks.take_due(*client, self._recheck.now(), every, min(every, _RETRY_SECONDS))
            if token is None:
                return
            self._check(realm, token)

    def _check(self, realm: Realm, token: Token) -> None:
        """Checks one person. Raises `ReachError` or `NotRedeemedError` if the next person would fare no better."""
        started = time.monotonic()
        try:
            reason = self._fault(realm, token)
        except (_UndecidedError, OpenIdError, RemoteServiceError) as error:
            self.outcomes["failed"] += 1
            if isinstance(error, ReachError) or (isinstance(error, NotRedeemedError) and error.is_of_client):
                raise
            log.get_logger().error("host_recheck.failed", message=str(error), **_facts(token))
            return
        finally:
            self._observe("recheck", time.monotonic() - started)
        self.outcomes["refused" if reason else "good"] += 1
        if reason:
            self._refuse(token, reason)
        else:
            self._checks.good(token.account, token.issuer, token.subject, self._recheck.now())

    def _fault(self, realm: Realm, token: Token) -> str | None:
        """Returns why the person may not log in any more. None: the person is good.

        Raises `_UndecidedError`, `OpenIdError` or `RemoteServiceError` if nobody says yes or no.
        """
        tokens = self._redeem(realm, token)
        if tokens is None:
            return _ENDED
        try:
            identity = realm.identify_again(tokens)
        except InactiveError as error:
            return str(error)
        if identity.subject != token.subject:
            raise _UndecidedError("the provider speaks of another person")
        account = self._find(token.account)
        if account is None:
            raise _UndecidedError("the host does not have the account now")
        try:
            realm.allow_again(account, identity)
        except RefusedError as refused:
            return str(refused)
        try:
            self._apply_roles(realm, token.account, identity)
        except RefusedError as failure:
            raise _UndecidedError(str(failure)) from None
        return None

    def _redeem(self, realm: Realm, token: Token) -> Tokens | None:
        """Returns new tokens. None: the provider does not give any to this person."""
        try:
            tokens = realm.redeem(self._recheck.open(token))
        except SealError:
            self._checks.forget(token)
            raise _UndecidedError("the token cannot be decrypted: recheck.key_file has another key") from None
        except GrantEndedError:
            if token.is_doubtful:
                self._checks.forget(token)
                raise _UndecidedError(_LOST) from None
            return None
        except NotRedeemedError:
            self._checks.release(token)
            raise
        except ReachError as error:
            if error.unsent:
                self._checks.release(token)
            raise
        # Before anything else: the provider may know no older token any more.
        self._recheck.renew(token, tokens.refresh_token or "")
        return tokens

    def _refuse(self, token: Token, reason: str) -> None:
        """Takes the account from the person, unless others share it, or a login has come meanwhile."""
        if not self._checks.is_kept(token):
            return
        is_shared = self._recheck.has_other_good(token)
        remains = "" if is_shared else self._close(token.account, reason)
        if not self._checks.refuse(token, reason, self._recheck.now()):
            self._life_cycle.resume(token.account, by=RECHECK)
            return
        if reason == _ENDED:  # to end it again could cast doubt on other tokens of the person
            self._checks.forget(token)
        effect = "others share the account: it stays open" if is_shared else "the account is suspended"
        more = {"message": remains} if remains else {}
        log.get_logger().warning(
            "host_recheck.refused", reason=printable(reason, 500), effect=effect, **_facts(token), **more
        )

    def _close(self, account: str, reason: str) -> str:
        """Suspends the account, and returns what could not be done.

        An account that is locked already stays locked, so that no login opens it. Its sessions end.
        """
        record = self._life_cycle.of(account)
        if record is None or record.state != "locked":
            return self._life_cycle.suspend(account, reason, by=RECHECK)
        try:
            self._life_cycle.ask("lock", account, sessions="end")
        except AccountsError as error:
            return str(error)
        return ""

    # --- tokens that nobody needs any more

    def _end_tokens(self, realm: Realm) -> None:
        """Ends tokens at the provider, until it does not answer."""
        client, deadline = (realm.settings.issuer, realm.settings.client_id), Deadline.after(_ROUND_SECONDS)
        while deadline.remaining() and not self._stopping.is_set():
            token = self._checks.take_ended(*client, self._recheck.now(), _RETRY_SECONDS)
            if token is None:
                return
            try:
                tokens = Tokens(refresh_token=self._recheck.open(token))
                self._recheck.revoke(realm, token.issuer, token.subject, tokens)
            except SealError:
                pass
            except (RemoteServiceError, OpenIdError) as error:
                log.get_logger().warning("host_recheck.token_not_ended", message=str(error), **_facts(token))
                return
            self._checks.forget(token)


def _facts(token: Token) -> dict[str, str]:
    return {"user": printable(token.account), "subject": printable(token.subject)}
