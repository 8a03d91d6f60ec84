"""Lets a person log in whose account the host does not have yet.

libnss_sshaft asks for the name inside sshd: the agent reserves a uid. After the approval `sshaft-accounts` makes the
account with that uid, before sshd hears of the success. From then on the account is the host's.
"""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from sshaft import log
from sshaft.addresses import source_of
from sshaft.deadline import Deadline
from sshaft.text import printable
from sshaft_agent.host_login import accounts, texts
from sshaft_agent.host_login.accounts import Account
from sshaft_agent.host_login.database import DatabaseError
from sshaft_agent.host_login.first_login import accounts_client, free
from sshaft_agent.host_login.first_login.accounts_client import AccountsError, NewAccount, UidRefusedError
from sshaft_agent.host_login.first_login.approvals import Approvals
from sshaft_agent.host_login.first_login.reservations import Reservation, Reservations
from sshaft_agent.host_login.first_login.settings import CreateSettings, UidOfClaim, UidOfFile
from sshaft_agent.host_login.first_login.uids import UidFiles, claimed_uid
from sshaft_agent.host_login.life_cycle.life_cycle import LifeCycle
from sshaft_agent.host_login.realm import RefusedError
from sshaft_agent.host_login.roles.granted import Granted
from sshaft_agent.server import Message
from sshaft_oidc.identity import Identity

_CREATE_SECONDS = 60.0
_TURN_SECONDS = 20.0
"""A login waits so long for the accounts of others that are being made."""
_SECONDS_BETWEEN_LOGS = 60.0
"""Strangers invent many names."""
_LONGEST_NAME = 200
_MOST_TOLD = 10_000
"""More than names can have a reservation at one time."""
_NONE: Message = ("none", {})


def uptime() -> float:
    """Returns the seconds since the start of the machine, by the clock of the kernel's processes (proc(5))."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True)
class Login:
    """What is known of a login besides the identity.

    `began` is that of `LoginQuestion`, and `person` that of `Binding`. `is_own`: the agent's own configuration decides,
    and not one that a PAM line names by `config=`.
    """

    rights: Granted
    began: float
    person: str = ""
    is_own: bool = True


class FirstLogin:
    """Reserves uids and makes accounts. Safe for several threads.

    `settings` is None where every account must exist. `find` returns an account that the host has. `clock` is in
    seconds since 1970.
    """

    def __init__(
        self,
        reservations: Reservations,
        settings: CreateSettings | None,
        life_cycle: LifeCycle,
        approvals: Approvals,
        find: Callable[[str], Account | None] = accounts.find,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self.names: Counter[str] = Counter()
        """How many names had which answer: `reserved`, `full`."""
        self._reservations = reservations
        self._life_cycle = life_cycle
        self._approvals = approvals
        self._find = find
        self._clock = clock
        self._told_at: dict[str, float] = {}
        """When sshd was told of each reserved name for the last time, by `uptime`."""
        self._uids = UidFiles()
        self._was_guarded = True
        self._next_log = 0.0
        self._making = threading.Lock()
        # Threads of their own, so that names that strangers invent delay no login.
        self._worker = ThreadPoolExecutor(1, "host-names")

    def close(self) -> None:
        self._worker.shutdown(wait=False, cancel_futures=True)

    async def answer_name(self, fields: dict[str, str]) -> Message:
        """Answers libnss_sshaft: the account that the name would get, or none."""
        settings, name = self.settings, fields.get("user", "")
        if settings is None or not settings.fits(name):
            return _NONE
        source = source_of(fields.get("rhost", ""))
        try:
            uid = await asyncio.get_running_loop().run_in_executor(self._worker, self._reserve, settings, name, source)
        except DatabaseError as error:
            log.get_logger().error("host_name.failed", message=str(error))
            return _NONE
        if uid is None:
            return _NONE
        return "name", {"uid": str(uid), "gid": str(uid), "home": settings.home_of(name), "shell": settings.shell}

    def reserve(self, name: str, client_ip: str) -> bool:
        """Whether a uid is reserved for this name now, without a question of sshd. It blocks.

        Call it for a person who may have the account. Raises `DatabaseError`.
        """
        settings = self.settings
        return (
            settings is not None
            and settings.fits(name)
            and self._reserve(settings, name, source_of(client_ip)) is not None
        )

    def _reserve(self, settings: CreateSettings, name: str, source: str) -> int | None:
        if not self._is_guarded(settings, name) or not self._is_free(name):
            return None
        fixed = None
        if isinstance(settings.uid, UidOfFile):
            fixed = self._uids.uid_of(settings.uid.file, name)
            if fixed is None:
                return None
        uid = self._reservations.reserve(name, source, settings, int(self._clock()), fixed)
        self.names["full" if uid is None else "reserved"] += 1
        if uid is not None:
            self._note_told(name)
        if uid is None and self._clock() >= self._next_log:
            self._next_log = self._clock() + _SECONDS_BETWEEN_LOGS
            reason = "reservations, reservations_per_source or the uids are used up"
            if fixed is not None:
                reason = f"{reason}, or the uid {fixed} of the file is somebody else's or out of the range"
            log.get_logger().warning("host_name.full", reason=reason, user=printable(name), client_ip=printable(source))
        return uid

    def _note_told(self, name: str) -> None:
        self._told_at.pop(name, None)
        self._told_at[name] = uptime()
        if len(self._told_at) > _MOST_TOLD:
            del self._told_at[next(iter(self._told_at))]

    def _is_guarded(self, settings: CreateSettings, name: str) -> bool:
        """Whether PAM's account phase asks us for this name. The log has one event each time that it stops to ask."""
        unguarded = settings.unguarded()
        was_guarded, self._was_guarded = self._was_guarded, unguarded is not None
        if was_guarded and not self._was_guarded:
            message = f"{settings.pam_file} has no account line of pam_sshaft: sshaft host enable --require-approval"
            log.get_logger().error("host_name.unguarded", message=message, effect="no uid is reserved")
        return unguarded is not None and name not in unguarded

    def candidate(self, name: str) -> Account | None:
        """Returns the account that a person may have: that of the host, or the one that the first login would make."""
        found = self._find(name)
        if found is not None or self.settings is None or not self.settings.fits(name):
            return found
        if not self._is_free(name):
            return self._find(name)  # another login may have made it meanwhile
        reserved = self._reservations.of(name)
        return Account(name, reserved.uid if reserved else -1, is_made=False)

    def is_there(self, name: str) -> bool:
        """Whether the host has an account of this name, also one of the system. It may block."""
        return self._find(name) is not None or free.is_account(name)

    def account(self, name: str) -> Account | None:
        """Returns the account of a login. The first login of a name has one only while a uid is reserved for it.

        Raises `DatabaseError`.
        """
        found = self.candidate(name)
        return found if found is None or found.is_made or self._reserved(name) else self._find(name)

    def is_ready(self, name: str, began: float = 0) -> bool:
        """Whether the host has the account, as a connection that began then knows it. Raises `DatabaseError`.

        sshd may know the name from a reservation alone. Then a key opens nothing, also if an operator has bound it.
        """
        reservation = self._reservations.of(name)
        if reservation is None:
            return True
        found = self._find(name)
        if self._is_current(reservation):
            return found is not None and not self._may_differ(found, began)
        return self.is_there(name)  # it may be an account of the system by now

    def prepare(self, account: Account, identity: Identity, login: Login) -> None:
        """Makes the account if the host does not have it. It blocks. The identity is one that may have the account.

        Raises `AccountsError`, `DatabaseError`, and `RefusedError` if an operator has not approved the account, or sshd
        may have another uid or shell than the account.
        """
        reservation = self._reserved(account.name)
        if reservation is None and not account.is_made:  # another login may have made it meanwhile
            account = self._find(account.name) or account
        if account.is_made:
            if self._may_differ(account, login.began):
                # An sshd may have the reserved uid, also for a second attempt in one connection.
                text = texts.READY if account.name in self._told_at else texts.AGAIN
                raise RefusedError("the host got an account of this name while a uid is reserved for it", text)
            if reservation is not None and not self._may_differ(account, 0):  # an agent that was killed has made it
                self._reservations.end(account.name, int(self._clock()))
            return
        if self.settings is None or reservation is None:
            raise AccountsError(f"no uid is reserved for {account.name} any more: host_login.create has changed")
        if self.settings.approve and not self._approvals.has(account.name, identity):
            raise self._asked(self.settings, account, identity, login.person)
        if not self._making.acquire(timeout=_TURN_SECONDS):
            raise AccountsError("sshaft-accounts is busy with other accounts")
        try:
            self._make(self.settings, account, identity, login)
        finally:
            self._making.release()

    def check_connection(self, name: str, began: float) -> None:
        """Raises `RefusedError` if a connection that began then may have another uid or shell than the account."""
        account = self._find(name)
        if account is None or self._may_differ(account, began):
            raise RefusedError(
                "the account is ready, but sshd has another uid or shell for this connection", texts.READY
            )

    def _may_differ(self, account: Account, began: float) -> bool:
        """Whether a connection that began then may have another uid or shell than the account has.

        sshd keeps what it has heard first. A connection that began after our last answer has heard nothing of us.
        """
        reservation, settings = self._reserved(account.name), self.settings
        if reservation is None:
            return False
        is_same_shell = settings is None or account.shell in (None, settings.shell)
        if reservation.uid == account.uid and is_same_shell:
            return False
        told_at = self._told_at.get(account.name)
        return told_at is None or began <= told_at

    def _asked(self, settings: CreateSettings, account: Account, identity: Identity, person: str) -> RefusedError:
        """Records that an operator must approve the account. Returns why this login ends. Raises `DatabaseError`."""
        request = self._approvals.request(account.name, identity, person, settings, int(self._clock()))
        if request is None:
            return RefusedError(
                "create.requests is used up, or this identity has too many requests: sshaft host accounts list",
                texts.NO_ROOM,
                subject=identity.subject,
            )
        is_denied = request.state == "denied"
        reason = "an operator has denied" if is_denied else "an operator must approve"
        text = (texts.NOT_GIVEN if is_denied else texts.WAITS).format(reference=request.reference)
        return RefusedError(f"{reason} the request {request.reference}", text, subject=identity.subject)

    def _make(self, settings: CreateSettings, account: Account, identity: Identity, login: Login) -> None:
        name, uid, rights = account.name, account.uid, login.rights
        if isinstance(settings.uid, UidOfClaim):
            if not login.is_own:  # another provider could give the uid that somebody has on other hosts
                raise AccountsError("create.uid is a claim, and this PAM line names another configuration (config=)")
            uid = claimed_uid(settings, identity.claims)
        if self._find(name) is None:
            # It is written first: whatever becomes of the question, no other name ever gets this uid.
            self._reservations.keep(name)
            expires = self._life_cycle.made(name, rights.temporary or settings.temporary, self._clock())
            home, shell = settings.home_of(name), rights.shell or ""
            self._ask(settings, account, NewAccount(name, uid, _full_name(identity), home, shell, expires))
        found = self._find(name)
        if found is None or found.uid != uid:
            raise AccountsError(f"the host does not have {name} with the uid {uid}, although sshaft-accounts says so")
        if not self._may_differ(found, 0):
            self._reservations.end(name, int(self._clock()))

    def _ask(self, settings: CreateSettings, account: Account, new: NewAccount) -> None:
        try:
            shell = accounts_client.create(settings.socket, new, Deadline.after(_CREATE_SECONDS))
        except UidRefusedError:
            if new.uid == account.uid:
                self._reservations.refuse(new.user)
            raise
        log.get_logger().info("host_account.made", user=printable(new.user), uid=new.uid)
        if not new.shell and shell != settings.shell:
            message = f"create.shell is {settings.shell}, and in accounts.json it is {printable(shell)}"
            log.get_logger().warning("config.warning", message=message)

    def _is_free(self, name: str) -> bool:
        reservation = self._reservations.of(name)
        is_asked_for = reservation is not None and reservation.state == "made"
        if is_asked_for and self.settings is not None and isinstance(self.settings.uid, UidOfClaim):
            # A group of this name may be work that was interrupted. Only sshaft-accounts knows its gid.
            return not free.is_account(name)
        return free.is_free_name(name, reservation.uid if reservation else None)

    def _reserved(self, name: str) -> Reservation | None:
        found = self._reservations.of(name)
        return found if found is not None and self._is_current(found) else None

    def _is_current(self, reservation: Reservation) -> bool:
        return reservation.until > int(self._clock())


def _full_name(identity: Identity) -> str:
    """Returns the claim `name` for the field GECOS of the account. `sshaft-accounts` cleans it."""
    name = identity.claims.get("name")
    return "".join(c for c in name[:_LONGEST_NAME] if c.isprintable()) if isinstance(name, str) else ""
