"""What flows through a terminal: endless output and input, pages that are slow or gone, and frames that attack."""

import asyncio
import re
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from service.web_service import WebService, web_service

from sshaft.http_server import descriptors
from sshaft_web.terminals.output import KEPT

pytestmark = pytest.mark.slow

MOST_UNSEEN = 512 * 1024
SLACK = 384 * 1024
"""What asyncssh, the kernel and a packet may hold besides."""


@pytest.fixture
def service() -> Iterator[WebService]:
    with web_service() as service:
        yield service


async def endless(process: "asyncssh.SSHServerProcess[bytes]") -> None:
    """A program that writes without end, as `yes`, and counts on its own."""
    block = b"y\n" * 16 * 1024
    while True:
        process.stdout.write(block)
        await process.stdout.drain()


async def deaf(process: "asyncssh.SSHServerProcess[bytes]") -> None:
    """A program that reads nothing."""
    await asyncio.sleep(3600)
    del process


async def fixed(process: "asyncssh.SSHServerProcess[bytes]") -> None:
    for number in range(200):
        process.stdout.write(b"%06d\n" % number * 1000)
        await process.stdout.drain()
    process.stdout.write(b"end")
    await process.stdin.read(1)


def terminal_of(service: WebService) -> Any:
    return next(iter(service.state.terminals))


def is_held_back(service: WebService, seen: int = 0) -> bool:
    """Whether the host may write no more, although the page has seen so much."""
    terminal = terminal_of(service)
    page = terminal._page  # noqa: SLF001 - nothing tells outside that the host waits
    return terminal._is_paused and (page is None or page.seen >= seen)  # noqa: SLF001 - as above


def is_without_page(service: WebService) -> bool:
    return terminal_of(service)._page is None  # noqa: SLF001 - as above


def test_page_that_says_nothing_stops_endless_output(service: WebService) -> None:
    service.host.shell = endless
    page = service.terminal()
    page.is_blind = True
    page.read_until_quiet(0.5)
    assert MOST_UNSEEN <= len(page.said) <= MOST_UNSEEN + SLACK
    page.send(type="seen", offset=page.end)
    page.read_until_quiet(0.5)
    assert 2 * MOST_UNSEEN <= len(page.said) <= 2 * (MOST_UNSEEN + SLACK)


def test_slow_page_lets_the_host_write_no_more_than_it_shows(service: WebService) -> None:
    """asyncssh would keep more and more, if it were stopped while it hands over what it has kept."""
    written = 0

    async def counted(process: "asyncssh.SSHServerProcess[bytes]") -> None:
        nonlocal written
        while True:
            process.stdout.write(b"x" * 3000)
            written += 3000
            await process.stdout.drain()

    service.host.shell = counted
    page = service.terminal()
    page.is_blind = True
    for seen in range(0, 4 * 1024 * 1024, 65536):
        while page.end < seen:
            assert page.read()
        page.said = b""
        page.send(type="seen", offset=seen)
        service.wait(partial(is_held_back, service, seen))  # the host has filled the window again
    page.read_until_quiet(0.3)
    assert written - page.end < 1024 * 1024


@pytest.mark.parametrize("offset", [10**17, 2**63])
def test_page_cannot_claim_to_have_seen_what_was_not_sent(service: WebService, offset: int) -> None:
    service.host.shell = endless
    page = service.terminal()
    page.is_blind = True
    page.send(type="seen", offset=offset)
    page.read_until_quiet(0.5)
    assert len(page.said) <= 2 * (MOST_UNSEEN + SLACK)


def test_page_that_reads_nothing_stops_endless_output(service: WebService) -> None:
    """Neither the terminal nor the connection to the browser keeps more than its bound."""
    service.host.shell = endless
    browser = service.browser()
    page = browser.attach(browser.open())
    page.wait_until("open")
    service.wait(lambda: is_held_back(service))
    end = terminal_of(service).output.end
    service.pass_time(1)
    assert terminal_of(service).output.end <= end + SLACK
    assert end <= MOST_UNSEEN + SLACK
    page.close()


def test_all_output_arrives_in_order(service: WebService) -> None:
    service.host.shell = fixed
    page = service.terminal()
    said = page.wait_for("end")
    assert re.findall(r"\d{6}", said) == [f"{number:06}" for number in range(200) for _ in range(1000)]


def test_endless_output_without_a_page_is_slowed_down_and_forgotten(service: WebService) -> None:
    service.host.shell = endless
    browser = service.browser()
    page = browser.attach(terminal := browser.open())
    page.wait_until("open")
    page.close()
    service.wait(lambda: is_without_page(service) and is_held_back(service))
    before = terminal_of(service).output.end
    assert before <= 2 * 1024 * 1024 + SLACK
    for _ in range(3):
        reached = terminal_of(service).output.end
        service.pass_time(1)
        service.wait(lambda reached=reached: terminal_of(service).output.end > reached and is_held_back(service))
    assert before < terminal_of(service).output.end <= before + 4 * (1024 * 1024 + SLACK)
    again = browser.attach(terminal, page.end)
    while not again.said:
        assert again.read()
    [offset] = [each for each in again.news if each["type"] == "offset"]
    assert offset["offset"] > page.end, "the page learns that output was lost"
    assert KEPT <= offset["end"] - offset["offset"] <= KEPT + 128 * 1024


def test_page_with_a_wrong_offset_gets_what_is_kept(service: WebService) -> None:
    browser = service.browser()
    page = browser.attach(terminal := browser.open())
    page.wait_until("open")
    page.type("hello")
    page.wait_for("hello")
    for offset in ("99", "-1", "x", "1e3", "9" * 30, "\u0663"):
        again = browser.attach(terminal, offset)  # type: ignore[arg-type]
        assert again.wait_for("hello") == "hello"
        assert again.news[0]["offset"] == 0


def test_host_that_reads_nothing_stops_the_keys(service: WebService) -> None:
    """A paste without end fills no memory: the browser has to keep it."""
    service.host.shell = deaf
    page = service.terminal()
    page.socket.socket.settimeout(1)
    assert sent_to(page.socket.socket, frame(2, b"x" * 60000), 200 * 1024 * 1024) < 16 * 1024 * 1024


def test_paste_into_a_program_that_echoes_does_not_block(service: WebService) -> None:
    """The page says what it has seen behind its keys: the host must not wait for that."""
    page = service.terminal()
    page.is_blind = True
    size = 3 * 1024 * 1024
    for _ in range(size // 65536):
        page.type(b"x" * 65536)
    got = 0
    while got < size:
        assert page.read(10)
        got, page.said = got + len(page.said), b""
        page.send(type="seen", offset=page.end)


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "null", '{"type":"size"}', '{"type":"size","columns":0,"rows":1}', '{"type":"nothing"}',
        '{"type":"size","columns":1e9,"rows":24}', '{"type":"seen","offset":-1}', '{"type":"seen","offset":"1"}',
        '{"type":"ping","more":1}', '{"type":"ping"}' + " " * 5000, "[" * 1000,
    ],
)  # fmt: skip
def test_message_that_is_none_closes_the_websocket_only(service: WebService, text: str) -> None:
    browser = service.browser()
    page = browser.attach(terminal := browser.open())
    page.wait_until("open")
    page.socket.send(text)
    assert page.wait_for_end() == 1008
    browser.attach(terminal).wait_until("open")


def test_message_of_more_than_a_megabyte_is_refused(service: WebService) -> None:
    page = service.terminal()
    page.type(b"x" * (1024 * 1024 + 1))
    assert page.wait_for_end() == 1009


def frame(opcode: int, data: bytes, *, fin: bool = True) -> bytes:
    """Returns a frame of a client (RFC 6455 §5.2), with a mask of zeros."""
    size = struct.pack("!B", 0x80 | len(data)) if len(data) < 126 else struct.pack("!BH", 0x80 | 126, len(data))
    return bytes([(0x80 if fin else 0) | opcode]) + size + bytes(4) + data


def sent_to(connection: socket.socket, data: bytes, most: int = 1 << 40) -> int:
    """Sends the data again and again until the server takes no more. Returns how many bytes it has taken."""
    sent = 0
    with suppress(OSError):
        while sent < most:
            connection.sendall(data)
            sent += len(data)
    return sent


def test_message_of_endless_empty_parts_closes_the_connection(service: WebService) -> None:
    page = service.terminal()
    sent_to(page.socket.socket, frame(2, b"", fin=False), 1)
    sent_to(page.socket.socket, frame(0, b"", fin=False) * 1000)
    service.wait(lambda: not terminal_of(service).is_connected)


def test_pings_whose_answers_nobody_reads_close_the_connection(service: WebService) -> None:
    browser = service.browser()
    terminal = browser.open()
    connection = raw_websocket(service, browser, terminal)
    sent_to(connection, frame(9, b"x" * 125) * 100)
    connection.close()
    service.wait(lambda: not terminal_of(service).is_connected)


def raw_websocket(service: WebService, browser: Any, terminal: str, **headers: str) -> socket.socket:
    """Returns a connection on which a WebSocket was asked for, which reads nothing by itself."""
    host, _, port = service.url.removeprefix("http://").partition(":")
    connection = socket.create_connection((host, int(port)), timeout=10)
    cookie = f"sshaft-web={browser.http.cookies.get('sshaft-web')}"
    sent = {
        "Host": f"{host}:{port}", "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Origin": service.url, "Cookie": cookie, **headers,
    }  # fmt: skip
    lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    connection.sendall(f"GET /terminals/{terminal}/socket HTTP/1.1\r\n{lines}\r\n".encode())
    return connection


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-WebSocket-Version": "12"},
        {"Sec-WebSocket-Key": "short"},
        {"Sec-WebSocket-Key": ""},
        {"X-Long": "x" * 20000},
        {"Cookie": "a=" + "x" * 30000},
        {f"X-{number}": "x" for number in range(150)},
    ],
)
def test_request_that_is_no_websocket_leaves_no_connection(service: WebService, headers: dict[str, str]) -> None:
    browser = service.browser()
    before = len(service.server.connections)
    connection = raw_websocket(service, browser, browser.open(), **headers)
    said = b""
    while part := connection.recv(65536):
        said += part
    connection.close()
    assert not said.startswith(b"HTTP/1.1 101")
    service.wait(lambda: len(service.server.connections) <= before + 1)


def test_websocket_behind_a_request_that_waits_is_refused(service: WebService) -> None:
    """Both would write to the connection."""
    host, _, port = service.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        first = f"GET /sign-in HTTP/1.1\r\nHost: {host}\r\n\r\n"
        second = (
            f"GET /terminals/x/socket HTTP/1.1\r\nHost: {host}\r\nOrigin: {service.url}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        connection.sendall((first + second).encode())
        said = b""
        with suppress(OSError):
            while part := connection.recv(65536):
                said += part
    assert b"101 Switching" not in said
    service.wait(lambda: len(service.server.connections) == 0)


def test_connections_are_counted_once(service: WebService) -> None:
    browser = service.browser()
    service.terminal(browser).close()
    browser.http.close()
    service.wait(lambda: len(service.server.connections) == 0)


def test_500_idle_terminals_need_little_memory() -> None:
    """Counts this process, in which the hosts' side of the connections is too."""
    descriptors.raise_limit()
    limits = {"terminals_per_person": 500, "terminals": 500, "keep_seconds": 10**6, "idle_seconds": 10**6}
    with web_service(limits=limits) as service:
        browser = service.browser()
        before = memory()
        for number in range(500):
            if number % 25 == 0:
                service.pass_time(61)  # a person has to pause
            browser.open()
        service.wait(lambda: all(each.state == "open" for each in service.state.terminals))
        assert len(service.state.terminals) == 500
        assert (memory() - before) / 500 < 1_000_000
        assert browser.post("/api/terminals", {"target": "host"}).status_code == 429


def memory() -> int:
    found = re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024
