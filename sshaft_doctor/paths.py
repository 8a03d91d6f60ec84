"""Who could put something else in the place of a file: the file itself, every folder above it, and behind every link.

The rule is upstream's (misc.c safe_path), which Debian's sshd applies less strictly: owned by root (or by an account
that the file is for), and not writable by group or others. A sticky bit is no excuse.
"""

import os
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from sshaft_doctor.accounts import Account
from sshaft_doctor.findings import Finding, error, needs_root

MAX_LINKS = 40
ROOT = frozenset({0})


@dataclass(frozen=True)
class Part:
    """One file or folder as it was found."""

    path: Path
    uid: int
    gid: int
    mode: int

    def unsafe(self, trusted: Collection[int]) -> str:
        """Why it is not safe, or ""."""
        reasons = []
        if self.uid not in trusted:
            reasons.append(f"belongs to uid {self.uid}")
        if self.mode & 0o022:
            who = {0o020: "its group", 0o002: "everybody", 0o022: "its group and everybody"}[self.mode & 0o022]
            reasons.append(f"is writable by {who} (mode {stat.S_IMODE(self.mode):04o})")
        return " and ".join(reasons)

    def remedy(self, trusted: Collection[int]) -> str:
        commands = []
        if self.uid not in trusted:
            commands.append(f"chown root {self.path}")
        if self.mode & 0o022:
            commands.append(f"chmod go-w {self.path}")
        return " && ".join(commands)

    def lets(self, account: Account, bits: int) -> bool:
        """Whether the account may do `bits` (4 read, 2 write, 1 enter or execute) by the mode alone; root too."""
        if account.uid == 0:
            return bool(bits & 6) or stat.S_ISDIR(self.mode) or bool(self.mode & 0o111)
        shift = 6 if self.uid == account.uid else 3 if self.gid in account.groups else 0
        return (self.mode >> shift) & bits == bits


def part(path: Path) -> Part:
    status = path.lstat()
    return Part(path, status.st_uid, status.st_gid, status.st_mode)


def walk(path: Path) -> list[Part]:
    """Every folder that is passed on the way to `path`, links followed, and at the end the file. Raises `OSError`."""
    passed = {Path("/"): part(Path("/"))}
    here, rest, links = Path("/"), list(reversed(path.absolute().parts[1:])), 0
    while rest:
        name = rest.pop()
        if name == "..":
            here = here.parent
            continue
        found = part(here / name)
        if stat.S_ISLNK(found.mode):
            links += 1
            if links > MAX_LINKS:
                raise OSError(40, "Too many levels of symbolic links")
            target = Path(os.readlink(found.path))  # noqa: PTH115 - as text: `..` in it counts from here
            here = Path("/") if target.is_absolute() else here
            rest += reversed(target.parts[1:] if target.is_absolute() else target.parts)
            continue
        here = found.path
        # moved to the end: what is reached last is the file
        passed.pop(here, None)
        passed[here] = found
    return list(passed.values())


def examine(check: str, path: Path, trusted: Collection[int] = ROOT) -> list[Finding]:
    """A finding for each part that somebody else could change, or one that says why it can't be looked at."""
    try:
        parts = walk(path)
    except PermissionError:
        return [needs_root(check, f"the way to {path}")]
    except OSError as failure:
        return [error(check, f"{path}: {failure.strerror}", str(path), "correct the path, or install what is missing")]
    return [_finding(check, each, trusted) for each in parts if each.unsafe(trusted)]


def _finding(check: str, found: Part, trusted: Collection[int]) -> Finding:
    return error(check, f"{found.path} {found.unsafe(trusted)}", str(found.path), found.remedy(trusted))


def examine_tree(check: str, directory: Path, trusted: Collection[int] = ROOT, limit: int = 3) -> list[Finding]:
    """The same for all that is in a folder, links followed: `limit` findings, and one that says how many more."""
    seen: set[Path] = set()
    unsafe = []
    for found in _tree(directory):
        if found.path in seen:
            continue
        seen.add(found.path)
        if found.unsafe(trusted):
            unsafe.append(_finding(check, found, trusted))
    if len(unsafe) <= limit:
        return unsafe
    more = error(check, f"and {len(unsafe) - limit} more in {directory}", str(directory),
                 f"chown -R root {directory} && chmod -R go-w {directory}")  # fmt: skip
    return [*unsafe[:limit], more]


def _tree(directory: Path) -> Iterator[Part]:
    for folder, folders, names in os.walk(directory, onerror=None):
        for name in [*folders, *names]:
            try:
                found = part(Path(folder) / name)
                if stat.S_ISLNK(found.mode):
                    # what a link leads to counts, with its way; a link to nowhere loads nothing
                    yield from walk(found.path)
                else:
                    yield found
            except OSError:
                continue  # gone meanwhile, or closed to us: then the way to it has said so


def reach(check: str, path: Path, account: Account, bits: int, remedy: str = "") -> list[Finding]:
    """A finding where the account can't get to `path`, or can't do `bits` there."""
    try:
        parts = walk(path)
    except OSError:
        return []  # `examine` tells that
    for each in parts[:-1] if len(parts) > 1 else parts:
        if not each.lets(account, 1):
            what = f"{account.name} can't enter {each.path} (mode {stat.S_IMODE(each.mode):04o})"
            return [error(check, what, str(each.path), remedy or f"chmod o+x {each.path}")]
    if not parts[-1].lets(account, bits):
        verb = {1: "run", 4: "read", 5: "read and run", 2: "write to", 6: "use"}[bits]
        what = f"{account.name} can't {verb} {parts[-1].path} (mode {stat.S_IMODE(parts[-1].mode):04o})"
        letters = "".join(letter for bit, letter in ((4, "r"), (2, "w"), (1, "x")) if bits & bit)
        return [error(check, what, str(parts[-1].path), remedy or f"chmod o+{letters} {parts[-1].path}")]
    return []
