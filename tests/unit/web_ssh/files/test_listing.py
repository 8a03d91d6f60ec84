"""Tests what the list of a folder says."""

import asyncio
import os
from pathlib import Path

import pytest
from fakes.ssh_host import sftp_host

from sshaft_web.files.errors import FileError
from sshaft_web.files.listing import Entry, Listing, list_folder
from sshaft_web.files.names import unquoted
from sshaft_web.files.sftp import Sftp


def listed(folder: Path, path: bytes = b"/", limit: int = 100) -> Listing:
    async def ask() -> Listing:
        async with sftp_host(folder) as connection:
            return await list_folder(Sftp(connection), path, limit)

    return asyncio.run(ask())


def test_folders_come_first_and_files_have_size_and_time(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_bytes(b"12345")
    os.utime(tmp_path / "b.txt", (1000, 1000))
    (tmp_path / "A.txt").write_bytes(b"")
    (tmp_path / "zoo").mkdir()
    found = listed(tmp_path)
    assert [each.name for each in found.entries] == [b"zoo", b"A.txt", b"b.txt"]
    assert found.entries[2] == Entry(b"b.txt", "file", 5, 1000)
    assert found.entries[0].kind == "folder"
    assert (found.path, found.more, found.strange) == (b"/", False, 0)


def test_an_empty_path_is_the_home_folder(tmp_path: Path) -> None:
    assert listed(tmp_path, b"").path == b"/"


def test_a_path_is_made_absolute(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert listed(tmp_path, b"/a/b/../b/.").path == b"/a/b"


def test_links_are_shown_as_links_with_their_targets(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"123")
    (tmp_path / "folder").mkdir()
    for name, target in {"to-file": "file", "to-folder": "folder", "broken": "missing", "circle": "circle"}.items():
        (tmp_path / name).symlink_to(target)
    links = {each.name: (each.target, each.size) for each in listed(tmp_path).entries if each.kind == "link"}
    expected = {b"to-file": ("file", 3), b"to-folder": ("folder", None), b"broken": (None, None)}
    assert links == expected | {b"circle": (None, None)}


def test_a_fifo_is_neither_file_nor_folder(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert listed(tmp_path).entries[0] == Entry(b"fifo", "other", None, int((tmp_path / "fifo").stat().st_mtime))


@pytest.mark.parametrize("name", [b"\xff\xfe", b"a\nb", b"\x1b[2J", "a\u202eb".encode(), b"x" * 255, b"-", b"a\\b"])
def test_a_strange_name_leads_to_its_file(tmp_path: Path, name: bytes) -> None:
    folder = os.fsencode(tmp_path) + b"/" + name
    os.mkdir(folder)  # noqa: PTH102 - a Path cannot be made of bytes
    open(folder + b"/inside", "wb").close()  # noqa: PTH123
    shown = listed(tmp_path).as_json()
    (entry,) = shown["entries"]  # type: ignore[misc]
    assert entry["name"].isprintable()
    found = listed(tmp_path, b"/" + (unquoted(entry["at"]) or b""))
    assert [each.name for each in found.entries] == [b"inside"]


@pytest.mark.parametrize(("limit", "more"), [(3, True), (4, False)])
def test_a_huge_folder_is_cut(tmp_path: Path, limit: int, more: bool) -> None:
    for number in range(4):
        (tmp_path / str(number)).touch()
    found = listed(tmp_path, limit=limit)
    assert found.more == more
    assert len(found.entries) == limit


@pytest.mark.parametrize(
    ("path", "code"), [(b"/missing", "no_such_file"), (b"/file", "not_a_folder"), (b"/file/x", "not_a_folder")]
)
def test_what_is_no_folder_is_refused(tmp_path: Path, path: bytes, code: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileError) as error:
        listed(tmp_path, path)
    assert error.value.code in (code, "no_such_file")
