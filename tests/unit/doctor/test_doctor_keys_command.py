"""Tests that AuthorizedKeysCommand is split as in sshd."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sshaft_doctor.keys_command import expand, is_ours, options, split, tokens


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("  /a  b\tc ", ["/a", "b", "c"]),
        ("/a 'b c' \"d e\"", ["/a", "b c", "d e"]),
        ("/a b\\ c", ["/a", "b c"]),
        (r"/a \"b \\c", ["/a", '"b', "\\c"]),
        (r"/a 'b\'c'", ["/a", "b'c"]),
        (r"/a \n", ["/a", "\\n"]),
        ("/a ''", ["/a", ""]),
        ("/a b'c d'e", ["/a", "bc de"]),
    ],
)
def test_words_are_split_as_sshd_splits_them(text: str, words: list[str]) -> None:
    assert split(text) == words


@given(st.lists(st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1)))
def test_quoted_words_are_split_correctly(words: list[str]) -> None:
    quoted = ['"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"' for word in words]
    assert split(" ".join(quoted)) == words


def test_options_are_read_in_both_spellings() -> None:
    assert options(["/x", "--a", "1", "--b=2", "--c"]) == {"a": "1", "b": "2", "c": ""}


def test_tokens_are_expanded_once() -> None:
    assert expand("%%u-%u-%k", {"u": "%k", "k": "KEY"}) == "%u-%k-KEY"
    assert tokens("%f %% %C%") == ["f", "%", "C", ""]


@pytest.mark.parametrize(
    ("command", "ours"),
    [
        ("/sshaft/keys --agent /run/s", True),
        ("/usr/libexec/sshaft/sshaft-keys --config=/etc/c", True),
        ("/usr/bin/python3 -IS /opt/sshaft-keys --agent /run/s", True),
        ("/usr/libexec/sshaft/sshaft-keys", False),
        ("/usr/bin/opkssh verify %u %k %t", False),
        ("none", False),
        ("", False),
    ],
)
def test_sshaft_keys_is_known_by_its_name_and_options(command: str, ours: bool) -> None:
    assert is_ours(command) is ours
