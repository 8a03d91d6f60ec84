"""Tests that docs/troubleshooting.md has every sentence that a person reads in ssh, and no other."""

import re
from pathlib import Path

from sshaft_agent.host_login import texts
from sshaft_login import sentences

TOP = Path(__file__).resolve().parents[2]
PAGES = {name: (TOP / "docs" / name).read_text() for name in ("troubleshooting.md", "for-people.md")}
LOCKED = "Too many wrong codes. You can try again in"
"""The sentence goes on with the time."""


def quoted(page: str, section: str) -> list[str]:
    """Returns the messages in the first column of a section's table."""
    part = PAGES[page].partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return re.findall(r"(?m)^\| `([^`]+)` \|", part)


def of_factor() -> list[str]:
    said = [sentences.sentence(state)[1] for state in sentences._SENTENCES]  # noqa: SLF001 - the list itself
    return [*said, sentences.sentence("too_many_attempts", retry_after="60")[1]]


def of_host_login() -> list[str]:
    values = [value for name, value in vars(texts).items() if name.isupper() and not name.startswith("_")]
    return [" ".join(value.split()) for value in values if isinstance(value, str) and value != texts.CLOSE]


def test_every_sentence_of_the_second_step_is_there() -> None:
    beginnings = quoted("troubleshooting.md", "The second step of a web login")
    assert [said for said in of_factor() if not any(said.startswith(each) for each in beginnings)] == []
    assert [each for each in beginnings if not any(said.startswith(each) for said in of_factor())] == []
    assert LOCKED in beginnings


def test_every_sentence_of_host_login_is_there() -> None:
    beginnings = quoted("troubleshooting.md", "A login to a host")
    assert [said for said in of_host_login() if not any(said.startswith(each) for each in beginnings)] == []
    assert [each for each in beginnings if not any(said.startswith(each) for said in of_host_login())] == []


def test_page_for_people_quotes_what_programs_say() -> None:
    known = [*of_factor(), *PAGES["troubleshooting.md"].partition("## The second step")[0].split("`")]
    told = quoted("for-people.md", "When it does not work")
    assert told
    assert [each for each in told if not any(said.startswith(each) for said in known)] == []
