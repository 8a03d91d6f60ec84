"""Does what a request asks for, and completes work that was interrupted. Each step may be done twice without harm."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from sshaft_accounts import backends, host, sessions
from sshaft_accounts.host import ToolError
from sshaft_accounts.policy import Policy, refusal, refusal_of_uid
from sshaft_accounts.record import Entry, Record
from sshaft_accounts.requests import Adopt, Create, Groups, Lock, Remove, Request, Unlock

# The day of expiry of a locked account, in days since 1970. PAM and sshd refuse such an account whatever the person
# proves.
NO_LOGIN = "1"
REPLACED = "user: somebody else has removed or replaced this account"


@dataclass(frozen=True)
class Done:
    uid: int
    home: str
    shell: str


@dataclass(frozen=True)
class Refused:
    """`reason` begins with the field or the program that is at fault, and `:`. After `uid:`, try another uid."""

    reason: str


Ended = Done | Refused | ToolError | OSError


class Accounts:
    """The accounts that this program made or adopted.

    Raises `ToolError`, `OSError` and `sqlite3.Error` if the host fails.
    """

    def __init__(self, record: Record) -> None:
        self._record = record
        self._steps: dict[str, Callable[[Entry], Done | Refused]] = {
            "creating": self._make,
            "locking": self._lock,
            "unlocking": self._unlock,
            "removing": self._remove,
        }

    def answer(self, policy: Policy, request: Request) -> Done | Refused:
        """Does what `request` asks for, if the policy and the record allow it."""
        ranges = host.sub_ids() if isinstance(request, (Create, Adopt)) else []
        if reason := refusal(policy, request, ranges):
            return Refused(reason)
        entry = self._record.named(request.user)
        if entry is not None and not isinstance(request, Remove) and (step := self._steps.get(entry.state)):
            ended = step(entry)
            if isinstance(ended, Refused):
                return ended
            entry = self._record.named(request.user)
        if isinstance(request, Create):
            return self._create(policy, request) if entry is None else _again(entry, request)
        if isinstance(request, Adopt) and entry is None:
            return self._adopt(request.user, ranges)
        if entry is None:
            return Refused("user: not an account of this program")
        return self._change(entry, request)

    def complete(self) -> list[tuple[Entry, Ended]]:
        """Completes all interrupted work, or undoes it where the host has changed. Returns how each ended."""
        ended: list[tuple[Entry, Ended]] = []
        for entry in self._record.unfinished():
            try:
                ended.append((entry, self._steps[entry.state](entry)))
            except (ToolError, OSError) as error:  # the next start, or the next request, tries again
                ended.append((entry, error))
        return ended

    # --- create

    def _create(self, policy: Policy, request: Create) -> Done | Refused:
        home = policy.home_of(request.user)
        shell = request.shell or policy.shell
        entry = Entry(
            request.uid, request.user, home, shell, request.gecos, policy.create_home, "creating", request.expires,
            policy.backend,
        )  # fmt: skip
        if self._record.with_uid(request.uid) is not None:
            return Refused("uid: another account had it before")
        if reason := _foreign(entry, group_too=True) or backends.of(entry).refusal(entry):
            return Refused(reason)
        if host.is_member(request.user, request.uid):  # of an account that is gone; the new one would get its rights
            return Refused("user: a group of this host lists this name")
        if host.home_owner(home) not in (None, request.uid):  # on a file server it may be there before
            return Refused("home: the directory belongs to somebody else")
        if not host.is_program(shell):
            return Refused("shell: not on this host")
        self._record.add(entry)
        return self._make(entry)

    def _make(self, entry: Entry) -> Done | Refused:
        try:
            return self._build(entry)
        except (ToolError, OSError):
            with suppress(ToolError, OSError):  # then the next start tries again
                self._undo(entry)
            raise

    def _build(self, entry: Entry) -> Done | Refused:
        backend = backends.of(entry)
        if _is_ours(entry) and not backend.is_whole(entry):
            backend.discard(entry)
        if not _is_ours(entry):
            if reason := _foreign(entry, group_too=not backend.has_group(entry)):
                self._undo(entry)
                return Refused(reason)
            backend.make(entry)
        if entry.make_home:
            host.restore_context(entry.home)
        self._record.change(entry.uid, "created")
        return Done(entry.uid, entry.home, entry.shell)

    def _undo(self, entry: Entry) -> None:
        """Leaves nothing of an account that could not be made. What somebody else made meanwhile stays."""
        backends.of(entry).discard(entry)
        backends.of(entry).remove_group(entry)
        self._record.forget(entry.uid)

    # --- adopt

    def _adopt(self, user: str, ranges: list[tuple[int, int]]) -> Done | Refused:
        found = host.user(user)
        if found is None:
            return Refused("user: not in /etc/passwd")
        if reason := refusal_of_uid(found.uid, ranges):
            return Refused(reason)
        if host.names(found.uid) - {user}:  # to lock the one account would end the processes of the other
            return Refused("uid: another account has it too")
        other = self._record.with_uid(found.uid)
        if other is not None and other.state != "removed":
            return Refused(f"uid: it was the uid of {other.user}: remove that account first")
        self._record.add(Entry(found.uid, user, found.home, found.shell, "", make_home=False, state="created"))
        return Done(found.uid, found.home, found.shell)

    # --- changes of an account

    def _change(self, entry: Entry, request: Request) -> Done | Refused:
        if not _is_ours(entry) and not isinstance(request, Remove):
            return Refused(REPLACED)
        match request:
            case Groups():
                return self._groups(entry, request)
            case Lock():
                return self._close(entry, request)
            case Unlock() if entry.state == "locked" or request.expires is not None:
                expires = entry.expires if request.expires is None else request.expires
                self._record.change(entry.uid, "unlocking", expires)
            case Remove():
                if _is_ours(entry) and sessions.running(entry.user, entry.uid):
                    return Refused("user: processes of this account are running")
                self._record.change(entry.uid, "removing")
            case _:
                return _done(entry)
        changed = self._record.with_uid(entry.uid) or entry
        return self._steps[changed.state](changed)

    def _close(self, entry: Entry, request: Lock) -> Done | Refused:
        """Locks the account, and ends its processes. If these go on, the account is locked nevertheless."""
        expires = backends.of(entry).expires(entry) or ""
        if entry.state == "created" or expires != NO_LOGIN:
            self._record.change(entry.uid, "locking", expires)
            self._lock(replace(entry, expires=expires))
        if request.keep_sessions:
            return _done(entry)
        if host.names(entry.uid) - {entry.user}:
            return Refused("sessions: another account has the same uid, so its processes go on")
        if not sessions.end(entry.user, entry.uid):
            return Refused("sessions: some processes of the account go on")
        return _done(entry)

    def _groups(self, entry: Entry, request: Groups) -> Done | Refused:
        """Adds groups, and removes those that this program added. Other memberships stay as they are."""
        if any(not host.gid(name) for name in request.add):  # also refuses the gid 0
            return Refused("groups: a group is not on this host")
        backend = backends.of(entry)
        for name in request.add:
            if not backend.is_member(entry, name):
                self._record.add_membership(entry.uid, name)
                backend.add_member(entry, name)
        for name in self._record.memberships(entry.uid) & set(request.remove):
            if backend.is_member(entry, name):
                backend.remove_member(entry, name)
            self._record.drop_membership(entry.uid, name)
        return _done(entry)

    def _lock(self, entry: Entry) -> Done | Refused:
        return self._expire(entry, NO_LOGIN, "locked", entry.expires)

    def _unlock(self, entry: Entry) -> Done | Refused:
        return self._expire(entry, entry.expires, "created", "")

    def _expire(self, entry: Entry, day: str, state: str, day_before: str) -> Done | Refused:
        ours = _is_ours(entry)  # after a crash, another account may have the name
        if ours:
            backends.of(entry).set_expires(entry, day)
        self._record.change(entry.uid, state, day_before)
        return _done(entry) if ours else Refused(REPLACED)

    def _remove(self, entry: Entry) -> Done | Refused:
        done = _done(entry)
        backends.of(entry).remove(entry)
        backends.of(entry).remove_group(entry)
        for name in self._record.memberships(entry.uid):
            self._record.drop_membership(entry.uid, name)
        self._record.change(entry.uid, "removed")
        return done


def _again(entry: Entry, request: Create) -> Done | Refused:
    """Answers a second `create`: the answer to the first may have been lost."""
    if entry.uid != request.uid:
        return Refused("user: this account has another uid")
    if not _is_ours(entry):
        return Refused(REPLACED)
    return _done(entry)


def _foreign(entry: Entry, *, group_too: bool) -> str:
    """Returns why the name or the uid is somebody else's, or an empty text."""
    if host.knows_user(entry.user) or (group_too and host.knows_group(entry.user)):
        return "user: an account or a group has this name"
    if host.knows_uid(entry.uid) or (group_too and host.knows_gid(entry.uid)):
        return "uid: an account or a group has this number"
    return ""


def _is_ours(entry: Entry) -> bool:
    return backends.of(entry).user(entry) is not None


def _done(entry: Entry) -> Done:
    """Returns the account as the host has it now: its person or an operator may have changed shell and home."""
    found = backends.of(entry).user(entry)
    return Done(entry.uid, found.home, found.shell) if found else Done(entry.uid, entry.home, entry.shell)
