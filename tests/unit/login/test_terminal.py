"""Tests the words of the person and the sentences of sshaft-login."""

import string
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sshaft import exit_status
from sshaft_login.sentences import sentence
from sshaft_login.terminal import StopError, read_code, read_wish

TOP = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("typed", "wish"),
    [
        ("482913", "482913"),
        ("482 913", "482913"),
        ("48-29-13", "482913"),
        ("4 8 2 9 1 3", "482913"),
        ("  482913  ", "482913"),
        ("48 - 29 - 13", "482913"),
        ("482913-", "482913"),
        ("0", "0"),
        ("000000", "000000"),
        ("123456789012", "123456789012"),
        ("deny", "deny"),
        ("  deny ", "deny"),
        ("", ""),
        ("   ", ""),
    ],
)
def test_words_of_the_person_are_parsed(typed: str, wish: str) -> None:
    assert read_wish(typed) == wish


@pytest.mark.parametrize(
    "typed",
    [
        "1234567890123",
        "-482913",
        "-",
        " - ",
        "--help",
        "48291a",
        "482,913",
        "482.913",
        "482_913",
        "+482913",
        "0x1234",
        "1e5",
        "482913;id",
        "$(id)",
        "482913\n482914",
        "482\t913",
        "482913 deny",
        "Deny",
        "DENY",
        "deny please",
        "denied",
        "no",
        "sh",
        "/usr/lib/openssh/sftp-server",
        "scp -t /tmp",
        "\u0661\u0662\u0663",
        "\uff11\uff12\uff13",
        "²³",
        "482\u00a0913",
        "482\u2013913",
        "482\u200b913",
        "\x1b[2J",
        "\ufffd\ufffd",
        "1" * 100_000,
        "-" * 100_000,
    ],
    ids=lambda typed: ascii(typed)[:30],
)
def test_other_words_end_with_the_usage(typed: str) -> None:
    with pytest.raises(StopError) as stop:
        read_wish(typed)
    assert stop.value.status == exit_status.USAGE
    assert stop.value.text.startswith("Usage: ssh")


@given(st.text() | st.text(alphabet="0123456789 -\t\r\n"))
@example("1 \n2")
def test_code_is_up_to_twelve_ascii_digits(typed: str) -> None:
    code = read_code(typed)
    assert len(code) <= 12
    assert set(code) <= set(string.digits)
    assert code in ("", *["".join(c for c in typed if c in string.digits)])


# --- sentences


STATUSES = {
    "accepted": 0,
    "invalid_code": 1,
    "no_challenge": 2,
    "expired": 2,
    "cancelled": 2,
    "already_rejected": 2,
    "already_used": 2,
    "rejected": 3,
    "too_many_attempts": 4,
    "code_required": 64,
    "unavailable": 69,
    "unknown_key": 77,
    "refused": 77,
    "invalid_ticket": 77,
    "wrong_key": 77,
    "no_denials": 78,
    "misconfigured": 78,
}


@pytest.mark.parametrize(("state", "status"), STATUSES.items())
def test_every_state_has_its_status_and_one_calm_sentence(state: str, status: int) -> None:
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
