"""Recordings are whole asciicast files for their owner alone, and a bad disk never holds up the event loop."""

import asyncio
import json
import os
import resource
import stat
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from service.web_service import Clock

from sshaft.errors import ConfigurationError
from sshaft_web.recording.asciicast import AsciicastFile, Header
from sshaft_web.recording.recorder import Recorder, Recording, check_directory

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
Act = Callable[[Recording], Awaitable[None]]


def recorded(directory: Path, act: Act, failures: list[str] | None = None, **options: Any) -> list[Any]:
    """Returns the lines of the file of a recording, in which `act` has acted."""

    async def run() -> str:
        recorder = Recorder(directory, now=lambda: NOON, **options)
        recording = recorder.start(80, 24, "Login host", ([] if failures is None else failures).append)
        await act(recording)
        recording.finish()
        await recorder.wait_for_all()
        return recording.name

    name = asyncio.run(run())
    return [json.loads(line) for line in (directory / name).read_text("ascii").splitlines()]


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not is_so():  # noqa: ASYNC110 - several conditions, and some have no event
            await asyncio.sleep(0.002)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Lets the disk refuse what is longer, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_recording_has_a_header_and_events_with_their_times(tmp_path: Path) -> None:
    clock = Clock()

    async def act(recording: Recording) -> None:
        recording.output(b"$ ")
        clock.seconds += 1.25
        recording.resized(100, 30)
        recording.output(b"hello\r\n")

    assert recorded(tmp_path, act, clock=clock) == [
        {"version": 2, "width": 80, "height": 24, "timestamp": int(NOON.timestamp()), "title": "Login host",
         "env": {"TERM": "xterm-256color"}},
        [0.0, "o", "$ "],
        [1.25, "r", "100x30"],
        [1.25, "o", "hello\r\n"],
    ]  # fmt: skip


def test_file_is_for_its_owner_alone_whatever_the_umask_is(tmp_path: Path) -> None:
    async def act(_recording: Recording) -> None:
        pass

    before = os.umask(0)
    try:
        recorded(tmp_path, act)
        os.umask(0o777)
        recorded(tmp_path, act)
    finally:
        os.umask(before)
    assert [stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()] == [0o600, 0o600]


def test_names_say_when_a_recording_began_and_differ(tmp_path: Path) -> None:
    async def act(_recording: Recording) -> None:
        pass

    for _ in range(2):
        recorded(tmp_path, act)
    names = [path.name for path in tmp_path.glob("20260301T120000Z-????????????????.cast")]
    assert len(set(names)) == 2


def test_what_is_typed_is_recorded_only_if_the_operator_wants_it(tmp_path: Path) -> None:
    async def act(recording: Recording) -> None:
        recording.input(b"my password\r")
        recording.output(b"ok")

    assert [line[1] for line in recorded(tmp_path, act)[1:]] == ["o"]
    assert [line[1:] for line in recorded(tmp_path, act, with_input=True)[1:]] == [
        ["i", "my password\r"],
        ["o", "ok"],
    ]


def test_person_is_told_what_is_recorded(tmp_path: Path) -> None:
    assert "everything that you type" not in Recorder(tmp_path).announcement
    assert "everything that you type" in Recorder(tmp_path, with_input=True).announcement


@given(text=st.text(), cuts=st.lists(st.integers(0, 200), max_size=5))
def test_characters_that_are_cut_anywhere_are_recorded_whole(
    tmp_path_factory: pytest.TempPathFactory, text: str, cuts: list[int]
) -> None:
    data = text.encode("utf-8", "surrogatepass")
    at = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    path = tmp_path_factory.mktemp("cast") / "a.cast"
    file = AsciicastFile(path, Header(80, 24, 0, ""))
    for begin, end in pairwise(at):
        file.write([(0.0, "o", data[begin:end])])
    file.close()
    lines = [json.loads(line) for line in path.read_text("ascii").splitlines()]
    assert "".join(line[2] for line in lines[1:]) == text


def test_hostile_output_does_not_reach_the_screen_of_a_person_who_reads_the_file(tmp_path: Path) -> None:
    hostile = b"\x1b]52;c;ZXZpbA==\x07\x1b[2J\xff\xfe\x00\x9b31m\r\n\xe2\x80\xae"

    async def act(recording: Recording) -> None:
        recording.output(hostile)

    lines = recorded(tmp_path, act)
    (file,) = tmp_path.iterdir()
    text = file.read_bytes()
    assert all(32 <= byte < 127 or byte == 10 for byte in text)
    assert lines[1][2] == hostile.decode("utf-8", "replace")


def test_order_is_kept_and_nothing_is_lost_when_much_is_written(tmp_path: Path) -> None:
    async def act(recording: Recording) -> None:
        for number in range(2000):
            recording.output(f"{number} ".encode() * 500)
            await until(lambda: not recording.is_behind)

    lines = recorded(tmp_path, act)[1:]
    assert "".join(line[2] for line in lines) == "".join(f"{number} " * 500 for number in range(2000))


def test_full_disk_ends_the_recording_with_one_reason_and_whole_lines(tmp_path: Path) -> None:
    failures: list[str] = []

    async def act(recording: Recording) -> None:
        for _ in range(10):
            recording.output(b"x" * 1000)
            await asyncio.sleep(0.02)
        assert not recording.is_open
        recording.output(b"lost")
        assert not recording.is_behind

    with largest_file(5000):
        lines = recorded(tmp_path, act, failures)
    assert failures == ["File too large"]
    assert {line[2] for line in lines[1:]} == {"x" * 1000}
    assert len(lines) <= 5


def test_disk_that_stands_still_holds_up_the_terminal_and_not_the_event_loop(tmp_path: Path) -> None:
    failures: list[str] = []
    stuck, threads = threading.Event(), ThreadPoolExecutor(1)

    async def act(recording: Recording) -> None:
        recording.output(b"first")
        await asyncio.sleep(0.1)
        threads.submit(stuck.wait)
        longest, last = 0.0, time.monotonic()
        for _ in range(10):
            recording.output(b"x" * 1024 * 1024)
            await asyncio.sleep(0)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
        assert longest < 0.2
        assert recording.is_behind
        await until(lambda: not recording.is_open)
        assert not recording.is_behind
        stuck.set()

    lines = recorded(tmp_path, act, failures, executor=threads, patience=0.3)
    assert failures == ["the disk gave no answer for 0 s"]
    assert lines[1][2] == "first"
    assert {line[2] for line in lines[2:]} <= {"x" * 1024 * 1024}


def test_terminal_hears_when_the_disk_has_caught_up(tmp_path: Path) -> None:
    heard: list[bool] = []

    async def run() -> None:
        stuck, threads = threading.Event(), ThreadPoolExecutor(1)
        threads.submit(stuck.wait)
        recorder = Recorder(tmp_path, executor=threads)
        recording = recorder.start(80, 24, "", lambda _: None, lambda: heard.append(recording.is_behind))
        for _ in range(3):
            recording.output(b"x" * 1024 * 1024)
        assert recording.is_behind
        stuck.set()
        await until(lambda: bool(heard))
        recording.finish()
        await recorder.wait_for_all()

    asyncio.run(run())
    assert heard == [False]


def test_end_waits_only_so_long_for_the_disk(tmp_path: Path) -> None:
    stuck, threads = threading.Event(), ThreadPoolExecutor(1)
    failures: list[str] = []

    async def run() -> None:
        recorder = Recorder(tmp_path, executor=threads, patience=0.2)
        recording = recorder.start(80, 24, "", failures.append)
        await asyncio.sleep(0.1)
        threads.submit(stuck.wait)
        recording.output(b"x")
        recording.finish()
        await recorder.wait_for_all()
        stuck.set()

    began = time.monotonic()
    asyncio.run(run())
    assert time.monotonic() - began < 5


def test_file_that_could_not_be_made_in_time_is_closed_later(tmp_path: Path) -> None:
    stuck, threads = threading.Event(), ThreadPoolExecutor(1)
    failures: list[str] = []

    async def run() -> None:
        before = open_files()
        threads.submit(stuck.wait)
        recorder = Recorder(tmp_path, executor=threads, patience=0.1)
        recorder.start(80, 24, "", failures.append)
        await until(lambda: bool(failures))
        stuck.set()
        await recorder.wait_for_all()
        assert open_files() == before

    asyncio.run(run())
    assert failures == ["the disk gave no answer for 0 s"]
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("limit", [0, 10])
def test_recording_that_cannot_begin_says_why_and_leaves_no_file(tmp_path: Path, limit: int) -> None:
    failures: list[str] = []

    async def run() -> None:
        recorder = Recorder(tmp_path)
        recording = recorder.start(80, 24, "", failures.append)
        recording.output(b"x")
        await until(lambda: bool(failures))
        assert not recording.is_open
        await recorder.wait_for_all()

    with largest_file(limit):
        asyncio.run(run())
    assert failures == ["File too large"]
    assert list(tmp_path.iterdir()) == []


def test_folder_that_was_removed_is_a_failure(tmp_path: Path) -> None:
    failures: list[str] = []

    async def run() -> None:
        recorder = Recorder(tmp_path / "gone")
        recorder.start(80, 24, "", failures.append)
        await until(lambda: bool(failures))

    asyncio.run(run())
    assert failures == ["No such file or directory"]


def test_file_of_somebody_else_is_never_written_to(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("mine")
    (tmp_path / "link.cast").symlink_to(other)
    for path in (other, tmp_path / "link.cast"):
        with pytest.raises(OSError, match="File exists"):
            AsciicastFile(path, Header(80, 24, 0, ""))
    assert other.read_text() == "mine"


def test_file_that_is_closed_twice_leaves_the_next_file_with_its_number_alone(tmp_path: Path) -> None:
    file = AsciicastFile(tmp_path / "a.cast", Header(80, 24, 0, ""))
    file.close()
    with (tmp_path / "next").open("wb+", buffering=0) as following:
        following.write(b"x" * 1000)
        file.abandon()
        assert os.fstat(following.fileno()).st_size == 1000


@pytest.mark.parametrize(
    ("mode", "text"), [(0o770, "other accounts may write there"), (0o707, "other accounts may write there")]
)
def test_folder_that_others_may_change_is_refused(tmp_path: Path, mode: int, text: str) -> None:
    tmp_path.chmod(mode)
    with pytest.raises(ConfigurationError, match=text):
        check_directory(tmp_path)
    tmp_path.chmod(0o700)
    check_directory(tmp_path)


def test_folder_that_is_missing_or_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name, text in {"missing": "No such file or directory", "file": "is no folder"}.items():
        with pytest.raises(ConfigurationError, match=text):
            check_directory(tmp_path / name)
