"""Finds accounts that could replace a file: checks the file, every folder above it and every link on the way.

The rule is OpenSSH's (misc.c safe_path): root, or an account that the file is for, must own the file. Group and others
must not be able to write, even with a sticky bit. Debian's sshd applies the rule less strictly.
"""

import os
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from sshaft_doctor.accounts import Account
from sshaft_doctor.findings import Finding, error, needs_root

_MAX_LINKS = 40
_HIERARCHY = ("/", "/home", "/usr", "/usr/local", "/var")
"""Their folders belong to the system or to people: /root, /home/alice, /usr/local/bin."""
ROOT = frozenset({0})


@dataclass(frozen=True)
class Part:
    """A file or folder, and its owner and mode."""

    path: Path
    uid: int
    gid: int
    mode: int

    def unsafe(self, trusted: Collection[int]) -> str:
        """Returns the reasons why it is not safe, or an empty string."""
        reasons = []
        if self.uid not in trusted:
            reasons.append(f"belongs to uid {self.uid}")
        if self.mode & 0o022:
            writers = {0o020: "its group", 0o002: "everybody", 0o022: "its group and everybody"}[self.mode & 0o022]
            reasons.append(f"is writable by {writers} (mode {stat.S_IMODE(self.mode):04o})")
        return " and ".join(reasons)

    @property
    def is_shared(self) -> bool:
        """Whether others use this folder too. Its mode must not change for sshaft."""
        if not stat.S_ISDIR(self.mode) or "sshaft" in self.path.name:
            return False
        return str(self.path.parent) in _HIERARCHY or bool(self.mode & stat.S_ISVTX)

    def remedy(self, trusted: Collection[int]) -> str:
        if self.is_shared:
            return _elsewhere(self.path, "that only root can change")
        commands = []
        if self.uid not in trusted:
            commands.append(f"chown root {self.path}")
        if self.mode & 0o022:
            commands.append(f"chmod go-w {self.path}")
        return " && ".join(commands)

    def lets(self, account: Account, bits: int) -> bool:
        """Whether the mode lets the account do `bits` (4 read, 2 write, 1 enter or execute)."""
        if account.uid == 0:
            return bool(bits & 6) or stat.S_ISDIR(self.mode) or bool(self.mode & 0o111)
        shift = 6 if self.uid == account.uid else 3 if self.gid in account.groups else 0
        return (self.mode >> shift) & bits == bits


def _elsewhere(shared: Path, which: str) -> str:
    return f"others use {shared} too: do not change it; move the file into folders {which}"


def part(path: Path) -> Part:
    status = path.lstat()
    return Part(path, status.st_uid, status.st_gid, status.st_mode)


def walk(path: Path) -> list[Part]:
    """Returns every folder on the way to `path`, with links followed, and the file at the end. Raises `OSError`."""
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
            if links > _MAX_LINKS:
                raise OSError(40, "Too many levels of symbolic links")
            target = Path(os.readlink(found.path))  # noqa: PTH115 - as text: `..` in it counts from here
            here = Path("/") if target.is_absolute() else here
            rest += reversed(target.parts[1:] if target.is_absolute() else target.parts)
            continue
        here = found.path
        # moved to the end, because the file must be the last part
        passed.pop(here, None)
        passed[here] = found
    return list(passed.values())


def examine(check: str, path: Path, trusted: Collection[int] = ROOT) -> list[Finding]:
    """Returns a finding for each part that another account could change, or one that says why the check failed."""
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
    """Examines all files of a folder and follows links. Returns `limit` findings, and one with the number of others."""
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
                    # the target of a link counts, with the way to it; a link to nowhere loads nothing
                    yield from walk(found.path)
                else:
                    yield found
            except OSError:
                continue  # removed meanwhile, or closed to this process: then `examine` has reported its folder


def reach(check: str, path: Path, account: Account, bits: int, remedy: str = "") -> list[Finding]:
    """Returns a finding if the account cannot get to `path`, or cannot do `bits` there."""
    try:
        parts = walk(path)
    except OSError:
        return []  # `examine` reports it
    for each in parts[:-1] if len(parts) > 1 else parts:
        if not each.lets(account, 1):
            what = f"{account.name} can't enter {each.path} (mode {stat.S_IMODE(each.mode):04o})"
            return [error(check, what, str(each.path), remedy or _open(each, account, "x"))]
    if not parts[-1].lets(account, bits):
        verb = {1: "run", 4: "read", 5: "read and run", 2: "write to", 6: "use"}[bits]
        what = f"{account.name} can't {verb} {parts[-1].path} (mode {stat.S_IMODE(parts[-1].mode):04o})"
        letters = "".join(letter for bit, letter in ((4, "r"), (2, "w"), (1, "x")) if bits & bit)
        return [error(check, what, str(parts[-1].path), remedy or _open(parts[-1], account, letters))]
    return []


def _open(found: Part, account: Account, letters: str) -> str:
    """Returns the remedy that gives an account these rights."""
    if found.is_shared:
        return _elsewhere(found.path, f"that {account.name} can enter")
    return f"chmod o+{letters} {found.path}"
