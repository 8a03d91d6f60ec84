"""The small parts of terminals: kept output, typed lines, and the pace of a person."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from service.web_service import Clock

from sshaft_web.people.sessions import End, Person, Sessions
from sshaft_web.terminals.output import Output
from sshaft_web.terminals.pace import MOST, Pace
from sshaft_web.terminals.typed_lines import PromptCancelledError, TypedLines

ALICE, BOB = Person("https://op", "alice", "Alice"), Person("https://op", "bob", "Bob")


@given(st.lists(st.binary(max_size=200_000), max_size=12), st.integers(1, 100_000))
def test_kept_output_is_the_end_of_all_output(parts: list[bytes], kept: int) -> None:
    output, everything = Output(kept), b"".join(parts)
    for part in parts:
        output.add(part)
    assert output.end == len(everything)
    assert min(kept, output.end) <= output.end - output.start <= kept + 128 * 1024
    assert output.read(output.start, len(everything)) == everything[output.start :]
    assert output.read(output.end, 10) == b""


def typed(*keys: bytes, echo: bool = True) -> tuple[str, str]:
    """Returns the line that these keys make, and what the terminal shows of it."""
    shown: list[str] = []

    async def ask() -> str:
        lines = TypedLines(shown.append)
        asking = asyncio.create_task(lines.ask("? ", echo=echo))
        await asyncio.sleep(0)
        for each in keys:
            lines.feed(each)
        return await asyncio.wait_for(asking, 1)

    return asyncio.run(ask()), "".join(shown)


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ([b"abc\r"], "abc"),
        ([b"abc\n"], "abc"),
        ([b"\xc3", b"\xa4\r"], "ä"),
        ([b"\xff\r"], "�"),
        ([b"ab\x7f\x7f\x7fc\r"], "c"),
        ([b"ab\x15c\r"], "c"),
        ([b"a\x1b[A\x1b[1;5Db\x1bOPc\r"], "abc"),
        ([b"\x1b[200~pasted\x1b[201~\r"], "pasted"),
        ([b"a\x00\x07\x1eb\r"], "ab"),
        ([b"x" * 10_000 + b"\r"], "x" * 4096),
        ([b"one\rtwo\r"], "one"),
    ],
)
def test_keys_make_a_line(keys: list[bytes], line: str) -> None:
    assert typed(*keys)[0] == line
    assert typed(*keys, echo=False) == (line, "? \r\n")


@given(st.binary(max_size=200))
def test_no_keys_show_anything_but_letters(keys: bytes) -> None:
    keys = keys.translate(None, b"\x03\x04")
    _, shown = typed(keys + b"\r")
    assert shown.replace("\b \b", "").removeprefix("? ").replace("\r\n", "").isprintable()


@pytest.mark.parametrize("key", [b"\x03", b"\x04"])
def test_person_cancels_a_prompt(key: bytes) -> None:
    with pytest.raises(PromptCancelledError):
        typed(b"ab" + key)


def test_pace_counts_each_person_and_forgets() -> None:
    clock = Clock()
    pace = Pace(clock)
    assert [pace.takes(ALICE) for _ in range(MOST + 1)] == [True] * MOST + [False]
    assert pace.takes(BOB)
    clock.seconds += 59
    assert not pace.takes(ALICE)
    clock.seconds += 2
    pace.forget()
    assert len(pace) == 0
    assert pace.takes(ALICE)


def test_person_is_who_the_provider_names_whatever_the_name() -> None:
    assert Person("https://op", "alice", "another name") == ALICE
    assert Person("https://other", "alice", "Alice") != ALICE


def test_end_of_a_session_is_heard_once() -> None:
    heard: list[End] = []
    sessions = Sessions(Clock(), 60, lambda _, end: heard.append(end))
    cookie, session = sessions.begin(ALICE, None, None)  # type: ignore[arg-type]
    watched: list[End] = []
    session.watch(watched.append)
    stop = session.watch(watched.append)
    stop()
    sessions.finish(session, End.SIGNED_OUT)
    sessions.finish(session, End.EXPIRED)
    assert (heard, watched) == ([End.SIGNED_OUT], [End.SIGNED_OUT])
    assert sessions.of(cookie) is None
