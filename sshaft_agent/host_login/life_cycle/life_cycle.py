"""Suspends, resumes and locks accounts: the agent refuses at once, and `sshaft-accounts` closes the account itself.

What `sshaft-accounts` has not done yet is remembered, and asked again until it answers. The agent refuses meanwhile.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from sshaft import log
from sshaft.deadline import Deadline
from sshaft.text import printable
from sshaft_agent.host_login.first_login import accounts_client
from sshaft_agent.host_login.first_login.accounts_client import AccountsError, Done, NotGrantedError
from sshaft_agent.host_login.first_login.settings import CreateSettings
from sshaft_agent.host_login.life_cycle import changes
from sshaft_agent.host_login.life_cycle.records import OPERATOR, Change, Record, Records

_ASK_SECONDS = 45.0
_TURN_SECONDS = 10.0
_LOGIN_SECONDS = 3600
"""A login is written only if the last one that was written is older than this: it costs a write to the disk."""
_LOCK, _LOCK_AGAIN = "lock end", "lock end again"
"""A login that passed PAM just before a suspension opens its session after it. So the sessions end a second time."""
_AGAIN = "The agent asks sshaft-accounts again each minute."
_GOES_ON = "Until then, sessions and cron jobs go on."
_NOT_YET = "Until then, the host itself may refuse logins."
_NOT_CONFIGURED = (
    "Without host_login.create the agent cannot end sessions and cron jobs: usermod --expiredate 1 {name}; "
    "pkill -KILL -u {name}"
)
_FOREIGN = "Its sessions and cron jobs go on until sshaft-accounts may change it: sshaft host accounts adopt {name}"
_REFUSED = "The agent refuses new logins by sshd."
_BREAK_GLASS = "The agent refuses no login to the account, because break_glass in {file} names it."
_KEYS = "The agent refuses new logins, but not those by a key: sshaft host enable --require-approval."


class LifeCycle:
    """The life of each account. Safe for several threads. `clock` is in seconds since 1970.

    `settings` is None where no account is made. Methods raise `DatabaseError`.
    """

    def __init__(
        self, records: Records, settings: CreateSettings | None, clock: Callable[[], float] = time.time
    ) -> None:
        self.settings = settings
        self._records = records
        self._clock = clock
        self._asking = threading.Lock()
        self._logged: set[str] = set()

    def of(self, account: str) -> Record | None:
        """Returns what has become of an account. None: the agent knows of nothing."""
        return self._records.of(account)

    def all(self) -> list[Record]:
        return self._records.all()

    def refusal(self, account: str, now: float) -> str | None:
        """Returns why nobody may log in to the account, for the log. None: nothing is against it."""
        record = self._records.of(account)
        return None if record is None else self.refusal_by(record, now)

    def refusal_by(self, record: Record, now: float) -> str | None:
        """Returns what `refusal` returns for the account of this record."""
        return changes.refusal(record, now, self._lock_after(record.account))

    def role_groups(self, account: str) -> frozenset[str]:
        """Returns the groups of this host that roles have given to the account."""
        record = self._records.of(account)
        return frozenset() if record is None else record.role_groups

    def set_role_groups(self, account: str, groups: frozenset[str]) -> None:
        self._change(account, lambda old: replace(old, role_groups=groups))

    def made(self, account: str, temporary: timedelta | None, now: float) -> str:
        """Remembers that `sshaft-accounts` makes this account. Call it before.

        Returns the first day on which the host itself is to refuse the account, as in `2030-01-31`, or an empty text.
        """
        expires_at = None if temporary is None else int(now + temporary.total_seconds())
        self._change(account, lambda old: changes.made(old, expires_at, int(now)))
        return "" if expires_at is None else changes.first_day_after(expires_at)

    def logged_in(self, account: str, now: float) -> None:
        """Remembers that somebody has logged in."""
        record = self._records.of(account)
        last = None if record is None or record.state == "new" else record.last_login_at
        if last is None or not 0 <= now - last < _LOGIN_SECONDS:
            self._change(account, lambda old: changes.logged_in(old, int(now)))

    def suspend(self, account: str, reason: str, *, by: str = OPERATOR) -> str:
        """Refuses the account from now on, and ends its sessions. It blocks, up to a minute.

        Returns a sentence about what could not be done, or an empty text. A suspension by an operator stays one.
        """
        now = int(self._clock())
        record = self._change(account, lambda old: changes.suspended(old, reason, by, now))
        log.get_logger().warning(
            "host_account.suspended", user=printable(account), reason=printable(record.reason), by=record.suspended_by
        )
        return self.settle(account)

    def resume(self, account: str, expires: str = "", *, by: str = OPERATOR) -> str:
        """Opens the account again. It blocks, up to a minute. Returns a sentence about what could not be done.

        `expires` is the first day on which the account is closed, as in `2030-01-31`; `never`; or empty: as before.
        Another `by` than an operator opens only what it has suspended itself.
        """
        now = int(self._clock())
        record = self._change(account, lambda old: changes.resumed(old, expires, by, now))
        if record.state == "active":
            log.get_logger().warning("host_account.resumed", user=printable(account), by=by)
        return self.settle(account)

    def adopted(self, account: str) -> str:
        """Remembers that `sshaft-accounts` may change this account from now on. A suspended one is locked now."""
        now = int(self._clock())
        self._change(account, lambda old: changes.adopted(old, now))
        return self.settle(account)

    def forget(self, account: str) -> None:
        """Forgets an account that the host does not have any more."""
        self._records.forget(account)

    def ask(self, kind: str, account: str, **fields: str) -> Done:
        """Returns the account after a request to `sshaft-accounts`. It blocks. Raises `AccountsError`."""
        if self.settings is None:
            raise AccountsError("sshaft-accounts is not asked here: host_login.create is missing")
        deadline = Deadline.after(_ASK_SECONDS)
        return accounts_client.ask(self.settings.socket, kind, {"user": account, **fields}, deadline)

    def work(self) -> None:
        """Locks the accounts whose time is over, and asks `sshaft-accounts` again for what it has not done yet.

        It blocks. Call it each minute.
        """
        for record in self._records.all():
            self._lock_if_over(record)
        if self.settings is None:
            return
        for record in self._records.all():
            try:
                if record.to_do and (left := self.settle(record.account, tries_again=True)):
                    self._log_once(record, left)
            except AccountsError as error:  # the requests for the other accounts would fail too
                self._log_once(record, str(error))
                return

    def _lock_if_over(self, record: Record) -> None:
        now, lock_after = int(self._clock()), self._lock_after(record.account)
        if record.state == "active" and record.is_managed and changes.over(record, now, lock_after):
            locked = self._change(record.account, lambda old: changes.locked(old, now, lock_after))
            log.get_logger().warning("host_account.locked", user=printable(record.account), reason=locked.reason)

    def _log_once(self, record: Record, message: str) -> None:
        if record.account not in self._logged:
            self._logged.add(record.account)
            log.get_logger().error("host_account.not_changed", user=printable(record.account), message=message)

    def settle(self, account: str, *, tries_again: bool = False) -> str:
        """Asks `sshaft-accounts` for what it has not done yet. Returns a sentence about what is left, or nothing.

        With `tries_again`, an answer that does not come raises `AccountsError`.
        """
        if not self._asking.acquire(timeout=_TURN_SECONDS):
            return self._left(account, "sshaft-accounts is busy with other accounts")
        try:
            record = self._records.of(account)
            return "" if record is None or not record.to_do else self._settle(record)
        except NotGrantedError as error:
            return self._left(account, str(error))
        except AccountsError as error:
            if tries_again:
                raise
            return self._left(account, str(error))
        finally:
            self._asking.release()

    def _settle(self, record: Record) -> str:
        account = record.account
        kind, value = record.to_do.split(" ")[:2]
        if self.settings is None:
            return f"{self._refuses(account)} {_NOT_CONFIGURED.format(name=printable(account))}" * (kind == "lock")
        try:
            self.ask(kind, account, **({"sessions" if kind == "lock" else "expires": value} if value else {}))
        except NotGrantedError as error:
            if not error.is_final:
                raise
            self._answered(record, "", is_managed=False)
            return f"{error}. {self._refuses(account)} {_FOREIGN.format(name=printable(account))}" * (kind == "lock")
        self._answered(record, _LOCK_AGAIN if record.to_do == _LOCK else "", is_managed=True)
        self._logged.discard(account)
        return ""

    def _left(self, account: str, fault: str) -> str:
        """Returns what an operator reads after a request that `sshaft-accounts` has not done."""
        record = self._records.of(account)
        if record is None or record.state in ("new", "active"):
            return f"{fault}. {_AGAIN} {_NOT_YET}"
        return f"{fault}. {self._refuses(account)} {_AGAIN} {_GOES_ON}"

    def _refuses(self, account: str) -> str:
        """Returns what the agent itself does about logins to a closed account."""
        settings = self.settings or CreateSettings()
        unguarded = settings.unguarded()
        if unguarded is None:
            return _KEYS
        return _BREAK_GLASS.format(file=settings.pam_file) if account in unguarded else _REFUSED

    def _answered(self, record: Record, to_do: str, *, is_managed: bool) -> None:
        """Notes that a request was answered. Another one that came meanwhile stays."""

        def change(old: Record) -> Record:
            return replace(old, is_managed=is_managed, to_do=to_do if old.to_do == record.to_do else old.to_do)

        self._change(record.account, change)

    def _lock_after(self, account: str) -> timedelta | None:
        """Returns after what time without a login the account is locked. None: never.

        Where PAM's account phase does not ask us, we do not hear of logins by a key. Such an account may be in use.
        """
        if self.settings is None or self.settings.lock_after is None:
            return None
        unguarded = self.settings.unguarded()
        return None if unguarded is None or account in unguarded else self.settings.lock_after

    def _change(self, account: str, change: Change) -> Record:
        return self._records.change(account, int(self._clock()), change)
