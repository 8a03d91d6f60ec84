"""Tests that foreign text becomes one line in which nothing moves, hides or reorders text."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sshaft.text import printable

BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
INVISIBLE = (
    "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180e\u180f\u200b\u200c\u200d\u2060\u2061\u2062\u2063\u2064"
    "\u206a\u2800\u3164\ufe00\ufe0f\ufeff\uffa0\ufff9\ufffa\ufffb\U000e0001\U000e0020\U000e007f\U000e0100\U000e01ef"
)
ODD = (
    BIDI
    + INVISIBLE
    + '\x1b\x9b\x07\x08\x7f\x85\u2028\u2029\ud800\udfff\ue000\uffff\U0010ffff\0\n\r\t\\"a \u00a0\u3000é'
)

texts = st.one_of(st.text(), st.text(alphabet=ODD), st.text(st.characters(codec=None), max_size=50))


@given(texts, st.integers(0, 600))
@example("\x1b" * 100, 10)
@example("a" * 201, 200)
@example("\\" * 200, 200)
@example("ab", 1)
def test_foreign_text_becomes_one_harmless_line_within_its_limit(text: str, limit: int) -> None:
    shown = printable(text, limit)
    assert len(shown) <= limit
    assert shown.isprintable()
    assert len(shown.splitlines()) <= 1
    assert not set(shown) & set(BIDI + INVISIBLE + "\x1b\n\r\0\x7f\x85\u2028\u2029")
    assert not {unicodedata.category(c) for c in shown} & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    shown.encode("utf-8")


@given(st.text(max_size=60), st.text(max_size=60))
def test_different_texts_that_fit_stay_different(one: str, other: str) -> None:
    assert (printable(one, 10_000) == printable(other, 10_000)) == (one == other)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("alice", "alice"),
        ("José 李", "José 李"),
        ("a\nb", r"a\x0ab"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("a\u200bb", r"a\u200bb"),
        ("a\u3164b", r"a\u3164b"),
        ("a\ufe0fb", r"a\ufe0fb"),
        ("\U000e0041", r"\U000e0041"),
        ("\ud83d", r"\ud83d"),
        ("C:\\x", r"C:\\x"),
        (r"\x1b", r"\\x1b"),
        ("\U0001f469\u200d\U0001f4bb", "\U0001f469\\u200d\U0001f4bb"),
    ],
)
def test_text_is_escaped_like_this(text: str, shown: str) -> None:
    """Finding U27: a joiner of emoji is an escape. It shows nothing itself, so two names could look the same."""
    assert printable(text) == shown


def test_cut_text_ends_with_three_dots() -> None:
    assert printable("a" * 200) == "a" * 200
    assert printable("a" * 201) == "a" * 197 + "..."
    assert printable("\x00" * 200).endswith("...")
