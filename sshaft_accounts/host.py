"""Reads the accounts of the host, and runs its programs. `passwd.py` and `userdb.py` change accounts with it."""

import contextlib
import grp
import os
import pwd
import re
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SEARCH_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
SECONDS = 120  # useradd waits 15 seconds for a lock
ETC = Path("/etc")


class ToolError(Exception):
    """A program did not do its work. The text is fit for a log."""


@dataclass(frozen=True)
class User:
    """What a line of /etc/passwd says of an account."""

    uid: int
    home: str
    shell: str


def user(name: str) -> User | None:
    """Returns the account in /etc/passwd. Other sources of names are left out: they have no accounts of ours."""
    for line in _lines("passwd"):
        if line[0] == name and len(line) == 7:
            return User(int(line[2]), line[5], line[6])
    return None


def names(uid: int) -> set[str]:
    """Returns the accounts with this uid: all of /etc/passwd, and the first that any source of names knows."""
    found = {line[0] for line in _lines("passwd") if len(line) == 7 and line[2].isdecimal() and int(line[2]) == uid}
    with contextlib.suppress(KeyError):
        found.add(pwd.getpwuid(uid).pw_name)
    return found


def gid(group: str) -> int | None:
    """Returns the gid of a group in /etc/group."""
    return next((int(line[2]) for line in _lines("group") if line[0] == group and len(line) == 4), None)


def is_primary(gid: int) -> bool:
    """Whether an account in /etc/passwd has this group as its primary group."""
    return any(line[3] == str(gid) for line in _lines("passwd") if len(line) == 7)


def members(group: str) -> set[str]:
    """Returns the members of a group in /etc/group, without those whose primary group it is."""
    return {name for line in _lines("group") if line[0] == group for name in _members(line)}


def is_member(name: str, gid: int) -> bool:
    """Whether /etc/group lists this name, or a login with the primary group `gid` would get more groups."""
    return any(name in _members(line) for line in _lines("group")) or set(os.getgrouplist(name, gid)) != {gid}


def expires(name: str) -> str | None:
    """Returns the expiry of an account as /etc/shadow has it (days), or None if the account has no line there."""
    return next((line[7] for line in _lines("shadow") if line[0] == name and len(line) == 9), None)


def sub_ids() -> list[tuple[int, int]]:
    """Returns the ranges that user namespaces may use."""
    return [(first, last) for name in ("subuid", "subgid") for _, first, last in _sub_ids(name)]


def owners_of_sub_uid(uid: int) -> set[str]:
    """Returns whose user namespaces may use this uid: names and uids, as /etc/subuid has them."""
    return {owner for owner, first, last in _sub_ids("subuid") if first <= uid <= last}


def _sub_ids(name: str) -> Iterator[tuple[str, int, int]]:
    """Yields owner, first and last number. newuidmap(1), too, ignores a line without two numbers."""
    for line in _lines(name):
        if len(line) == 3 and re.fullmatch(r"[0-9]+:[0-9]+", ":".join(line[1:])):
            yield line[0], int(line[1]), int(line[1]) + int(line[2]) - 1


def knows_user(name: str) -> bool:
    """Whether any source of names knows an account with this name."""
    return _found(pwd.getpwnam, name)


def knows_uid(uid: int) -> bool:
    """Whether any source of names knows an account with this uid."""
    return _found(pwd.getpwuid, uid)


def knows_group(name: str) -> bool:
    """Whether any source of names knows a group with this name."""
    return _found(grp.getgrnam, name)


def knows_gid(gid: int) -> bool:
    """Whether any source of names knows a group with this gid."""
    return _found(grp.getgrgid, gid)


def sees(name: str, uid: int) -> bool:
    """Whether sshd and PAM find the account and its group under this name, and this number, and no others."""
    try:
        found = (
            pwd.getpwnam(name).pw_uid,
            pwd.getpwuid(uid).pw_name,
            grp.getgrnam(name).gr_gid,
            grp.getgrgid(uid).gr_name,
        )
        run("getent", "shadow", "--", name)
    except (KeyError, ToolError):
        return False
    return found == (uid, name, uid, name)


def forget_names() -> None:
    """Empties the caches of nscd(8), if it runs, as useradd does. It may know that a new name is unknown."""
    for database in ("passwd", "group"):
        with contextlib.suppress(ToolError):  # it is not installed, or does not run
            run("nscd", f"--invalidate={database}")


def is_program(path: str) -> bool:
    """Whether a shell, for example, is on this host."""
    return Path(path).is_file() and os.access(path, os.X_OK)


def home_owner(home: str) -> int | None:
    """Returns the uid that the home directory belongs to, -1 for another kind of file, or None if nothing is there."""
    try:
        status = os.lstat(home)
    except FileNotFoundError:
        return None
    return status.st_uid if stat.S_ISDIR(status.st_mode) else -1


def remove_half_made_home(home: str) -> None:
    """Removes a directory that useradd made and did not give to the user yet. Other directories stay."""
    if home_owner(home) == 0:
        with contextlib.suppress(OSError):  # it is not empty
            Path(home).rmdir()


def run(program: str, *arguments: str) -> None:
    """Runs a program without a shell and without our environment. Raises `ToolError` if it is missing or fails."""
    path = shutil.which(program, path=SEARCH_PATH)
    if path is None:
        raise ToolError(f"{program}: not found in {SEARCH_PATH}")
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments and checked names
            [path, *arguments],
            env={"PATH": SEARCH_PATH},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd="/",
            umask=0o022,
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolError(f"{program}: {error}") from None
    if done.returncode != 0:
        raise ToolError(f"{program}: status {done.returncode}: {done.stderr[-300:].decode('ascii', 'replace')!a}")


def only_root_writes(status: os.stat_result) -> bool:
    """Whether a file or folder belongs to root, and nobody else may write there. Tests: to the user who runs them."""
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def restore_context(path: str) -> None:
    """Restores the SELinux context of a new home directory, where SELinux is in use."""
    if Path("/sys/fs/selinux/enforce").exists() and shutil.which("restorecon", path=SEARCH_PATH):
        run("restorecon", "-R", "--", path)


def _found(look_up: Callable[[Any], object], key: object) -> bool:
    try:
        look_up(key)
    except KeyError:
        return False
    return True


def _members(line: list[str]) -> list[str]:
    return [name for name in line[3].split(",") if name] if len(line) == 4 else []


def _lines(name: str) -> Iterator[list[str]]:
    try:
        text = (ETC / name).read_text("utf-8", "surrogateescape")
    except FileNotFoundError:
        return
    for line in text.split("\n"):
        if line:
            yield line.split(":")
