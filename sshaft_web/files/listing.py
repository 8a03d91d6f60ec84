"""Lists a folder of the host: names, sizes, times and types, up to a limit."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Literal, cast

import asyncssh
from asyncssh.constants import FILEXFER_TYPE_DIRECTORY, FILEXFER_TYPE_REGULAR, FILEXFER_TYPE_SYMLINK

from sshaft_web.files import errors
from sshaft_web.files.errors import FileError
from sshaft_web.files.names import MAX_PATH_BYTES, is_foreign_name, joined, quoted, shown
from sshaft_web.files.sftp import Sftp

MAX_ENTRIES = 5000
MAX_NAMES_BYTES = 512 * 1024
_LINKS_AT_ONCE = 16
_LAST_TIME = 1 << 36
"""Seconds since 1970, in the year 4147. A later time is a lie of the host."""

Kind = Literal["file", "folder", "link", "other"]
_KINDS: dict[int, Kind] = {
    FILEXFER_TYPE_REGULAR: "file",
    FILEXFER_TYPE_DIRECTORY: "folder",
    FILEXFER_TYPE_SYMLINK: "link",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a folder. `target` is what a symbolic link leads to, or None for a broken link."""

    name: bytes
    kind: Kind
    size: int | None
    modified: int | None
    target: Kind | None = None

    def as_json(self) -> dict[str, object]:
        facts: dict[str, object] = {"name": shown(self.name), "at": quoted(self.name), "type": self.kind}
        return facts | {"size": self.size, "modified": self.modified, "target": self.target}


@dataclass(frozen=True, slots=True)
class Listing:
    """A folder. `more`: the folder has more entries than are listed. `strange` names are impossible on any system."""

    path: bytes
    entries: tuple[Entry, ...]
    more: bool
    strange: int

    def as_json(self) -> dict[str, object]:
        entries = [entry.as_json() for entry in self.entries]
        own = {"path": shown(self.path), "at": quoted(self.path), "entries": entries}
        return own | {"more": self.more, "strange": self.strange}


async def list_folder(sftp: Sftp, path: bytes, limit: int = MAX_ENTRIES) -> Listing:
    """Returns the folder at `path`, or the home folder for an empty path. Raises `FileError`."""
    absolute = await sftp.ask(lambda client: client.realpath(path or b"."), path)
    if not absolute.startswith(b"/") or len(absolute) > MAX_PATH_BYTES or b"\0" in absolute:
        raise errors.strange_host()
    try:
        listing = await sftp.ask(lambda client: _read(client, absolute, limit), absolute)
    except FileError as error:
        raise await _clearer(error, sftp, absolute) from error
    entries = await sftp.ask(lambda client: _with_targets(client, absolute, listing.entries), absolute)
    return replace(listing, entries=entries)


async def _read(client: asyncssh.SFTPClient, path: bytes, limit: int) -> Listing:
    found: list[Entry] = []
    strange = names_bytes = 0
    more = False
    entries = cast("AsyncGenerator[asyncssh.SFTPName, None]", client.scandir(path))
    async with aclosing(entries) as names:
        async for each in names:
            name = cast("bytes", each.filename)
            if name in (b".", b".."):
                continue
            names_bytes += len(name)
            more = len(found) + strange >= limit or names_bytes > MAX_NAMES_BYTES
            if more:
                break
            if is_foreign_name(name):
                found.append(_entry(name, each.attrs))
            else:
                strange += 1
    found.sort(key=lambda entry: (entry.kind != "folder", entry.name.lower()))
    return Listing(path, tuple(found), more, strange)


def _entry(name: bytes, attributes: asyncssh.SFTPAttrs) -> Entry:
    kind = kind_of(attributes)
    size = attributes.size if kind == "file" else None
    return Entry(name, kind, size, modified_of(attributes))


def kind_of(attributes: asyncssh.SFTPAttrs) -> Kind:
    return _KINDS.get(attributes.type, "other")


def modified_of(attributes: asyncssh.SFTPAttrs) -> int | None:
    return attributes.mtime if attributes.mtime is not None and attributes.mtime < _LAST_TIME else None


async def _clearer(error: FileError, sftp: Sftp, path: bytes) -> FileError:
    """Returns "not a folder" if that is the reason: version 3 of SFTP has no code for it."""
    if error.code != errors.HOST_FAILED:
        return error
    kind = kind_of(await sftp.ask(lambda client: client.stat(path), path))
    return error if kind == "folder" else errors.not_a_folder(path)


async def _with_targets(client: asyncssh.SFTPClient, folder: bytes, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """Returns the entries with the targets of their links."""
    slots = asyncio.Semaphore(_LINKS_AT_ONCE)

    async def resolved(entry: Entry) -> Entry:
        if entry.kind != "link":
            return entry
        async with slots:
            try:
                attributes = await client.stat(joined(folder, entry.name))
            except asyncssh.SFTPError:
                return entry  # the link is broken, leads in a circle, or leads into a closed folder
        kind = kind_of(attributes)
        return replace(entry, target=kind, size=attributes.size if kind == "file" else None)

    return tuple(await asyncio.gather(*map(resolved, entries)))
