"""Tests that a file is read in order, ahead of its reader, and with checks."""

import asyncio
import os
from contextlib import aclosing
from pathlib import Path

import pytest
from fakes.ssh_host import sftp_host

from sshaft_web.files.errors import FileError
from sshaft_web.files.reading import BLOCK_BYTES, opened
from sshaft_web.files.sftp import Sftp

CONTENT = os.urandom(BLOCK_BYTES * 40 + 17)


def read(folder: Path, path: bytes, start: int, end: int) -> bytes:
    async def run() -> bytes:
        async with sftp_host(folder) as connection, opened(Sftp(connection), path) as file:
            return b"".join([block async for block in file.blocks(start, end)])

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("start", "end"), [(0, len(CONTENT)), (0, 0), (5, 6), (BLOCK_BYTES - 1, BLOCK_BYTES * 3 + 2), (7, len(CONTENT))]
)
def test_any_part_of_a_file_is_read_in_order(tmp_path: Path, start: int, end: int) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    assert read(tmp_path, b"/file", start, end) == CONTENT[start:end]


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"123")
    (tmp_path / "link").symlink_to("file")
    assert read(tmp_path, b"/link", 0, 3) == b"123"


def test_the_version_is_that_of_the_open_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"123")
    os.utime(tmp_path / "file", (1000, 1000))

    async def run() -> tuple[int, int | None]:
        async with sftp_host(tmp_path) as connection, opened(Sftp(connection), b"/file") as file:
            return file.version.size, file.version.modified

    assert asyncio.run(run()) == (3, 1000)


def test_a_file_that_became_shorter_ends_the_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"123")
    with pytest.raises(FileError) as error:
        read(tmp_path, b"/file", 0, 4)
    assert error.value.code == "changed"


def test_a_fifo_is_refused_before_it_could_stop_the_server(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(FileError) as error:
        read(tmp_path, b"/fifo", 0, 1)
    assert error.value.code == "not_a_file"


def test_a_reader_that_stops_leaves_the_session_usable(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)

    async def run() -> bytes:
        async with sftp_host(tmp_path) as connection:
            sftp = Sftp(connection)
            async with opened(sftp, b"/file") as file, aclosing(file.blocks(0, len(CONTENT))) as blocks:
                async for _ in blocks:
                    break
            async with opened(sftp, b"/file") as file, aclosing(file.blocks(0, 5)) as blocks:
                return b"".join([block async for block in blocks])

    assert asyncio.run(run()) == CONTENT[:5]


def test_several_files_are_read_at_once(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / str(number)).write_bytes(CONTENT[number:])

    async def run() -> list[bytes]:
        async with sftp_host(tmp_path) as connection:
            sftp = Sftp(connection)

            async def whole(number: int) -> bytes:
                async with opened(sftp, b"/%d" % number) as file:
                    return b"".join([block async for block in file.blocks(0, file.version.size)])

            return list(await asyncio.gather(*map(whole, range(5))))

    assert asyncio.run(run()) == [CONTENT[number:] for number in range(5)]
