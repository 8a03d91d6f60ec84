"""Tests all keys clients as the real process that sshd starts, with good, bad, slow and missing agents."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from fakes import public_keys
from fakes.unix_server import UnixServer, drip, hang
from hypothesis import example, given
from hypothesis import strategies as st

from sshaft import messages, public_key
from sshaft_keys.__main__ import OPTIONS, parse

TOP = Path(__file__).parents[3]
PYTHON = str(Path(sys.executable).resolve())
KEY = public_keys.sk_ecdsa()
TYPE, ENCODED = public_keys.of(KEY)
FINGERPRINT = public_key.parse(KEY).fingerprint
LINE = f'restrict,command="/sshaft/login --agent /run/a --ticket t1" {KEY}\n'
ANSWER = messages.encode("keys", {"lines": LINE})


def arguments(agent: object) -> list[str]:
    return ["--agent", str(agent), "--fingerprint", FINGERPRINT, "--type", TYPE, "--key", ENCODED]


def run(client: Path, *words: Any, **more: Any) -> subprocess.CompletedProcess[str]:
    """Runs the command with the small environment that sshd gives it."""
    return subprocess.run(
        [client, *words],
        **({"capture_output": True} | more),
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
    )


def only_event(stderr: str) -> dict[str, Any]:
    (line,) = stderr.splitlines()
    event: dict[str, Any] = json.loads(line)
    assert (event["program"], event["event"], event["level"]) == ("sshaft-keys", "keys.failed", "error")
    return event


def test_line_of_the_agent_is_printed_as_it_is(client: Path, tmp_path: Path) -> None:
    with UnixServer(tmp_path / "s", ANSWER) as agent:
        done = run(client, *arguments(agent.path))
    assert (done.returncode, done.stdout, done.stderr) == (0, LINE, "")
    (kind, question), *more = agent.asked
    assert more == []
    request_id = question.pop("request_id")
    assert (kind, question) == ("keys", {"fingerprint": FINGERPRINT, "type": TYPE, "key": ENCODED})
    assert len(request_id) == 32
    assert int(request_id, 16)


def test_options_may_be_joined_by_an_equals_sign(client: Path, tmp_path: Path) -> None:
    assert ENCODED.endswith("=")
    with UnixServer(tmp_path / "s", ANSWER) as agent:
        words = arguments(agent.path)
        done = run(client, *(f"{name}={value}" for name, value in zip(words[::2], words[1::2], strict=True)))
    assert done.returncode == 0
    assert agent.asked[0][1]["key"] == ENCODED


def test_refusal_prints_nothing_and_succeeds(client: Path, tmp_path: Path) -> None:
    with UnixServer(tmp_path / "s", messages.encode("keys", {"lines": ""})) as agent:
        done = run(client, *arguments(agent.path))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_two_logins_have_two_request_ids(client: Path, tmp_path: Path) -> None:
    with UnixServer(tmp_path / "s", ANSWER) as agent:
        run(client, *arguments(agent.path))
        run(client, *arguments(agent.path))
    assert len({question["request_id"] for _, question in agent.asked}) == 2


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_are_printed(client: Path, option: str) -> None:
    done = run(client, option)
    assert (done.returncode, done.stderr) == (0, "")
    assert "sshaft-keys" in done.stdout


# --- start-up


LOADED = """
import sys
sys.path.append({top!r})
from {package}.__main__ import main
try:
    main({arguments!r})
finally:
    sys.stderr.write(" ".join(sys.modules) + "\\n")
"""


def loaded(code: str, **more: Any) -> set[str]:
    done = subprocess.run(
        [PYTHON, "-I", "-S", "-c", code], text=True, timeout=60, check=True,
        **({"capture_output": True} | more),
    )  # fmt: skip
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize("answer", [ANSWER, b"sshaft/1 error\nreason busy\n\n", b"broken", None], ids=repr)
def test_only_built_in_modules_and_sshaft_are_loaded(tmp_path: Path, answer: bytes | None) -> None:
    bare = loaded('import sys; sys.stderr.write(" ".join(sys.modules))')
    with UnixServer(tmp_path / "s", answer or b"") as agent:
        words = arguments(agent.path if answer is not None else tmp_path / "none")
        modules = loaded(LOADED.format(top=str(TOP), package="sshaft_keys", arguments=words))
    own = {name for name in modules if name.partition(".")[0] in ("sshaft", "sshaft_keys")}
    # some builds of Python have _socket as a file; in Debian it is built in
    assert modules - bare - own - {"__main__"} <= {
        *sys.builtin_module_names,
        "_socket",
    }
    assert "sshaft.agent_socket" in own
    assert not own & {"sshaft.config", "sshaft.log", "sshaft.listing", "sshaft_keys.standalone"}


def test_environment_cannot_change_the_program(launchers: Path, tmp_path: Path) -> None:
    for name in ("sshaft", "sshaft_keys", "posix_", "sitecustomize", "usercustomize"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(99)\n")
    done = subprocess.run(
        [launchers / "sshaft-keys", "--version"],
        capture_output=True,
        check=False,
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PYTHONSTARTUP": str(tmp_path / "sshaft.py"), "PYTHONHOME": str(tmp_path)},
    )
    assert done.returncode == 0


# --- options


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["-h"],
        ["help"],
        ["--agent"],
        ["--agent", "/s"],
        ["--agent", "/s", "--fingerprint", "f"],
        ["--agent", "/s", "--fingerprint", "f", "--type", "t"],
        ["--agent", "/s", "--config", "/c"],
        ["--fingerprint", "f", "--type", "t", "--key", "k"],
        ["--agent", "/s", "--agent", "/t"],
        ["--agent=/s", "--agent", "/t"],
        ["--config", "/c", "--unknown", "x"],
        ["--config", "/c", "positional"],
        ["--config", "/c", "-v"],
        ["--", "--config", "/c"],
        ["--help", "--config", "/c"],
        ["--Config", "/c"],
        ["--conf", "/c"],
        ["--config", "/c", "\n\x1b[2J"],
        [b"--\xff\xfe"],
    ],
    ids=ascii,
)
def test_wrong_options_are_one_line_and_status_64(client: Path, words: list[Any]) -> None:
    done = run(client, *words)
    assert (done.returncode, done.stdout) == (64, "")
    assert only_event(done.stderr)["error"] == "usage"
    assert "--help" in done.stderr


@given(st.lists(st.sampled_from([f"--{name}" for name in OPTIONS]) | st.text(max_size=10), max_size=8))
@example(["--key=a=b==", "--type", "--key"])
def test_options_are_parsed_to_known_names_or_a_reason(words: list[str]) -> None:
    parsed = parse(words, OPTIONS)
    assert isinstance(parsed, str) or set(parsed) <= set(OPTIONS)
    if isinstance(parsed, dict):
        assert sum(1 + ("=" not in word) for word in words[::1] if word.startswith("--")) >= len(parsed)


def test_value_of_an_option_is_not_changed() -> None:
    assert parse(["--key=a=b==", "--type", "--key"], OPTIONS) == {"key": "a=b==", "type": "--key"}


# --- bad agents


def test_missing_agent_is_an_event_and_no_keys(client: Path, tmp_path: Path) -> None:
    done = run(client, *arguments(tmp_path / "none"))
    assert (done.returncode, done.stdout) == (69, "")
    event = only_event(done.stderr)
    assert event["error"] == "agent_unavailable"
    assert str(tmp_path / "none") in event["message"]
    assert len(event["request_id"]) == 32


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"", 69),
        (ANSWER[:-1], 69),
        (ANSWER[:-20], 69),
        (b"HTTP/1.1 200 OK\r\n\r\n", 69),
        (LINE.encode(), 69),
        (b"\x1b[2J" * 100, 69),
        (messages.encode("keys", {"lines": "x" * 70_000}), 69),
        (messages.encode("error", {"reason": "identity_unavailable"}), 69),
        (messages.encode("error", {"reason": '\x1b[2J\n{"event": "fake"}'}), 69),
        (messages.encode("error", {"lines": LINE}), 69),
        (messages.encode("keys", {}), 65),
        (messages.encode("keys", {"line": LINE}), 65),
        (messages.encode("result", {"lines": LINE}), 65),
        (messages.encode("status", {"json": "{}"}), 65),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_unusable_answer_is_an_event_and_no_keys(client: Path, tmp_path: Path, answer: bytes, status: int) -> None:
    with UnixServer(tmp_path / "s", answer) as agent:
        done = run(client, *arguments(agent.path))
    assert (done.returncode, done.stdout) == (status, "")
    assert "\x1b" not in done.stderr
    only_event(done.stderr)


def test_slow_or_busy_agent_costs_three_seconds_and_gives_no_keys(client: Path, tmp_path: Path) -> None:
    with (
        UnixServer(tmp_path / "hangs", hang) as hangs,
        UnixServer(tmp_path / "drips", drip(ANSWER, 0.1)) as drips,
        socket.socket(socket.AF_UNIX) as busy,
        socket.socket(socket.AF_UNIX) as waiting,
    ):
        busy.bind(str(tmp_path / "busy"))
        busy.listen(0)
        waiting.connect(str(tmp_path / "busy"))
        began = time.monotonic()
        running = [
            subprocess.Popen(
                [client, *arguments(path)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for path in (hangs.path, drips.path, tmp_path / "busy")
        ]
        for process in running:
            out, err = process.communicate(timeout=60)
            assert (process.returncode, out) == (75, "")
            assert only_event(err)["error"] == "deadline"
        assert 2.9 < time.monotonic() - began < 9.5


def test_sshd_that_stops_reading_is_no_failure(client: Path, tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    with UnixServer(tmp_path / "s", ANSWER) as agent:
        done = run(client, *arguments(agent.path), capture_output=False, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_missing_standard_output_is_a_failure(client: Path, tmp_path: Path) -> None:
    with UnixServer(tmp_path / "s", ANSWER) as agent:
        done = subprocess.run(
            ["/bin/sh", "-c", '"$@" >&-', "sh", client, *arguments(agent.path)],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 70
    only_event(done.stderr)
