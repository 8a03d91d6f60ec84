"""Tests how the words of a person are read."""

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sshaft_login.words import read_code, read_wish


@pytest.mark.parametrize(
    ("typed", "wish"),
    [
        ("482913", "482913"),
        ("482 913", "482913"),
        ("48-29-13", "482913"),
        ("4 8 2 9 1 3", "482913"),
        ("  482913  ", "482913"),
        ("-482913", "482913"),
        ("482.913", "482913"),
        ("482\u00a0913", "482913"),
        ("482\u202f913", "482913"),
        ("482\u2013913", "482913"),
        ("482\u2011913", "482913"),
        ("482913\u200b", "482913"),
        ("\ufeff482913", "482913"),
        ("'482913'", "482913"),
        ("\u201c482913\u201d", "482913"),
        ("482\t913", "482913"),
        ("482913\r\n", "482913"),
        ("\uff14\uff18\uff12\uff19\uff11\uff13", "482913"),
        ("\u0664\u0668\u0662\u0669\u0661\u0663", "482913"),
        ("482\ufffd913", "482913"),
        ("0", "0"),
        ("123456789012", "123456789012"),
        ("ssh mfa@host 482913", "482913"),
        ("$ ssh -p 2222 -o IdentitiesOnly=yes mfa@203.0.113.9 482 913", "482913"),
        ("SSH.EXE mfa@host deny", "deny"),
        ("ssh mfa@host", ""),
        ("ssh mfa@host enrol 5821-7741", "enrol58217741"),
        ("deny", "deny"),
        ("Deny", "deny"),
        (" DENY ", "deny"),
        ("'deny'", "deny"),
        ("enrol", "enrol"),
        ("Enrol 5821-7741", "enrol58217741"),
        ("enrol \u201c5821\u20137741\u201d", "enrol58217741"),
        ("", ""),
        ("   ", ""),
    ],
    ids=ascii,
)
def test_words_mean_what_they_look_like(typed: str, wish: str) -> None:
    """Case other_digits, and finding N14: `DENY` was no word."""
    assert read_wish(typed) == wish


@pytest.mark.parametrize(
    "typed",
    [
        "1234567890123",
        "-",
        " - ",
        "--help",
        "48291a",
        "0x1234",
        "1e5",
        "482913;id",
        "$(id)",
        "482913\n482914",
        "482913 deny",
        "deny please",
        "denied",
        "no",
        "sh",
        "/usr/lib/openssh/sftp-server",
        "scp -t /tmp",
        "ssh 482913",
        "enrolment",
        "enrol x",
        "enrol\n12345678",
        "enrol 1234567890123",
        "²³",
        "\x1b[2J",
        "\x1b[A",
        "\ufffd\ufffd",
        "1" * 100_000,
        "-" * 100_000,
    ],
    ids=lambda typed: ascii(typed)[:30],
)
def test_other_words_mean_nothing(typed: str) -> None:
    assert read_wish(typed) is None
    assert read_code(typed) == ""


@given(st.text() | st.text(alphabet="0123456789 -\t\r\n\u00a0\uff14"))
@example("1 \n2")
def test_code_is_up_to_twelve_ascii_digits(typed: str) -> None:
    code = read_code(typed)
    assert len(code) <= 12
    assert set(code) <= set(string.digits)


@given(st.text())
def test_any_text_is_read(typed: str) -> None:
    wish = read_wish(typed)
    assert wish is None or wish in ("", "deny") or wish.removeprefix("enrol").isdigit() or wish == "enrol"
