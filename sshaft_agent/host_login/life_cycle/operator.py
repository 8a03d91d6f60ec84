"""Answers `sshaft host accounts`: lists the accounts, and suspends, opens, changes and removes them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from sshaft_agent.host_login.bindings import Binding, Bindings
from sshaft_agent.host_login.first_login.accounts_client import AccountsError, NotGrantedError
from sshaft_agent.host_login.first_login.reservations import Reservations
from sshaft_agent.host_login.life_cycle import changes
from sshaft_agent.host_login.life_cycle.life_cycle import LifeCycle
from sshaft_agent.host_login.life_cycle.records import Record
from sshaft_agent.host_login.pages import page

_Act = Callable[[str, dict[str, str]], dict[str, Any]]
FOR_ROOT = ("suspend", "resume", "remove", "groups", "adopted")
_NONE = Record("", 0)
_NO_CHECK = {"checked_at": None, "unchecked": None}
_LONGEST_REASON = 200


class AccountsOperator:
    """The questions of an operator about the life of accounts. Each answer blocks.

    An answer is `{"done": ..., "text": ...}`: whether it is done, and a sentence about what is left. `is_there`:
    whether the host has the account. `checks` returns what is known of each account, issuer and subject (`Recheck`).
    """

    def __init__(
        self,
        life_cycle: LifeCycle,
        bindings: Bindings,
        reservations: Reservations,
        is_there: Callable[[str], bool],
        clock: Callable[[], float],
        checks: Callable[[], Mapping[tuple[str, str, str], Mapping[str, Any]]],
    ) -> None:
        self._life_cycle = life_cycle
        self._bindings = bindings
        self._reservations = reservations
        self._is_there = is_there
        self._clock = clock
        self._checks = checks

    def answers(self) -> dict[str, Callable[[dict[str, str]], Any]]:
        return {
            "accounts": self._list,
            "suspend": self._if_known(self._suspend),
            "resume": self._if_known(self._resume),
            "adopted": self._if_known(lambda name, _fields: _done(self._life_cycle.adopted(name))),
            "groups": self._if_known(self._groups),
            "remove": self._if_known(self._remove),
        }

    def _list(self, fields: dict[str, str]) -> Sequence[dict[str, Any]]:
        """Returns an object for each identity of an account, and one for an account without an identity."""
        records = {record.account: record for record in self._life_cycle.all()}
        bindings = self._bindings.all()
        bound = {each.account for each in bindings}
        alone = [
            Binding(name, "", "", "", "")
            for name, record in records.items()
            if name not in bound and record.state != "new"  # it could not be made
        ]
        rows = sorted([*bindings, *alone], key=lambda each: (each.account, each.person))
        checks = self._checks()
        found = [asdict(each) | self._facts(records.get(each.account)) for each in rows]
        for row in found:
            row.update(checks.get((row["account"], row["issuer"], row["subject"]), _NO_CHECK))
        return page(found, fields)

    def _facts(self, record: Record | None) -> dict[str, Any]:
        known = record or _NONE
        return {
            "state": known.state,
            "refusal": self._life_cycle.refusal_by(known, self._clock()),
            "since": _time(known.since or None),
            "expires_at": _time(known.expires_at),
            "last_login_at": _time(known.last_login_at),
            "role_groups": sorted(known.role_groups),
            "is_managed": known.is_managed,
            "to_do": known.to_do,
        }

    def _if_known(self, act: _Act) -> Callable[[dict[str, str]], dict[str, Any]]:
        """Returns an answer that does nothing for a name that neither the host nor the agent knows."""

        def answer(fields: dict[str, str]) -> dict[str, Any]:
            name = fields["account"]
            if name == "root":
                return _failed("pam_sshaft never asks for root")
            if not (self._is_there(name) or self._bindings.of(name) or self._life_cycle.of(name)):
                return _failed(f"nobody has an account named {name}")
            return act(name, fields)

        return answer

    def _suspend(self, name: str, fields: dict[str, str]) -> dict[str, Any]:
        return _done(self._life_cycle.suspend(name, fields["reason"][:_LONGEST_REASON]))

    def _resume(self, name: str, fields: dict[str, str]) -> dict[str, Any]:
        record, expires = self._life_cycle.of(name), fields["expires"]
        if not changes.is_expiry(expires):
            return _failed("an expiry is a day such as 2030-01-31, or never")
        if not expires and record is not None and changes.has_expired(record, self._clock()):
            return _failed("the account has expired: give --expires too")
        return _done(self._life_cycle.resume(name, expires))

    def _groups(self, name: str, fields: dict[str, str]) -> dict[str, Any]:
        try:
            self._life_cycle.ask("groups", name, add=fields["add"], remove=fields["remove"])
        except AccountsError as error:
            return _failed(str(error))
        # From now on the operator decides of these groups, and no role takes them away.
        decided = set(f"{fields['add']},{fields['remove']}".split(","))
        if (given := self._life_cycle.role_groups(name)) & decided:
            self._life_cycle.set_role_groups(name, given - decided)
        return _done()

    def _remove(self, name: str, _fields: dict[str, str]) -> dict[str, Any]:
        """Ends the sessions, removes the account from the host, and forgets whose it was.

        Nothing has changed if `sshaft-accounts` may not change the account. Otherwise it is suspended until the end: no
        login opens a session meanwhile, or makes an account that the agent would forget.
        """
        try:
            self._life_cycle.ask("lock", name, sessions="end")
        except NotGrantedError as error:
            if not error.is_final or self._is_there(name):
                return _failed(str(error))
        except AccountsError as error:
            return _failed(str(error))
        self._life_cycle.suspend(name, "its removal has begun")
        try:
            self._life_cycle.ask("remove", name)
        except AccountsError as error:
            if self._is_there(name):
                return _failed(f"{error}. The account is suspended. Run the command again")
        self._forget(name)
        return _done()

    def _forget(self, name: str) -> None:
        self._reservations.refuse(name)  # the next account of this name gets another uid
        self._bindings.unbind(name)
        self._life_cycle.forget(name)


def _done(left: str = "") -> dict[str, Any]:
    return {"done": True, "text": left}


def _failed(text: str) -> dict[str, Any]:
    return {"done": False, "text": text}


def _time(seconds: int | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
