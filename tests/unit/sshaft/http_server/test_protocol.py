"""Tests the bounds of one connection, with real sockets and a clock of the test."""

import asyncio
import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import pytest
import uvicorn
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from sshaft.http_server.connections import Bounds, Connections
from sshaft.http_server.protocol import MAX_HEADERS, MAX_PIPELINED, BoundedProtocol
from sshaft.http_server.server import listen, quiet_uvicorn

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
WAIT = b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n"
BOUNDS = Bounds(connections=20, waiting_for_client=10)


@dataclass
class Server:
    """Answers `/` at once, `/large` with 32 MiB, and `/wait` when `release` is set. `/stream` looks for the client's
    end again and again, as an event stream does.
    """

    connections: Connections
    now: float = 0.0
    bodies: list[bytes] = field(default_factory=list)
    port: int = 0
    calls: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.calls += 1
        while scope["method"] == "POST":
            message = await receive()
            if message["type"] != "http.request":
                return
            self.bodies.append(message["body"])
            if not message["more_body"]:
                break
        if scope["path"] == "/wait":
            await self.release.wait()
        while scope["path"] == "/stream" and not await Request(scope, receive).is_disconnected():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        body = b"x" * (32 * 1024 * 1024 if scope["path"] == "/large" else 2)
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def run(self, server: uvicorn.Server, listening: socket.socket) -> None:
        self.loop = asyncio.new_event_loop()
        self.release = asyncio.Event()
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            runner.run(server.serve(sockets=[listening]))

    def call(self, act: Callable[[], None]) -> None:
        """Runs `act` in the event loop."""

        async def run() -> None:
            act()

        asyncio.run_coroutine_threadsafe(run(), self.loop).result(30)

    def advance(self, seconds: float) -> None:
        def act() -> None:
            self.now += seconds
            self.connections.close_overdue()

        self.call(act)

    def connect(self, sent: bytes = b"") -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        connection.sendall(sent)
        return connection

    def reaches(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < end
            time.sleep(0.01)


@contextmanager
def serving(bounds: Bounds = BOUNDS) -> Iterator[Server]:
    quiet_uvicorn()
    app = Server(Connections(bounds, lambda: app.now))
    protocol = cast("Any", partial(BoundedProtocol, app.connections))
    config = uvicorn.Config(
        app, http=protocol, log_config=None, access_log=False, lifespan="off", ws="none", timeout_keep_alive=3600,
        timeout_graceful_shutdown=1,
    )  # fmt: skip
    server = uvicorn.Server(config)
    with listen("127.0.0.1", 0) as listening:
        app.port = listening.getsockname()[1]
        thread = threading.Thread(target=app.run, args=(server, listening))
        thread.start()
        app.reaches(lambda: server.started)
        try:
            yield app
        finally:
            app.call(app.release.set)
            server.should_exit = True
            thread.join()


@pytest.fixture
def server(events: io.StringIO) -> Iterator[Server]:
    del events
    with serving() as server:
        yield server


def reasons(events: io.StringIO) -> list[str]:
    lines = [json.loads(line) for line in events.getvalue().splitlines()]
    return [line["reason"] for line in lines if line["event"] == "connections.closed"]


def rest(connection: socket.socket) -> bytes:
    """Returns everything until the end of the connection."""
    got = b""
    try:
        while part := connection.recv(65536):
            got += part
    except ConnectionResetError:
        pass
    connection.close()
    return got


def test_connection_that_pipelines_a_few_requests_gets_all_answers_in_order(server: Server) -> None:
    with server.connect(WAIT + GET * MAX_PIPELINED) as connection:
        server.call(server.release.set)
        got = b""
        while got.count(b"HTTP/1.1 200 OK") <= MAX_PIPELINED:
            part = connection.recv(65536)
            assert part
            got += part


@pytest.mark.parametrize("first", [GET, WAIT])
def test_connection_that_pipelines_too_many_requests_is_closed(
    server: Server, events: io.StringIO, first: bytes
) -> None:
    """Finding S6: 14,000 requests in one packet were all kept, each with 6 kB."""
    connections = [server.connect() for _ in range(5)]
    for connection in connections:
        with suppress(OSError):  # the service closes the connection
            connection.sendall(first + GET * 14000)
        assert b"HTTP/1.1 200" not in rest(connection)
    assert reasons(events) == ["too many pipelined requests"], "one event, not one for each connection"
    server.reaches(lambda: len(server.connections) == 0)
    assert server.calls == 0, "a closed connection causes no more work"


def test_body_of_a_pipelined_request_is_bounded(server: Server) -> None:
    """Finding S6: the body of a request that is not being answered yet was kept without end."""
    stream = b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n"
    connection = server.connect(stream + b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n")
    with pytest.raises(OSError, match=r"reset|Broken pipe"):
        connection.sendall(b"a" * 64 * 1024 * 1024)
    connection.close()
    assert server.bodies == []


def test_body_of_a_get_is_not_kept(server: Server) -> None:
    """Finding S6: an event stream kept the body that nobody reads."""
    with server.connect(b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde" + GET) as connection:
        got = b""
        while got.count(b"HTTP/1.1 200 OK") < 2:
            part = connection.recv(65536)
            assert part
            got += part


def test_request_with_too_many_headers_is_refused(server: Server) -> None:
    """Finding S6: each of 13,000 short headers took 20 times its length."""
    head = b"GET / HTTP/1.1\r\n" + b"a:b\r\n" * (MAX_HEADERS + 1) + b"\r\n"
    assert b"400 Bad Request" in rest(server.connect(head))
    head = b"GET / HTTP/1.1\r\nConnection: close\r\n" + b"a:b\r\n" * (MAX_HEADERS - 1) + b"\r\n"
    assert b"200 OK" in rest(server.connect(head))


@pytest.mark.parametrize(
    ("sent", "seconds"),
    [
        (b"", BOUNDS.head_seconds),
        (b"\r\n", BOUNDS.head_seconds),
        (b"GET / HT", BOUNDS.head_seconds),
        (b"GET / HTTP/1.1\r\nHost: ", BOUNDS.head_seconds),
        (WAIT + b"GET / HT", BOUNDS.head_seconds),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n", BOUNDS.body_seconds),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", BOUNDS.body_seconds),
    ],
)
def test_client_that_does_not_complete_its_request_is_disconnected(server: Server, sent: bytes, seconds: float) -> None:
    """Finding S8: idle connections and half-sent bodies stayed open without end."""
    connection = server.connect(sent)
    server.reaches(lambda: len(server.connections) == 1)
    settled = server.connect(GET)  # is answered after the service has read what the other connection sent
    assert settled.recv(65536)
    server.advance(seconds - 1)
    assert len(server.connections) == 2
    server.advance(2)
    assert rest(connection) == b""
    settled.close()


@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
def test_request_for_another_protocol_is_answered_in_http_1(server: Server, events: io.StringIO, protocol: str) -> None:
    head = f"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n"
    with server.connect(head.encode()) as connection:
        assert b"200 OK" in connection.recv(65536)
    assert events.getvalue() == ""


def test_slow_trickle_does_not_extend_the_time_for_the_headers(server: Server) -> None:
    """Finding S8."""
    connection = server.connect(b"GET / HTTP/1.1\r\nX: ")
    server.reaches(lambda: len(server.connections) == 1)
    for _ in range(3):
        connection.sendall(b"a")
        server.advance(BOUNDS.head_seconds / 3 + 0.1)
    assert rest(connection) == b""


def test_client_that_does_not_read_its_answer_is_disconnected(server: Server) -> None:
    """Finding S8."""
    connection = server.connect(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
    assert connection.recv(1)
    server.advance(BOUNDS.read_seconds + 1)
    server.reaches(lambda: len(server.connections) == 0)
    connection.close()


def test_request_that_is_being_answered_has_no_time_limit(server: Server) -> None:
    with server.connect(WAIT) as connection, server.connect(GET) as other:
        assert other.recv(65536)
        server.advance(3600)
        server.call(server.release.set)
        assert b"200 OK" in connection.recv(65536)


def test_new_connection_replaces_the_one_that_has_waited_longest_for_its_client(
    server: Server, events: io.StringIO
) -> None:
    """Finding S8: idle connections took all descriptors, and nothing was logged."""
    idle = [server.connect() for _ in range(50)]
    with server.connect(GET) as connection:
        assert b"200 OK" in connection.recv(65536)
    assert len(server.connections) <= BOUNDS.waiting_for_client
    assert rest(idle[0]) == b""
    assert reasons(events) == ["too many incomplete requests"]
    for each in idle:
        each.close()


def test_full_service_keeps_the_requests_that_it_answers(events: io.StringIO) -> None:
    """Finding S8."""
    with serving(Bounds(connections=10, waiting_for_client=10)) as server:
        answered = [server.connect(WAIT) for _ in range(10)]
        server.reaches(lambda: (len(server.connections), server.connections.waiting) == (10, 0))
        assert rest(server.connect(GET)) == b""
        assert reasons(events) == ["too many connections"]
        server.call(server.release.set)
        for each in answered:
            assert b"200 OK" in each.recv(65536)
            each.close()
