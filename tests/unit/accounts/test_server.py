"""Tests who is answered on the socket, and when the program ends."""

import contextlib
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sshaft import messages
from sshaft_accounts.accounts import Done, Refused
from sshaft_accounts.requests import Lock, Request
from sshaft_accounts.server import serve


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def handle(request: Request, _uid: int = 0) -> Done | Refused:
    return Done(7, "/home/a", "/bin/sh") if request == Lock("a") else Refused("no\x1b")


def ask(path: Path, data: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection, contextlib.suppress(ConnectionError):
        connection.connect(str(path))
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(1000), b""))
    return b""


def served(path: Path, may_ask: Callable[[int], bool], *questions: bytes) -> list[bytes]:
    """Returns the answer to each question."""
    answers: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        def run() -> None:
            answers.extend(ask(path, each) for each in questions)
            listening.shutdown(socket.SHUT_RDWR)  # ends accept()

        thread = threading.Thread(target=run)
        thread.start()
        with contextlib.suppress(OSError):
            serve(listening, may_ask, handle, idle=None)
        thread.join()
    return answers


def test_program_ends_when_nobody_asks(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        listening.listen()
        serve(listening, lambda _uid: True, handle, idle=0.01)


def test_request_is_answered(tmp_path: Path) -> None:
    question = messages.encode("lock", {"user": "a"})
    (answer,) = served(tmp_path / "s", lambda uid: uid == os.geteuid(), question)
    assert messages.decode(answer) == ("done", {"uid": "7", "home": "/home/a", "shell": "/bin/sh"})


def test_stranger_is_not_answered(tmp_path: Path) -> None:
    assert served(tmp_path / "s", lambda _uid: False, messages.encode("lock", {"user": "a"})) == [b""]


def test_message_that_is_cut_off_or_too_long_is_refused(tmp_path: Path) -> None:
    questions = (b"", b"sshaft/1 lock\nuser a\n", b"sshaft/1 lock\nuser " + b"a" * 66000 + b"\n\n", b"\n\n")
    for answer in served(tmp_path / "s", lambda _uid: True, *questions):
        assert messages.decode(answer)[0] == "refused"


def test_log_has_printable_signs_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    served(tmp_path / "s", lambda _uid: True, messages.encode("lock", {"user": "\x1b[2J\nüü"}))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.isascii()
    assert line.isprintable()


# --- what an agent in the wrong hands can send

FIELDS = ("user", "uid", "gecos", "home", "shell", "expires", "sessions", "add", "remove", "x")
TEXTS = st.text() | st.sampled_from(("a", "70001", "never", "2030-01-01", "end", "keep", "/bin/sh", "-o", "a:b", "x,"))
WHOLE = st.builds(
    messages.encode,
    st.sampled_from(("create", "groups", "lock", "unlock", "remove", "adopt", "x")),
    st.dictionaries(st.sampled_from(FIELDS), TEXTS),
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Returns a whole message in which some bytes are missing, new or doubled."""
    data = draw(WHOLE)
    first, last = sorted((draw(st.integers(0, len(data))), draw(st.integers(0, len(data)))))
    return data[:first] + draw(st.binary(max_size=9) | st.just(data[first:last] * 2)) + data[last:]


@given(st.lists(st.binary() | WHOLE | damaged(), max_size=5))
def test_any_bytes_are_answered_or_refused_and_the_next_request_is_answered(questions: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        *answers, last = served(
            Path(folder) / "s", lambda _uid: True, *questions, messages.encode("lock", {"user": "a"})
        )
    for answer in answers:
        kind, fields = messages.decode(answer)
        assert (kind, set(fields)) in (("done", {"uid", "home", "shell"}), ("refused", {"reason"}))
    assert messages.decode(last)[0] == "done"
