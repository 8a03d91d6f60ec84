"""Keeps accounts as JSON records in /etc/userdb, which libnss-systemd reads. /etc/passwd and /etc/group do not change.

The functions are those of `passwd.py`. See the User/Group Record Lookup API (https://systemd.io/USER_GROUP_API/) and
https://systemd.io/USER_RECORD/. The account is there from the moment that NAME.user is there.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from sshaft_accounts import host
from sshaft_accounts.host import ToolError, User
from sshaft_accounts.record import Entry

FOLDER = host.ETC / "userdb"
NEW = FOLDER / ".sshaft-new"  # not the name of a record
SKEL = host.ETC / "skel"
# Other folders that libnss-systemd reads
OTHERS = tuple(map(Path, ("/run/userdb", "/run/host/userdb", "/usr/local/lib/userdb", "/usr/lib/userdb")))
OUR_KINDS = ("group", "user", "user-privileged")
KINDS = (*OUR_KINDS, "group-privileged")
DAY = 86_400_000_000  # microseconds


def user(entry: Entry) -> User | None:
    found = _own_record(entry)
    if found is None or host.user(entry.user) is not None:  # the line of /etc/passwd counts, and it is an operator's
        return None
    return User(entry.uid, str(found.get("homeDirectory", "")), str(found.get("shell", "")))


def has_group(entry: Entry) -> bool:
    found = _read(_path(entry, "group"))
    return found is not None and found.get("gid") == entry.uid


def refusal(entry: Entry) -> str:
    """Returns why the account cannot be made, or an empty text.

    A file that is left over would give the new account its password, or groups, or members of its group.
    """
    if FOLDER.exists() and not host.only_root_writes(FOLDER.stat()):
        return f"backend: {FOLDER} must belong to root, and nobody else may write there"
    for path in (path for folder in (FOLDER, *OTHERS) for path in folder.glob("*")):
        name, _, kind = path.name.rpartition(".")
        if kind in KINDS and name == str(entry.uid):
            return f"uid: {path} is there already"
        if (kind in KINDS and name == entry.user) or (kind == "membership" and entry.user in name.split(":")):
            return f"user: {path} is there already"
    return ""


def is_whole(entry: Entry) -> bool:
    """Whether `make` finished its work."""
    whole = has_group(entry) and all(_path(entry, kind).is_file() and _link_is_ours(entry, kind) for kind in OUR_KINDS)
    return whole and (not entry.make_home or host.home_owner(entry.home) == entry.uid)


def make(entry: Entry) -> None:
    if not FOLDER.exists():
        FOLDER.mkdir()
        FOLDER.chmod(0o755)
        _sync(FOLDER.parent)
    for kind, own in (("group", has_group(entry)), ("user", _own_record(entry) is not None)):
        if os.path.lexists(_path(entry, kind)) and not own:
            raise ToolError(f"userdb: {_path(entry, kind)} is somebody else's")
    _write(_path(entry, "group"), {"groupName": entry.user, "gid": entry.uid, "disposition": "regular"})
    _write(_path(entry, "user"), _record_of(entry))
    # "*": no password opens the account, and sshd does not take it for a locked one
    _write(_path(entry, "user-privileged"), {"privileged": {"hashedPassword": ["*"]}}, mode=0o600)
    for kind in OUR_KINDS:
        _link(entry, kind).unlink(missing_ok=True)
        _link(entry, kind).symlink_to(_path(entry, kind).name)
    _settle()
    _check_host_sees(entry)
    if entry.make_home and host.home_owner(entry.home) is None:
        _make_home(entry)


def _record_of(entry: Entry) -> dict[str, Any]:
    real_name = {"realName": entry.gecos} if entry.gecos else {}
    members = {"uid": entry.uid, "gid": entry.uid, "homeDirectory": entry.home, "shell": entry.shell}
    return {"userName": entry.user, **real_name, **members, **_end(entry.expires), "disposition": "regular"}


def _end(day: str) -> dict[str, int]:
    """Returns the member of a record that closes the account."""
    return {"notAfterUSec": int(day) * DAY} if day else {}


def _check_host_sees(entry: Entry) -> None:
    """Raises `ToolError` if sshd or PAM would not find the account, or would find another one."""
    if not host.sees(entry.user, entry.uid):
        lines = "the lines passwd, group and shadow of /etc/nsswitch.conf need systemd after files"
        raise ToolError(f"backend: the host does not find what is in {FOLDER}: install libnss-systemd; {lines}")


def discard(entry: Entry) -> None:
    remove(entry)
    NEW.unlink(missing_ok=True)
    _discard_new_home(entry)


def remove(entry: Entry) -> None:
    _remove_links(entry, "user", "user-privileged")
    if _own_record(entry) is not None or not _path(entry, "user").exists():
        for path in FOLDER.glob(f"{entry.user}:*.membership"):
            path.unlink()
        _path(entry, "user-privileged").unlink(missing_ok=True)
        _path(entry, "user").unlink(missing_ok=True)
    _settle()


def remove_group(entry: Entry) -> None:
    if has_group(entry) and not host.is_primary(entry.uid):
        _remove_links(entry, "group")
        _path(entry, "group").unlink()
        _settle()


def expires(entry: Entry) -> str | None:
    found = _own_record(entry)
    if found is None:
        return None
    end = found.get("notAfterUSec")
    return str(end // DAY) if isinstance(end, int) else ""


def set_expires(entry: Entry, day: str) -> None:
    found = _own_record(entry)
    if found is None:
        raise ToolError(f"userdb: {_path(entry, 'user')} is gone")
    found.pop("notAfterUSec", None)
    _write(_path(entry, "user"), {**found, **_end(day)})
    _settle()


def is_member(entry: Entry, group: str) -> bool:
    return _membership(entry, group).is_file()


def add_member(entry: Entry, group: str) -> None:
    _write(_membership(entry, group), {})
    _settle()


def remove_member(entry: Entry, group: str) -> None:
    _membership(entry, group).unlink()
    _settle()


# --- files


def _path(entry: Entry, kind: str) -> Path:
    return FOLDER / f"{entry.user}.{kind}"


def _membership(entry: Entry, group: str) -> Path:
    return FOLDER / f"{entry.user}:{group}.membership"


def _link(entry: Entry, kind: str) -> Path:
    """Returns the file by which the account or its group is found by its number."""
    return FOLDER / f"{entry.uid}.{kind}"


def _link_is_ours(entry: Entry, kind: str) -> bool:
    link = _link(entry, kind)
    return link.is_symlink() and str(link.readlink()) == _path(entry, kind).name


def _remove_links(entry: Entry, *kinds: str) -> None:
    for kind in kinds:
        if _link_is_ours(entry, kind):
            _link(entry, kind).unlink()


def _own_record(entry: Entry) -> dict[str, Any] | None:
    """Returns the record of the account, or None if it is gone or somebody else's."""
    found = _read(_path(entry, "user"))
    return found if found is not None and found.get("uid") == entry.uid else None


def _read(path: Path) -> dict[str, Any] | None:
    """Returns a record, or None if the file is missing or no JSON object. libnss-systemd ignores such a file, too."""
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _write(path: Path, record: dict[str, Any], mode: int = 0o644) -> None:
    """Puts a record at its place in one step: a reader finds the old one or the whole new one."""
    NEW.unlink(missing_ok=True)
    try:
        with NEW.open("x", encoding="utf-8") as file:
            os.fchmod(file.fileno(), mode)
            json.dump(record, file, ensure_ascii=False, indent=4)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        NEW.replace(path)
    finally:
        NEW.unlink(missing_ok=True)


def _settle() -> None:
    """Puts the names of the folder on the disk, and ends what a cache says of them."""
    if FOLDER.exists():
        _sync(FOLDER)
    host.forget_names()


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- the home directory


def _new_home(entry: Entry) -> Path:
    return Path(entry.home).with_name(f".{entry.user}.sshaft-new")


def _discard_new_home(entry: Entry) -> None:
    if os.path.lexists(_new_home(entry)):
        shutil.rmtree(_new_home(entry))


def _make_home(entry: Entry) -> None:
    """Makes the home directory, as useradd does. It gets its name when it is whole."""
    new = _new_home(entry)
    _discard_new_home(entry)
    new.mkdir(mode=0o700)
    if SKEL.is_dir():
        shutil.copytree(SKEL, new, symlinks=True, dirs_exist_ok=True, copy_function=shutil.copy)
    new.chmod(0o700)
    for folder, names, files in os.walk(new):
        for name in (*names, *files):
            os.lchown(Path(folder) / name, entry.uid, entry.uid)
    os.chown(new, entry.uid, entry.uid)
    new.rename(entry.home)
