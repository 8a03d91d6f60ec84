"""Tests the sentences of sshaft-login, and its deadlines."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sshaft_login.sentences import sentence

TOP = Path(__file__).parents[3]


# --- sentences


STATUSES = {
    "accepted": 0,
    "invalid_code": 1,
    "other_user": 1,
    "no_challenge": 2,
    "expired": 2,
    "cancelled": 2,
    "already_rejected": 2,
    "already_used": 2,
    "rejected": 3,
    "too_many_attempts": 4,
    "not_chosen": 3,
    "code_required": 64,
    "choice_required": 64,
    "unavailable": 69,
    "too_many_prompts": 75,
    "unknown_key": 77,
    "passed_before": 77,
    "refused": 77,
    "invalid_ticket": 77,
    "wrong_key": 77,
    "no_denials": 78,
    "misconfigured": 78,
}


@pytest.mark.parametrize(("state", "status"), STATUSES.items())
def test_every_state_has_its_status_and_one_calm_sentence(state: str, status: int) -> None:
    """Finding U28: messages spoke of internals."""
    told, text = sentence(state)
    assert told == status
    assert text.isascii()
    assert text.isprintable()
    assert text.endswith((".", "!"))
    assert len(text) < 120
    assert not any(
        word in text.lower() for word in ("ticket", "agent", "socket", "http", "error", "token", "challenge")
    )


@pytest.mark.parametrize("state", ["", "Accepted", "accepted ", "ok", "something_new", "\x1b[2J", "accepted\n"])
def test_unknown_state_is_a_refusal(state: str) -> None:
    assert sentence(state) == sentence("refused")
    assert sentence(state)[0] == 77


@pytest.mark.parametrize(
    ("left", "end"),
    [
        ("4", " 4 tries are left."),
        ("2", " 2 tries are left."),
        ("1", " 1 try is left."),
        ("0", " No try is left: start the login again in the browser."),
        ("", "login."),
        ("-1", "login."),
        ("4.5", "login."),
        ("four", "login."),
        ("\u0664", "login."),
        ("²", "login."),
        ("4\x1b[2J", "login."),
    ],
)
def test_sentence_counts_the_tries_left(left: str, end: str) -> None:
    assert sentence("invalid_code", left)[1].endswith(end)


def test_last_wrong_code_has_the_status_of_too_many() -> None:
    """Finding N14: status 4 never came."""
    assert [sentence("invalid_code", left)[0] for left in ("0", "1", "")] == [4, 1, 1]


@pytest.mark.parametrize(("seconds", "told"), [("1", "1 second"), ("90", "90 seconds"), ("3481", "59 minutes")])
def test_locked_person_learns_when_it_works_again(seconds: str, told: str) -> None:
    """Finding U2: a locked person was told to start the login again in the browser."""
    status, text = sentence("too_many_attempts", retry_after=seconds)
    assert (status, "browser" in text) == (4, False)
    assert f"try again in {told};" in text


def test_only_the_sentence_of_a_wrong_code_counts_the_tries() -> None:
    assert sentence("accepted", "4") == sentence("accepted")


@pytest.mark.parametrize(
    ("state", "reference", "shown"),
    [
        ("unavailable", "0123456789abcdef", " (reference 01234567)"),
        ("refused", "0123456789abcdef", " (reference 01234567)"),
        ("accepted", "0123456789abcdef", ""),
        ("invalid_code", "0123456789abcdef", ""),
        ("unavailable", "", ""),
        ("unavailable", "a-b", ""),
        ("unavailable", "\x1b[2J", ""),
        ("unavailable", "é", ""),
        ("unavailable", "x" * 10_000, " (reference xxxxxxxx)"),
    ],
)
def test_sentence_of_a_failure_has_the_reference(state: str, reference: str, shown: str) -> None:
    assert sentence(state, "", reference)[1] == sentence(state)[1] + shown


@given(st.text(), st.text(), st.text())
def test_terminal_gets_one_plain_line_for_any_answer(state: str, left: str, reference: str) -> None:
    _status, text = sentence(state, left, reference)
    assert text.isascii()
    assert text.isprintable()
    assert len(text) < 200


# --- deadlines


def test_deadline_ends_a_waiting_process() -> None:
    code = (
        f"import sys; sys.path.append({str(TOP)!r})\n"
        "from sshaft_login.terminal import set_deadline\n"
        "set_deadline(30, 1, 'not this one')\nset_deadline(0.2, 75, 'Too late.')\nsys.stdin.read()"
    )
    began = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", code], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.wait(5) == 75
        assert process.stderr is not None
        assert process.stderr.read() == "Too late.\n"
    assert time.monotonic() - began < 8
