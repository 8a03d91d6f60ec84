"""Tests lists on stdout: tables for people, JSON for programs, and colours on a terminal alone."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from sshaft.command_line.output import Columns, table, write_list

Capture = pytest.CaptureFixture[str]
COLUMNS: Columns = {"NAME": "name", "STATE": "state", "MORE": lambda row: row["name"].upper()}
ROWS = [
    {"name": "a\x1b[2J", "state": "pending"},
    {"name": "東京", "state": None},
    {"name": "ü\x7f", "state": ["x", "y"]},
]


def test_columns_are_aligned_and_foreign_text_is_escaped() -> None:
    assert table(ROWS, COLUMNS) == [
        "NAME      STATE    MORE",
        r"a\x1b[2J  pending  A\x1b[2J",
        "東京      -        東京",
        r"ü\x7f     x, y     Ü\x7f",
    ]


def test_json_is_one_array_that_no_terminal_obeys(capsys: Capture) -> None:
    write_list(ROWS, COLUMNS, as_json=True, nothing="Nothing.")
    out, err = capsys.readouterr()
    assert (json.loads(out), err) == (ROWS, "")
    assert out.count("\n") == len(ROWS) + 2
    assert all(character == "\n" or " " <= character <= "~" for character in out)


@pytest.mark.parametrize(("as_json", "out", "err"), [(True, "[]\n", ""), (False, "", "Nothing.\n")])
def test_empty_list_is_an_empty_array_or_a_sentence(as_json: bool, out: str, err: str, capsys: Capture) -> None:
    write_list([], COLUMNS, as_json=as_json, nothing="Nothing.")
    assert capsys.readouterr() == (out, err)


def test_headings_stand_once_however_long_the_list_is(capsys: Capture) -> None:
    rows = ({"name": f"{number}", "state": "x"} for number in range(2500))
    write_list(rows, COLUMNS, as_json=False, nothing="Nothing.")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2501
    assert [number for number, line in enumerate(lines) if line.startswith("NAME")] == [0]


LONG = """
import sys
from sshaft.command_line.output import write_list

def rows():
    for number in range(10**9):
        yield {"name": str(number)}
        if number == 100_000:
            print("read on", file=sys.stderr)

write_list(rows(), {"NAME": "name"}, as_json=len(sys.argv) > 1, nothing="")
"""


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_list_ends_quietly_when_its_reader_has_gone(words: list[str]) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", LONG, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as listing:
        assert listing.stdout is not None
        assert listing.stderr is not None
        listing.stdout.readline()
        listing.stdout.close()
        assert (listing.wait(30), listing.stderr.read()) == (-signal.SIGPIPE, "")


def test_list_ends_quietly_at_ctrl_c() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", LONG], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as listing:
        assert listing.stdout is not None
        assert listing.stderr is not None
        listing.stdout.readline()
        listing.send_signal(signal.SIGINT)
        assert (listing.wait(30), listing.stderr.read()) == (-signal.SIGINT, "")


def shown_on_a_terminal(environment: Mapping[str, str], path: Path) -> str:
    """Returns what a terminal gets: a list on stdout and an error on stderr."""
    code = """
from sshaft.command_line import main
from sshaft.command_line.output import write_list
write_list([{"STATE": "accepted", "NAME": "accepted"}], {"STATE": "STATE", "NAME": "NAME"}, as_json=False, nothing="")
main(["agent", "check", "--config", "nowhere"])
"""
    master, slave = pty.openpty()
    try:
        subprocess.run(
            [sys.executable, "-c", code],
            stdin=subprocess.DEVNULL, stdout=slave, stderr=slave, check=True, timeout=60, cwd=path,
            env={"PYTHONPATH": str(Path(__file__).parents[3]), **environment},
        )  # fmt: skip
        return os.read(master, 10_000).decode()
    finally:
        os.close(master)
        os.close(slave)


def test_states_and_errors_have_colours_on_a_terminal(tmp_path: Path) -> None:
    shown = shown_on_a_terminal({"TERM": "xterm"}, tmp_path)
    assert "\x1b[32maccepted\x1b[0m  accepted\r\n" in shown
    assert "\x1b[31msshaft:\x1b[0m nowhere: can't be read" in shown


@pytest.mark.parametrize("environment", [{"TERM": "xterm", "NO_COLOR": "1"}, {"TERM": "dumb"}, {}], ids=str)
def test_terminal_that_wants_no_colours_gets_none(environment: dict[str, str], tmp_path: Path) -> None:
    shown = shown_on_a_terminal(environment, tmp_path)
    assert "accepted  accepted\r\nsshaft: nowhere" in shown
    assert "\x1b" not in shown


def test_pipe_gets_no_colours(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    write_list([{"STATE": "accepted"}], {"STATE": "STATE"}, as_json=False, nothing="")
    assert capsys.readouterr().out == "STATE\naccepted\n"
