"""Tests what happens when several requests belong to one upload."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from fakes.ssh_host import sftp_host

from sshaft_web.files.errors import FileError
from sshaft_web.files.sftp import Sftp
from sshaft_web.files.transfers import Transfers
from sshaft_web.files.upload import Upload
from sshaft_web.files.uploads import Uploads

UPLOAD = Upload(b"/", b"file", "0123456789abcdef" * 2, 6, replace=False)


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    for each in data:
        yield each


async def stalled(*data: bytes) -> AsyncIterator[bytes]:
    for each in data:
        yield each
    await asyncio.Event().wait()


def with_uploads(folder: Path, work: Callable[[Uploads], Coroutine[Any, Any, Any]]) -> Any:
    async def run() -> Any:
        async with sftp_host(folder) as connection:
            return await work(Uploads(Sftp(connection)))

    return asyncio.run(run())


def test_each_chunk_tells_how_far_the_upload_is(tmp_path: Path) -> None:
    async def work(uploads: Uploads) -> list[tuple[int, bool]]:
        return [await uploads.write(UPLOAD, 0, pieces(b"abc")), await uploads.write(UPLOAD, 3, pieces(b"def"))]

    assert with_uploads(tmp_path, work) == [(3, False), (6, True)]


def test_the_last_chunk_may_come_twice(tmp_path: Path) -> None:
    async def work(uploads: Uploads) -> tuple[int, bool]:
        await uploads.write(UPLOAD, 0, pieces(b"abcdef"))
        (tmp_path / "file").write_bytes(b"changed meanwhile")
        return await uploads.write(UPLOAD, 0, pieces(b"abcdef"))

    assert with_uploads(tmp_path, work) == (6, False)
    assert (tmp_path / "file").read_bytes() == b"changed meanwhile"


def test_a_later_request_ends_a_stalled_one(tmp_path: Path) -> None:
    async def work(uploads: Uploads) -> str:
        first = asyncio.create_task(uploads.write(UPLOAD, 0, stalled(b"ab")))
        await asyncio.sleep(0.1)
        assert await uploads.write(UPLOAD, 0, pieces(b"abcdef")) == (6, True)
        with pytest.raises(FileError) as error:
            await first
        return error.value.code

    assert with_uploads(tmp_path, work) == "superseded"
    assert (tmp_path / "file").read_bytes() == b"abcdef"


def test_the_last_of_many_requests_writes(tmp_path: Path) -> None:
    async def work(uploads: Uploads) -> list[Any]:
        tries = [asyncio.create_task(uploads.write(UPLOAD, 0, stalled())) for _ in range(4)]
        await asyncio.sleep(0)
        last = asyncio.create_task(uploads.write(UPLOAD, 0, pieces(b"abcdef")))
        return await asyncio.gather(*tries, last, return_exceptions=True)

    ends = with_uploads(tmp_path, work)
    assert (6, True) in ends
    assert (tmp_path / "file").read_bytes() == b"abcdef"


def test_a_stalled_upload_is_removed(tmp_path: Path) -> None:
    async def work(uploads: Uploads) -> None:
        first = asyncio.create_task(uploads.write(UPLOAD, 0, stalled(b"ab")))
        await asyncio.sleep(0.1)
        await uploads.remove(UPLOAD)
        with pytest.raises(FileError):
            await first

    with_uploads(tmp_path, work)
    assert not list(tmp_path.iterdir())


def test_a_person_has_a_limit_of_their_own() -> None:
    transfers = Transfers(per_person=1, total=5)
    with transfers.one_of("alice"):
        with transfers.one_of("bob"):
            assert len(transfers) == 2
        with pytest.raises(FileError) as error, transfers.one_of("alice"):
            pass
    assert error.value.code == "too_many_transfers"
    assert len(transfers) == 0
    with transfers.one_of("alice"):
        pass


def test_all_people_together_have_a_limit() -> None:
    transfers = Transfers(per_person=5, total=2)
    with transfers.one_of("a"), transfers.one_of("b"), pytest.raises(FileError), transfers.one_of("c"):
        pass
