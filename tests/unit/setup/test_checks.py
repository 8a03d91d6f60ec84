"""Tests which answers are taken, and what is said about others."""

import shlex
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sshaft_setup import checks


@pytest.mark.parametrize(
    ("check", "value", "written"),
    [
        (checks.base_url, "https://id.example.org/", "https://id.example.org"),
        (checks.url, "http://127.0.0.1:8080/x", "http://127.0.0.1:8080/x"),
        (checks.optional_url, "", ""),
        (checks.listen, "[::1]:8080", "[::1]:8080"),
        (checks.host, "mfa.example.org", "mfa.example.org"),
        (checks.port, "022", "22"),
        (checks.database, "postgresql://me@db/x", "postgresql://me@db/x"),
        (checks.yes_or_no, "Y", "yes"),
        (checks.people, " group:a   user:b ", "group:a user:b"),
        (checks.people, 'group:"two words"', "'group:two words'"),
    ],
)
def test_right_answer_is_taken(check: Callable[[str], str], value: str, written: str) -> None:
    assert check(value) == written
    assert check(written) == written


@pytest.mark.parametrize(
    ("check", "value", "reason"),
    [
        (checks.url, "id.example.org", "is not an https address"),
        (checks.url, "https://a@b", "must not carry a user name"),
        (checks.url, "http://id.example.org", "must be https"),
        (checks.url, "https://x\x1b", "is not an https address"),
        (checks.text, "", "at least 1 character"),
        (checks.text, "a\x07", "control characters"),
        (checks.listen, "8080", "must be HOST:PORT"),
        (checks.host, "-oProxyCommand=x", "no name and no address"),
        (checks.port, "0", "from 1 to 65535"),
        (checks.port, "٢٢", "from 1 to 65535"),
        (checks.database, "mysql://x", "postgresql://"),
        (checks.people, "", "name groups or users"),
        (checks.people, "groups:a", "give group:NAME"),
        (checks.people, "group:", "give group:NAME"),
        (checks.people, "'group:a\x1b'", "give group:NAME"),
        (checks.people, "everyone group:a", "everyone alone"),
        (checks.factor_file, "/nowhere/factor.json", "No such file"),
    ],
)
def test_wrong_answer_is_explained_without_raw_control_characters(
    check: Callable[[str], str], value: str, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason) as raised:
        check(value)
    assert str(raised.value).isprintable()


@given(st.lists(st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" "), min_size=1), min_size=1))
def test_every_name_of_a_group_survives_quoting(names: list[str]) -> None:
    written = checks.people(shlex.join(f"group:{name}" for name in names))
    assert shlex.split(written) == [f"group:{name}" for name in names]
    assert checks.people(written) == written
