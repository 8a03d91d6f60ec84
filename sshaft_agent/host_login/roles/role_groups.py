"""Gives an account the local groups of its person's roles at each login, and takes those away that no role gives now.

sshd reads the groups of an account when the session begins. So the session of the same login has them.
"""

import grp
import os
import pwd
import threading
from collections.abc import Callable, Collection
from contextlib import suppress

from sshaft import log
from sshaft.text import printable
from sshaft_agent.host_login import texts
from sshaft_agent.host_login.first_login.accounts_client import AccountsError, NotGrantedError
from sshaft_agent.host_login.life_cycle.life_cycle import LifeCycle
from sshaft_agent.host_login.realm import RefusedError

_TURN_SECONDS = 20.0
"""A login waits so long for the groups of others that are being changed."""
Membership = Callable[[str, Collection[str]], frozenset[str]]


def membership(account: str, groups: Collection[str]) -> frozenset[str]:
    """Returns those of the groups that a session of the account would have. Asks every source, so it may block."""
    try:
        gids = set(os.getgrouplist(account, pwd.getpwnam(account).pw_gid))
    except KeyError:
        return frozenset()
    found = set()
    for name in groups:
        with suppress(KeyError):
            if grp.getgrnam(name).gr_gid in gids:
                found.add(name)
    return frozenset(found)


class RoleGroups:
    """Safe for several threads. It remembers which groups roles have given: others stay as they are."""

    def __init__(self, life_cycle: LifeCycle, find: Membership = membership) -> None:
        self._life_cycle = life_cycle
        self._find = find
        self._turn = threading.Lock()

    def apply(self, account: str, wanted: frozenset[str]) -> None:
        """Changes the groups of the account if they differ from `wanted`. It blocks.

        Raises `RefusedError` if a group stays that a role gave before and no role gives now, and `DatabaseError`.
        A group that cannot be given is logged: the person has fewer rights then.
        """
        if self._life_cycle.settings is None:
            return
        if not self._turn.acquire(timeout=_TURN_SECONDS):
            raise RefusedError("sshaft-accounts is busy with the groups of others", texts.RIGHTS)
        try:
            record = self._life_cycle.of(account)
            given = record.role_groups if record else frozenset[str]()
            if lost := given - wanted:
                self._take(account, lost)
                self._life_cycle.set_role_groups(account, given & wanted)
            if missing := wanted - self._find(account, wanted):
                if record is None or not record.is_managed:
                    reason = "sshaft-accounts did not make the account: sshaft host accounts adopt"
                    self._log_missing(account, missing, reason)
                else:
                    self._give(account, missing, given & wanted)
        finally:
            self._turn.release()

    def _take(self, account: str, groups: frozenset[str]) -> None:
        try:
            self._life_cycle.ask("groups", account, remove=_list(groups))
        except AccountsError as error:
            if kept := self._find(account, groups):
                raise RefusedError(f"no role gives {_list(kept)} any more: {error}", texts.RIGHTS) from None
        else:
            log.get_logger().info("host_account.groups_taken", user=printable(account), groups=_list(groups))

    def _give(self, account: str, groups: frozenset[str], given: frozenset[str]) -> None:
        # It is written first: after a crash, or without an answer, the groups are still known to be ours.
        self._life_cycle.set_role_groups(account, given | groups)
        try:
            self._life_cycle.ask("groups", account, add=_list(groups))
        except AccountsError as error:
            if isinstance(error, NotGrantedError):
                self._life_cycle.set_role_groups(account, given)
            self._log_missing(account, groups, str(error))
        else:
            log.get_logger().info("host_account.groups_given", user=printable(account), groups=_list(groups))

    def _log_missing(self, account: str, groups: frozenset[str], reason: str) -> None:
        user = printable(account)
        log.get_logger().warning("host_account.groups_not_given", user=user, groups=_list(groups), reason=reason)


def _list(groups: Collection[str]) -> str:
    return ",".join(sorted(groups))
