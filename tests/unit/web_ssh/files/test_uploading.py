"""Tests that an upload grows beside its target and takes its place when it is complete."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from fakes.ssh_host import sftp_host

from sshaft_web.files.errors import FileError
from sshaft_web.files.names import part_name
from sshaft_web.files.sftp import Sftp
from sshaft_web.files.upload import Upload
from sshaft_web.files.uploading import BLOCK_BYTES, in_blocks, remove_part, write_chunk

CONTENT = os.urandom(BLOCK_BYTES * 20 + 17)
NUMBER = "0123456789abcdef" * 2


def upload(total: int = len(CONTENT), *, replace: bool = False, name: bytes = b"file", folder: bytes = b"/") -> Upload:
    return Upload(folder, name, NUMBER, total, replace)


async def pieces(*data: bytes | Exception) -> AsyncIterator[bytes]:
    for each in data:
        if isinstance(each, Exception):
            raise each
        yield each


def put(folder: Path, what: Upload, offset: int, *data: bytes | Exception) -> int:
    async def run() -> int:
        async with sftp_host(folder) as connection:
            return await write_chunk(Sftp(connection), what, offset, pieces(*data))

    return asyncio.run(run())


def part_in(folder: Path) -> Path:
    return folder / os.fsdecode(part_name(b"file", NUMBER))


def refusal(folder: Path, what: Upload, offset: int, *data: bytes | Exception) -> FileError:
    with pytest.raises(FileError) as error:
        put(folder, what, offset, *data)
    return error.value


def test_a_file_in_one_chunk_is_complete(tmp_path: Path) -> None:
    assert put(tmp_path, upload(), 0, CONTENT[:100], CONTENT[100:]) == len(CONTENT)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert os.listdir(tmp_path) == ["file"]  # noqa: PTH208


def test_an_empty_file_is_made(tmp_path: Path) -> None:
    assert put(tmp_path, upload(0), 0) == 0
    assert (tmp_path / "file").read_bytes() == b""


def test_nothing_is_at_the_target_before_the_last_chunk(tmp_path: Path) -> None:
    assert put(tmp_path, upload(), 0, CONTENT[:1000]) == 1000
    assert not (tmp_path / "file").exists()
    assert part_in(tmp_path).read_bytes() == CONTENT[:1000]
    assert put(tmp_path, upload(), 1000, CONTENT[1000:]) == len(CONTENT)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_an_interrupted_chunk_is_sent_again(tmp_path: Path) -> None:
    put(tmp_path, upload(), 0, CONTENT[:1000])
    with pytest.raises(ConnectionResetError):
        put(tmp_path, upload(), 1000, CONTENT[1000 : BLOCK_BYTES * 3], ConnectionResetError())
    assert put(tmp_path, upload(), 1000, CONTENT[1000:]) == len(CONTENT)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_an_upload_that_starts_again_leaves_nothing_of_the_first_try(tmp_path: Path) -> None:
    part_in(tmp_path).write_bytes(b"x" * 5000)
    assert put(tmp_path, upload(3), 0, b"abc") == 3
    assert (tmp_path / "file").read_bytes() == b"abc"


@pytest.mark.parametrize("size", [None, 10])
def test_a_chunk_behind_the_end_is_refused_with_the_size(tmp_path: Path, size: int | None) -> None:
    if size is not None:
        part_in(tmp_path).write_bytes(b"x" * size)
    error = refusal(tmp_path, upload(), 11, b"abc")
    assert (error.code, error.more) == ("wrong_offset", {"size": size or 0})


def test_more_than_the_total_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, upload(3), 0, b"abcd").code == "bad_request"
    assert not (tmp_path / "file").exists()


def test_an_existing_file_is_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    assert refusal(tmp_path, upload(3), 0, b"new").code == "exists"
    assert (tmp_path / "file").read_bytes() == b"old"


def test_a_file_that_appears_during_the_upload_is_kept_until_the_person_agrees(tmp_path: Path) -> None:
    put(tmp_path, upload(6), 0, b"abc")
    (tmp_path / "file").write_bytes(b"other")
    assert refusal(tmp_path, upload(6), 3, b"def").code == "exists"
    assert (tmp_path / "file").read_bytes() == b"other"
    assert put(tmp_path, upload(6, replace=True), 6) == 6
    assert (tmp_path / "file").read_bytes() == b"abcdef"


def test_a_replaced_file_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "file").chmod(0o750)
    put(tmp_path, upload(3, replace=True), 0, b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert (tmp_path / "file").stat().st_mode & 0o7777 == 0o750


@pytest.mark.root
def test_a_replaced_file_keeps_its_group(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    os.chown(tmp_path / "file", -1, 12345)
    (tmp_path / "file").chmod(0o640)
    put(tmp_path, upload(3, replace=True), 0, b"new")
    assert (tmp_path / "file").stat().st_gid == 12345
    assert (tmp_path / "file").stat().st_mode & 0o7777 == 0o640


def test_a_part_that_will_replace_a_private_file_is_private(tmp_path: Path) -> None:
    (tmp_path / "file").touch(0o600)
    put(tmp_path, upload(6, replace=True), 0, b"abc")
    assert part_in(tmp_path).stat().st_mode & 0o7777 == 0o600


@pytest.mark.parametrize("replace", [True, False])
@pytest.mark.parametrize("kind", ["folder", "link", "broken link", "fifo"])
def test_only_an_ordinary_file_is_replaced(tmp_path: Path, kind: str, replace: bool) -> None:
    target = tmp_path / "file"
    match kind:
        case "folder":
            target.mkdir()
        case "link":
            (tmp_path / "other").write_bytes(b"old")
            target.symlink_to("other")
        case "broken link":
            target.symlink_to("missing")
        case "fifo":
            os.mkfifo(target)
    assert refusal(tmp_path, upload(3, replace=replace), 0, b"new").code == "not_a_file"
    assert os.listdir(tmp_path).count("file") == 1  # noqa: PTH208


def test_a_link_in_the_place_of_the_part_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"old")
    part_in(tmp_path).symlink_to("secret")
    refusal(tmp_path, upload(3), 0, b"new")
    assert (tmp_path / "secret").read_bytes() == b"old"


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    error = refusal(tmp_path, upload(3, folder=b"/missing"), 0, b"abc")
    assert error.code == "no_such_file"
    assert "/missing" in str(error)


def test_a_file_that_does_not_fit_on_the_disk_is_refused_at_once(tmp_path: Path) -> None:
    assert refusal(tmp_path, upload(2**62), 0, b"abc").code == "no_space"
    assert not list(tmp_path.iterdir())


def test_a_cancelled_upload_leaves_nothing(tmp_path: Path) -> None:
    put(tmp_path, upload(6), 0, b"abc")

    async def run() -> None:
        async with sftp_host(tmp_path) as connection:
            await remove_part(Sftp(connection), upload(6))
            await remove_part(Sftp(connection), upload(6))

    asyncio.run(run())
    assert not list(tmp_path.iterdir())


def test_a_name_of_255_bytes_is_uploaded(tmp_path: Path) -> None:
    name = ("ž" * 127 + "x").encode()
    put(tmp_path, upload(6, name=name), 0, b"abc")
    put(tmp_path, upload(6, name=name), 3, b"def")
    assert (tmp_path / os.fsdecode(name)).read_bytes() == b"abcdef"


def test_a_body_becomes_blocks_of_one_size() -> None:
    async def run() -> list[bytes]:
        return [block async for block in in_blocks(pieces(b"a", b"", b"bcdefg", b"h"), 3)]

    assert asyncio.run(run()) == [b"abc", b"def", b"gh"]


def test_a_cancelled_request_leaves_the_session_usable(tmp_path: Path) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * BLOCK_BYTES

    async def run() -> int:
        async with sftp_host(tmp_path) as connection:
            sftp = Sftp(connection)
            task = asyncio.create_task(write_chunk(sftp, upload(2**32), 0, endless()))
            await asyncio.sleep(0.2)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            return await write_chunk(sftp, upload(3), 0, pieces(b"abc"))

    assert asyncio.run(run()) == 3
    assert (tmp_path / "file").read_bytes() == b"abc"
