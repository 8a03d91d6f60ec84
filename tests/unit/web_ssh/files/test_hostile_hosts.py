"""Tests that no SFTP server can keep the service busy, fill its memory, or lead the page to another file."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import cycle
from typing import Any

import pytest
from asyncssh.packet import Byte, String, UInt32
from fakes import ssh_host
from fakes.ssh_host import VERSION, VERSION_3, attributes, hostile_host, names, status

from sshaft_web.files.errors import FileError
from sshaft_web.files.listing import Listing, list_folder
from sshaft_web.files.reading import opened
from sshaft_web.files.sftp import Sftp
from sshaft_web.files.upload import Upload
from sshaft_web.files.uploading import write_chunk

pytestmark = pytest.mark.slow

FILE, FOLDER, LINK = 0o100644, 0o40755, 0o120777
SECONDS = 1.0
"""The time limit for an answer in these tests."""


def data_of(rest: bytes) -> bytes:
    return Byte(ssh_host.DATA) + String(b"x" * int.from_bytes(rest[-4:], "big"))


class Host:
    """Answers as a good server would, except for `answers`: a packet, None for silence, or a function."""

    def __init__(self, **answers: Any) -> None:
        pages = cycle([names((b"file", FILE)), status(ssh_host.EOF)])
        handle = Byte(ssh_host.HANDLE) + String(b"h")
        good = {
            "REALPATH": names((b"/home", FOLDER)),
            "OPENDIR": handle,
            "OPEN": handle,
            "READDIR": lambda _: next(pages),
            "STAT": attributes(100),
            "LSTAT": attributes(100),
            "FSTAT": attributes(100),
            "READ": data_of,
        }
        self._answers = {getattr(ssh_host, name): answer for name, answer in (good | answers).items()}

    def __call__(self, kind: int, rest: bytes) -> bytes | None:
        answer = self._answers.get(kind, status(ssh_host.OK))
        return answer(rest) if callable(answer) else answer  # type: ignore[no-any-return]


def asked(host: Host, ask: Callable[[Sftp], Awaitable[Any]], greeting: bytes = b"", version: bytes = VERSION_3) -> Any:
    async def run() -> Any:
        async with hostile_host(host, greeting, version) as connection:
            return await ask(Sftp(connection, SECONDS))

    return asyncio.run(run())


async def read(sftp: Sftp) -> bytes:
    async with opened(sftp, b"/home/file") as file:
        return b"".join([block async for block in file.blocks(0, file.version.size)])


def refused(host: Host, ask: Callable[[Sftp], Awaitable[Any]]) -> str:
    start = time.monotonic()
    with pytest.raises(FileError) as error:
        asked(host, ask)
    assert time.monotonic() - start < 10
    assert "Traceback" not in str(error.value)
    return error.value.code


def list_home(sftp: Sftp) -> Awaitable[Listing]:
    return list_folder(sftp, b"/home")


def listed(host: Host) -> Listing:
    found: Listing = asked(host, list_home)
    return found


def test_the_good_host_of_these_tests_is_listed_and_read() -> None:
    assert [each.name for each in listed(Host()).entries] == [b"file"]
    assert asked(Host(), read) == b"x" * 100


def test_an_endless_list_ends_at_the_limit() -> None:
    page = names(*((b"%d" % number, FILE) for number in range(1000)))
    found = listed(Host(READDIR=page))
    assert found.more
    assert len(found.entries) == 5000


def test_a_list_of_empty_packets_ends() -> None:
    assert refused(Host(READDIR=names()), list_home) == "bad_answer"


def test_a_slow_endless_list_ends_in_time() -> None:
    def slow(_: bytes) -> bytes:
        time.sleep(0.05)
        return names((b"a", FILE))

    assert refused(Host(READDIR=slow), list_home) == "host_timeout"


def test_a_packet_with_too_many_names_is_not_read() -> None:
    page = names(*((b"x", FILE) for _ in range(2001)))
    assert refused(Host(READDIR=page), list_home) == "bad_answer"


def test_a_packet_that_promises_more_names_than_it_has_is_refused() -> None:
    page = Byte(ssh_host.NAME) + UInt32(2000) + String(b"a")
    assert refused(Host(READDIR=page), list_home) == "bad_answer"


def test_a_packet_of_a_megabyte_is_not_read() -> None:
    assert refused(Host(READDIR=Byte(ssh_host.NAME) + b"x" * (1 << 20)), list_home) == "bad_answer"


def test_names_that_lead_elsewhere_are_left_out_and_counted() -> None:
    strange = [b"../../etc/passwd", b"/etc/passwd", b"a/b", b"a\0b", b"", b"x" * 2000]
    pages = iter([names(*((name, FILE) for name in [*strange, b".", b"..", b"good"])), status(ssh_host.EOF)])
    found = listed(Host(READDIR=lambda _: next(pages)))
    assert [each.name for each in found.entries] == [b"good"]
    assert found.strange == len(strange)


def test_long_names_count_for_the_limit() -> None:
    page = names(*((b"x" * 1000, FILE) for _ in range(200)))
    found = listed(Host(READDIR=page))
    assert found.more
    assert len(found.entries) < 600


@pytest.mark.parametrize("path", [b"relative", b"", b"/a\0b", b"/" + b"x" * 5000])
def test_a_home_folder_that_is_no_path_is_refused(path: bytes) -> None:
    assert refused(Host(REALPATH=names((path, FOLDER))), list_home) == "bad_answer"


def test_links_that_never_answer_end_in_time() -> None:
    pages = iter([names(*((b"%d" % n, LINK) for n in range(100))), status(ssh_host.EOF)])
    host = Host(READDIR=lambda _: next(pages), STAT=None)
    assert refused(host, list_home) == "host_timeout"


@pytest.mark.parametrize("question", ["REALPATH", "OPENDIR", "READDIR"])
def test_a_silent_host_ends_a_list_in_time(question: str) -> None:
    assert refused(Host(**{question: None}), list_home) == "host_timeout"


@pytest.mark.parametrize("question", ["STAT", "OPEN", "READ"])
def test_a_silent_host_ends_a_download_in_time(question: str) -> None:
    assert refused(Host(**{question: None}), read) == "host_timeout"


def test_a_host_that_does_not_close_does_not_keep_the_download() -> None:
    assert asked(Host(CLOSE=None), read) == b"x" * 100


@pytest.mark.parametrize("size", [101, 1 << 40, (1 << 64) - 1])
def test_a_file_with_a_false_size_ends_the_download(size: int) -> None:
    def answer(rest: bytes) -> bytes:
        offset, wanted = int.from_bytes(rest[-12:-4], "big"), int.from_bytes(rest[-4:], "big")
        data = b"x" * max(0, min(wanted, 100 - offset))
        return Byte(ssh_host.DATA) + String(data) if data else status(ssh_host.EOF)

    assert refused(Host(FSTAT=attributes(size), READ=answer), read) == "changed"


def test_more_bytes_than_were_asked_for_are_refused() -> None:
    assert refused(Host(READ=Byte(ssh_host.DATA) + String(b"x" * 200_000)), read) == "bad_answer"


def test_empty_data_ends_the_download() -> None:
    assert refused(Host(READ=Byte(ssh_host.DATA) + String(b"")), read) == "changed"


@pytest.mark.parametrize(
    "packet",
    [b"\xff", Byte(ssh_host.STATUS), Byte(ssh_host.STATUS) + UInt32(99) + String(b"\xff") + String(b"\xff"),
     Byte(ssh_host.ATTRS) + UInt32(0xFFFFFFFF), Byte(ssh_host.HANDLE) + String(b"h"), status(ssh_host.OK)],
)  # fmt: skip
def test_an_answer_of_another_kind_is_refused(packet: bytes) -> None:
    assert refused(Host(STAT=packet), read) in ("bad_answer", "host_lost")


def test_a_far_time_is_no_time() -> None:
    assert listed(Host()).entries[0].modified is None


@pytest.mark.parametrize("greeting", [b"Welcome to this host!\r\n", b"\0\0\0\1x", b"\xff" * 8])
def test_a_shell_that_prints_text_is_named_as_the_reason(greeting: bytes) -> None:
    with pytest.raises(FileError) as error:
        asked(Host(), list_home, greeting)
    assert error.value.code == "not_sftp"


def test_an_upload_to_a_host_that_refuses_to_write_ends() -> None:
    async def body() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65536

    def refuse(sftp: Sftp) -> Awaitable[int]:
        return write_chunk(sftp, Upload(b"/home", b"new", "0" * 32, 1 << 40, replace=False), 0, body())

    host = Host(LSTAT=status(2), WRITE=status(ssh_host.FAILURE))
    assert refused(host, refuse) == "no_space"


def test_a_session_that_broke_is_opened_again() -> None:
    async def twice(sftp: Sftp) -> Listing:
        with pytest.raises(FileError):
            await list_home(sftp)
        return await list_home(sftp)

    pages = iter([b"\xff", names((b"file", FILE)), status(ssh_host.EOF)])
    found = asked(Host(READDIR=lambda _: next(pages)), twice)
    assert len(found.entries) == 1


@pytest.mark.parametrize("version", [0, 2, 7, 0xFFFFFFFF])
def test_an_unknown_version_is_refused(version: int) -> None:
    with pytest.raises(FileError) as error:
        asked(Host(), list_home, version=VERSION + UInt32(version))
    assert error.value.code == "not_sftp"


@pytest.mark.parametrize("packet", [b"", VERSION, b"\xff" * 9, VERSION_3 + String(b"name"), VERSION_3 + b"\xff" * 8])
def test_a_first_packet_that_makes_no_sense_is_refused(packet: bytes) -> None:
    with pytest.raises(FileError) as error:
        asked(Host(), list_home, version=packet)
    assert error.value.code in ("not_sftp", "host_timeout")


@pytest.mark.parametrize("limit", [0, 1, 1 << 20, (1 << 64) - 1])
def test_false_limits_change_nothing(limit: int) -> None:
    async def one_megabyte(sftp: Sftp) -> int:
        return await write_chunk(sftp, Upload(b"/home", b"new", "0" * 32, 1 << 20, replace=False), 0, body())

    async def body() -> AsyncIterator[bytes]:
        yield bytes(1 << 20)

    sizes: list[int] = []

    def take(rest: bytes) -> bytes:
        sizes.append(len(rest))
        return status(ssh_host.OK)

    limits = Byte(ssh_host.EXTENDED_REPLY) + limit.to_bytes(8, "big") * 4
    offered = VERSION_3 + String(b"limits@openssh.com") + String(b"1")
    host = Host(EXTENDED=limits, LSTAT=status(2), WRITE=take)
    assert asked(host, one_megabyte, version=offered) == 1 << 20
    assert 1024 <= max(sizes) <= 65536 + 100
    assert asked(Host(EXTENDED=limits), read, version=offered) == b"x" * 100


def test_a_host_that_cannot_replace_in_one_step_removes_first() -> None:
    steps: list[str] = []

    def step(name: str) -> Callable[[bytes], bytes]:
        def take(_: bytes) -> bytes:
            steps.append(name)
            return status(ssh_host.OK)

        return take

    async def body() -> AsyncIterator[bytes]:
        yield b"new"

    def replace(sftp: Sftp) -> Awaitable[int]:
        return write_chunk(sftp, Upload(b"/home", b"file", "0" * 32, 3, replace=True), 0, body())

    host = Host(WRITE=step("write"), REMOVE=step("remove"), RENAME=step("rename"), EXTENDED=status(8))
    assert asked(host, replace) == 3
    assert steps == ["write", "remove", "rename"]
