"""Tests what happens when several requests belong to one upload."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
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


def with_uploads(
    folder: Path, work: Callable[[Uploads], Coroutine[Any, Any, Any]], clock: Callable[[], float] = float
) -> Any:
    async def run() -> Any:
        async with sftp_host(folder) as connection:
            return await work(Uploads(Sftp(connection), clock))

    return asyncio.run(run())


def names(folder: Path) -> list[str]:
    return [each.name for each in folder.iterdir()]


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


def test_upload_that_nobody_goes_on_with_is_removed_and_begins_anew(tmp_path: Path) -> None:
    now = 0.0

    async def work(uploads: Uploads) -> None:
        nonlocal now
        await uploads.write(UPLOAD, 0, pieces(b"abc"))
        now = 59
        await uploads.remove_unused(60)
        await uploads.write(UPLOAD, 3, pieces(b"d"))
        now = 118
        await uploads.remove_unused(60)
        assert len(names(tmp_path)) == 1, "it was used 59 seconds ago"
        now = 119
        await uploads.remove_unused(60)
        assert not names(tmp_path)
        with pytest.raises(FileError) as error:
            await uploads.write(UPLOAD, 4, pieces(b"ef"))
        assert (error.value.code, error.value.more) == ("wrong_offset", {"size": 0})
        assert await uploads.write(UPLOAD, 0, pieces(b"abcdef")) == (6, True)
        now = 999
        await uploads.remove_unused(60)

    with_uploads(tmp_path, work, lambda: now)
    assert (tmp_path / "file").read_bytes() == b"abcdef"


def test_upload_that_is_running_is_not_removed_as_unused(tmp_path: Path) -> None:
    now = 0.0

    async def work(uploads: Uploads) -> tuple[int, bool]:
        nonlocal now
        began, went_on = asyncio.Event(), asyncio.Event()

        async def slow() -> AsyncIterator[bytes]:
            began.set()
            yield b"abc"
            await went_on.wait()
            yield b"def"

        upload = asyncio.create_task(uploads.write(UPLOAD, 0, slow()))
        await began.wait()
        now = 999
        await uploads.remove_unused(60)
        went_on.set()
        return await upload

    assert with_uploads(tmp_path, work, lambda: now) == (6, True)


def test_end_removes_all_unfinished_uploads_and_takes_no_more(tmp_path: Path) -> None:
    other = replace(UPLOAD, name=b"other", number="f" * 32)

    async def work(uploads: Uploads) -> None:
        await uploads.write(UPLOAD, 0, pieces(b"abc"))
        began = asyncio.Event()

        async def slow() -> AsyncIterator[bytes]:
            began.set()
            async for each in stalled(b"ab"):
                yield each

        stopped = asyncio.create_task(uploads.write(other, 0, slow()))
        await began.wait()
        waiting = asyncio.create_task(uploads.write(other, 0, pieces(b"abcdef")))
        await uploads.close()
        codes = [each.code for each in await asyncio.gather(stopped, waiting, return_exceptions=True)]
        assert codes == ["not_open", "not_open"]
        assert uploads.are_finished

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
