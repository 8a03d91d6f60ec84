"""Remembers approvals of one host, and finds the one that a login needs.

A remembered login opens nothing that the rules of today do not open. They judge the claims that were known when the
person was approved: a remembered login learns nothing new. What does not count is forgotten, and the person is asked.
"""

import secrets
from collections.abc import Callable, Iterable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from sshaft import log
from sshaft.text import printable
from sshaft_agent.host_login.bindings import Bindings
from sshaft_agent.host_login.conversation import LoginQuestion
from sshaft_agent.host_login.database import DatabaseError
from sshaft_agent.host_login.remembered.entries import Circumstances, Entry, circumstances_of, fault
from sshaft_agent.host_login.remembered.store import MOST, Store
from sshaft_oidc.identity import Identity

_USED_SECONDS = 60
"""A new time of use is written so often at most: programs begin many logins at once."""


class Remembered:
    """The remembered approvals. Safe for several threads. Methods but `remember` raise `DatabaseError`.

    `closed` returns why an account, an issuer and a subject may not log in today, by the database of this host.
    `refusal` returns why the rules of today do not give the account to the person; it may ask the sources of accounts.
    `changed` is called after each change. `now` is in seconds since 1970.
    """

    def __init__(
        self, bindings: Bindings, closed: Callable[[str, str, str], str | None],
        refusal: Callable[[Entry], str | None], changed: Callable[[], None], now: Callable[[], float],
    ) -> None:  # fmt: skip
        """Raises `ConfigurationError` if the database cannot be used."""
        self._store = Store(bindings.path.parent)
        self._bindings = bindings
        self._closed = closed
        self._refusal = refusal
        self._changed = changed
        self._now = now
        self._origin = ""
        self._longest: timedelta | None = None
        self._without_key = False

    def use(self, origin: str, longest: timedelta | None, *, without_key: bool) -> None:
        """Uses settings that were read. `longest`: how long an approval counts; None: not at all."""
        self._origin, self._longest, self._without_key = origin, longest, without_key

    @property
    def is_on(self) -> bool:
        """Whether approvals are remembered on this host."""
        return self._longest is not None

    def seconds_for(self, question: LoginQuestion) -> int | None:
        """Returns for how long the approval of this login would be remembered. None: not at all."""
        longest = self._longest
        return None if longest is None or self._circumstances_of(question) is None else int(longest.total_seconds())

    def remember(self, question: LoginQuestion, approval: str, identity: Identity) -> None:
        """Remembers the approval of a login that has passed, if the settings and its circumstances allow that.

        A full disk must not refuse a person who was approved.
        """
        circumstances = self._circumstances_of(question)
        if circumstances is None or self._longest is None:
            return
        now = int(self._now())
        until = now + int(self._longest.total_seconds())
        entry = Entry(
            secrets.token_urlsafe(16), approval, self._origin, circumstances, identity.issuer, identity.subject,
            dict(identity.claims), now, until, now,
        )  # fmt: skip
        try:
            has_room = self._store.add(entry)
        except DatabaseError as error:
            log.get_logger().error("host_remembered.not_kept", message=str(error), **_facts(entry))
            return
        if not has_room:
            log.get_logger().warning("host_remembered.full", message=f"{MOST} are remembered", **_facts(entry))
            return
        log.get_logger().info("host_remembered.kept", until=_time(until), **_facts(entry))
        self._changed()

    def find(self, question: LoginQuestion, is_confirmed: Callable[[], bool]) -> Entry | None:
        """Returns the approval that this login needs. None: the person has to be asked.

        `is_confirmed`: whether the identity service has said lately which approvals have ended. It may wait for that.
        """
        circumstances = self._circumstances_of(question)
        if circumstances is None or self._store.of(circumstances) is None:
            return None
        counts = is_confirmed()
        entry = self._store.of(circumstances)  # the report may have ended it
        if entry is None:
            return None
        if reason := self._fault(entry) or self._refusal(entry):
            self._forget(entry, reason)
            return None
        if not counts:
            facts = _facts(entry)
            log.get_logger().warning("host_remembered.unconfirmed", message="the reports have failed", **facts)
            return None
        self._note_use(entry)
        return entry

    def _note_use(self, entry: Entry) -> None:
        now = int(self._now())
        if now - entry.used_at < _USED_SECONDS:
            return
        try:
            self._store.used(entry.id, now)
        except DatabaseError as error:  # a full disk must not refuse a person
            log.get_logger().error("host_remembered.not_kept", message=str(error), **_facts(entry))

    def present(self) -> list[dict[str, Any]]:
        """Returns what counts now, as the identity service hears of it. It forgets the rest."""
        rows = []
        for entry in self._store.all():
            if reason := self._fault(entry):
                self._forget(entry, reason)
            else:
                rows.append(_row(entry))
        return rows

    def listed(self) -> list[dict[str, Any]]:
        """Returns what an operator reads, also of what does not count."""
        return [
            _row(each) | {"approved_at": _time(each.approved_at), "issuer": each.issuer, "subject": each.subject,
                          "fault": self._fault(each)}
            for each in self._store.all()
        ]  # fmt: skip

    def end(self, ids: Iterable[str], reason: str) -> int:
        """Forgets the approvals with these ids. Returns how many there were."""
        wanted = set(ids)
        found = [each for each in self._store.all() if each.id in wanted] if wanted else []
        for entry in found:
            self._forget(entry, reason)
        return len(found)

    def end_of(self, account: str, reason: str) -> int:
        """Forgets the approvals of an account. Returns how many there were."""
        return self.end([each.id for each in self._store.all() if each.circumstances.account == account], reason)

    def _circumstances_of(self, question: LoginQuestion) -> Circumstances | None:
        return None if self._longest is None else circumstances_of(question, without_key=self._without_key)

    def _fault(self, entry: Entry) -> str | None:
        if self._longest is None:
            return "remember is off"
        if not (entry.circumstances.fingerprint or self._without_key):
            return "remember_without_key is off"
        account, longest = entry.circumstances.account, self._longest.total_seconds()
        reason = fault(entry, self._origin, self._bindings.of(account), self._now(), longest)
        return reason or self._closed(account, entry.issuer, entry.subject)

    def _forget(self, entry: Entry, reason: str) -> None:
        if self._store.remove([entry.id]):
            log.get_logger().info("host_remembered.ended", reason=printable(reason), **_facts(entry))
            self._changed()


def _row(entry: Entry) -> dict[str, Any]:
    seen = asdict(entry.circumstances)
    key = {"key_fingerprint": seen.pop("fingerprint")} if entry.circumstances.fingerprint else {}
    return {"id": entry.id, "approval": entry.approval, **seen, **key,
            "until": _time(entry.until), "used_at": _time(entry.used_at)}  # fmt: skip


def _facts(entry: Entry) -> dict[str, str]:
    seen = {name: value for name, value in asdict(entry.circumstances).items() if value}
    named = {"user": seen.pop("account"), "subject": entry.subject, "approval": entry.approval, **seen}
    return {name: printable(value) for name, value in named.items()}


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
