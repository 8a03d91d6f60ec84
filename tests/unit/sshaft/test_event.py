"""Tests the events of the commands that sshd starts: one JSON line on stderr, or in syslog."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

TOP = Path(__file__).parents[3]

WRITE = """
import ast, sys
from sshaft import event
for name, facts in ast.literal_eval(sys.stdin.read()):
    event.write("sshaft-keys", name, **facts)
"""


def run(code: str, events: object = (), **streams: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.append({str(TOP)!r})\n{code}"],
        input=ascii(events).encode(),
        timeout=10,
        check=True,
        **({"capture_output": True} | streams),
    )


def written(*events: tuple[str, dict[str, str | int]]) -> list[dict[str, Any]]:
    data = run(WRITE, events).stderr
    assert data.isascii()
    assert data.count(b"\n") == len(events)
    assert all(0x20 <= byte < 0x7F or byte == 0x0A for byte in data)
    return [json.loads(line) for line in data.splitlines()]


def test_event_is_one_json_line_on_stderr() -> None:
    (event,) = written(("keys.failed", {"error": "deadline", "count": 3}))
    assert event.pop("timestamp")[-1] == "Z"
    assert event == {
        "event": "keys.failed", "program": "sshaft-keys", "error": "deadline", "count": 3, "level": "error"
    }  # fmt: skip


facts = st.dictionaries(st.from_regex("[a-d]{1,3}", fullmatch=True), st.text(st.characters(codec=None)) | st.integers())


@pytest.mark.slow
@settings(max_examples=15)
@given(st.lists(st.tuples(st.from_regex("[a-z.]{1,9}", fullmatch=True), facts), max_size=40))
@example([("x", {"a": 'a\nb"\\\x1b[2J\u2028\u202e\ud800\U0001f511\0' + "x" * 5000})])
def test_random_event_is_one_json_line(events: list[tuple[str, dict[str, str | int]]]) -> None:
    for (name, told), event in zip(events, written(*events), strict=True):
        assert event["event"] == name
        assert set(told) <= set(event)
        for value in event.values():
            assert isinstance(value, int) or (value.isprintable() and len(value) <= 512)


@pytest.mark.parametrize("close", ["", "import os; os.close(2)\n"])
def test_writing_never_fails_without_stderr(close: str) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        assert run(close + WRITE, [("x", {})], stderr=write, capture_output=False).returncode == 0
    finally:
        os.close(write)


def test_writing_never_fails_without_syslog() -> None:
    run(WRITE, [("x", {})], stderr=subprocess.DEVNULL, capture_output=False)
    run('from sshaft import event\nevent.write_to_syslog("sshaft-login", "x", a="b")')


def test_event_of_the_forced_command_never_reaches_its_terminal() -> None:
    done = run('from sshaft import event\nevent.write_to_syslog("sshaft-login", "x", a="b")')
    assert (done.stdout, done.stderr) == (b"", b"")


# Runs a program in its own mount namespace with its own /dev, in which syslog listens.
NAMESPACE = """
set -e
mount -t tmpfs none "$1"
touch "$1/null" "$1/urandom"
mount --bind /dev/null "$1/null"
mount --bind /dev/urandom "$1/urandom"
mount --rbind "$1" /dev
exec "$2" -I -c '
import socket, subprocess, sys
log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
log.bind("/dev/log")
log.settimeout(5)
done = subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(log.recv(65536).decode("ascii"), end="")
' "$2" -I -S -c "$3"
"""


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a /dev of its own")
@pytest.mark.parametrize("function", ["write", "write_to_syslog"])
def test_event_goes_to_syslog_if_stderr_is_the_null_device(function: str, tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path.append({str(TOP)!r})\nfrom sshaft import event\n"
        f'event.{function}("sshaft-keys", "keys.failed", message="a\\nb")'
    )
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", NAMESPACE, "sh", tmp_path, sys.executable, code],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    if done.stderr.startswith("unshare:"):
        pytest.skip(f"no mount namespace of our own here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("<84>sshaft-keys[")
    assert json.loads(done.stdout[done.stdout.index("{") :])["message"] == r"a\x0ab"
