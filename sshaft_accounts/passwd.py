"""Keeps accounts in /etc/passwd, /etc/shadow and /etc/group, with the programs of the package passwd (shadow-utils)."""

from sshaft_accounts import host
from sshaft_accounts.host import ToolError, User
from sshaft_accounts.record import Entry


def user(entry: Entry) -> User | None:
    """Returns the account as /etc/passwd has it now, or None if nobody or somebody else has the name there."""
    found = host.user(entry.user)
    return found if found and found.uid == entry.uid else None


def has_group(entry: Entry) -> bool:
    """Whether the group of the account is in /etc/group."""
    return host.gid(entry.user) == entry.uid


def refusal(_entry: Entry) -> str:
    """Returns why this backend cannot keep a new account, or an empty text."""
    return ""


def is_whole(entry: Entry) -> bool:
    """Whether useradd finished its work: it writes passwd, then shadow, and makes the home directory."""
    home = not entry.make_home or host.home_owner(entry.home) == entry.uid
    return host.expires(entry.user) is not None and home


def make(entry: Entry) -> None:
    """Makes group, account and home directory. Neither name nor uid is in use, except for the group."""
    number = str(entry.uid)
    remove_group(entry)  # groupadd was perhaps killed between /etc/group and /etc/gshadow
    host.run("groupadd", "--gid", number, "--", entry.user)
    home = "--create-home" if entry.make_home else "--no-create-home"
    words = ["--uid", number, "--gid", number, "--home-dir", entry.home, home, "--shell", entry.shell]
    words += ["--expiredate", entry.expires]
    # "*": no password opens the account, and sshd does not take it for a locked one
    host.run("useradd", *words, "--password", "*", "--comment", entry.gecos, "--", entry.user)
    if not is_whole(entry):
        raise ToolError("useradd: the account has no line in /etc/shadow, or not its home directory")


def discard(entry: Entry) -> None:
    """Removes an account that is not whole, and its home directory if it is empty and was not given to it yet."""
    if user(entry) is not None:
        remove(entry)
        host.remove_half_made_home(entry.home)


def remove(entry: Entry) -> None:
    """Removes the account. Its home directory stays."""
    if user(entry) is not None:
        host.run("userdel", "--", entry.user)  # without --remove


def remove_group(entry: Entry) -> None:
    """Removes the group of the account, unless others use it: userdel(8) leaves such a group too."""
    if has_group(entry) and not host.is_primary(entry.uid) and not host.members(entry.user):
        host.run("groupdel", "--", entry.user)


def expires(entry: Entry) -> str | None:
    """Returns the first day on which the account is closed, in days since 1970 (empty: never), or None if unknown."""
    return host.expires(entry.user)


def set_expires(entry: Entry, day: str) -> None:
    """Sets the first day on which the account is closed, in days since 1970 (empty: never)."""
    host.run("usermod", "--expiredate", day, "--", entry.user)


def is_member(entry: Entry, group: str) -> bool:
    """Whether the group lists the account."""
    return entry.user in host.members(group)


def add_member(entry: Entry, group: str) -> None:
    """Adds the account to a group."""
    host.run("gpasswd", "--add", entry.user, "--", group)


def remove_member(entry: Entry, group: str) -> None:
    """Takes the account out of a group that lists it."""
    host.run("gpasswd", "--delete", entry.user, "--", group)
