"""Does what a person with an access token asks for: an account, its suspension, and what an admin asks for."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from sshaft import log
from sshaft.text import printable
from sshaft_agent.host_login.bindings import Bindings
from sshaft_agent.host_login.first_login.accounts_client import AccountsError
from sshaft_agent.host_login.life_cycle.life_cycle import LifeCycle
from sshaft_agent.host_login.life_cycle.records import API, RECHECK
from sshaft_agent.host_login.realm import Decider, RefusedError
from sshaft_agent.host_login.token_login.realms import TokenRealm
from sshaft_agent.host_login.token_login.standing import Standing, Standings
from sshaft_oidc.identity import Identity


@dataclass(frozen=True)
class Change:
    """What a question has changed. `done`: the accounts were suspended or opened."""

    created: bool = False
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    request: Literal["new", "unchanged"] = "unchanged"
    done: bool = False


class Persons:
    """Safe for several threads. Its methods block, and raise `RefusedError`, `AccountsError` and `DatabaseError`.

    `reserve` reserves a uid for a name, for the address that asks, and `give` gives an account to an identity.
    """

    def __init__(
        self,
        standings: Standings,
        is_there: Callable[[str], bool],
        reserve: Callable[[str, str], bool],
        give: Callable[[Decider, str, Identity], None],
        life_cycle: LifeCycle,
        bindings: Bindings,
    ) -> None:
        self._standings = standings
        self._is_there = is_there
        self._reserve = reserve
        self._give = give
        self._life_cycle = life_cycle
        self._bindings = bindings

    def suspended(self, issuer: str, subject: str) -> str | None:
        """Returns why a person may use no account, also none that the host does not have yet. None: they may.

        Otherwise a suspended person could get another account, by another name.
        """
        for each in self._bindings.of_identity(issuer, subject):
            record = self._life_cycle.of(each.account)
            if record is not None and (record.state, record.suspended_by) == ("suspended", API):
                return f"the person is suspended, with the account {each.account}"
        return None

    def deploy(self, realm: TokenRealm, identity: Identity, client_ip: str) -> tuple[Standing, Change]:
        """Makes the account of the person, or gives it the rights of today. The rules are those of a login."""
        if realm.settings.allow.publickey:
            raise RefusedError("allow.publickey: only a login shows that sshd has accepted a key")
        before = self._standings.of(realm, identity)
        if before.state in ("rejected", "suspended"):
            return before, Change()
        name = before.name
        is_new, groups = not self._is_there(name), self._life_cycle.role_groups(name)
        if is_new:
            self._make_room(realm, name, client_ip)
        try:
            self._give(realm, name, identity)
        except RefusedError:
            after = self._standings.of(realm, identity, name)
            if after.state not in ("pending", "rejected"):
                raise
            return after, Change(request="unchanged" if before.state == after.state else "new")
        after, has = self._standings.of(realm, identity, name), self._life_cycle.role_groups(name)
        change = Change(is_new, added=tuple(sorted(has - groups)), removed=tuple(sorted(groups - has)))
        if before.state == "not_deployed":
            log.get_logger().info("host_api.deployed", **_facts(name, identity), client_ip=printable(client_ip))
        return after, change

    def _make_room(self, realm: TokenRealm, name: str, client_ip: str) -> None:
        if realm.settings.create is None or not realm.settings.create.fits(name):
            raise RefusedError("the host does not have the account, and host_login.create does not make it")
        if not self._reserve(name, client_ip) and not self._is_there(name):  # another login may have made it
            raise AccountsError(f"no uid is reserved for {name}: see host_name.full and host_name.unguarded in the log")

    def suspend(self, realm: TokenRealm, identity: Identity, client_ip: str) -> tuple[Standing, Change]:
        """Suspends the account of the person. Only an admin or an operator opens it again."""
        standing = self._standings.of(realm, identity)
        is_open = standing.account and standing.state != "suspended"
        if not is_open or not self._suspend(standing.name, f"its owner asked for it from {printable(client_ip)}"):
            return standing, Change()
        return self._standings.of(realm, identity, standing.name), Change(done=True)

    def administer(
        self, realm: TokenRealm, identity: Identity, action: str, issuer: str, subject: str
    ) -> tuple[Standing, Change]:
        """Suspends or opens the accounts of another person, for an admin. An admin need not have an account."""
        self._check_admin(realm, identity, issuer)
        reason = printable(f"the admin {identity.subject} of {identity.issuer} asked for it")
        acts: dict[str, Callable[[str], bool]] = {
            "suspend": partial(self._suspend, reason=reason),
            "resume": self._resume,
        }
        if action not in acts:
            raise RefusedError("there is no such action")
        done = [acts[action](each.account) for each in self._bindings.of_identity(issuer, subject)]
        if any(done):
            log.get_logger().warning(
                "host_api.administered", action=action, subject=printable(subject), issuer=printable(issuer),
                admin=printable(identity.subject), admin_issuer=printable(identity.issuer),
            )  # fmt: skip
        return self._standings.of_subject(issuer, subject), Change(done=any(done))

    def _check_admin(self, realm: TokenRealm, identity: Identity, issuer: str) -> None:
        settings = realm.settings
        if identity.subject not in settings.admins:
            raise RefusedError("admins: the person is none of them", subject=identity.subject)
        if missing := settings.needed_scopes - set(identity.scopes):
            raise RefusedError(f"scopes: not granted: {' '.join(sorted(missing))}", subject=identity.subject)
        if issuer != settings.issuer and not settings.admins_for_all:
            raise RefusedError("admins_for_all: the admins of this provider decide of its own people alone",
                               subject=identity.subject)  # fmt: skip

    def _suspend(self, name: str, reason: str) -> bool:
        """Whether the account is suspended now, and was not before. An account of several people stays open."""
        if len(self._bindings.of(name)) != 1:
            log.get_logger().warning("host_api.shared", user=printable(name), message="an operator must suspend it")
            return False
        record = self._life_cycle.of(name)
        if record is not None and record.state == "suspended" and record.suspended_by != RECHECK:
            return False
        self._log_left(name, self._life_cycle.suspend(name, reason, by=API))
        return True

    def _resume(self, name: str) -> bool:
        """Whether the account is open now, and was not before. What an operator has closed stays closed."""
        record = self._life_cycle.of(name)
        if record is None or (record.state, record.suspended_by) != ("suspended", API):
            return False
        self._log_left(name, self._life_cycle.resume(name, by=API))
        return True

    def _log_left(self, name: str, left: str) -> None:
        if left:
            log.get_logger().error("host_account.not_changed", user=printable(name), message=left)


def _facts(name: str, identity: Identity) -> dict[str, str]:
    return {"user": printable(name), "subject": printable(identity.subject), "issuer": printable(identity.issuer)}
