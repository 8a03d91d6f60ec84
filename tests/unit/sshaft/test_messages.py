"""Tests the protocol between the agent and the commands that sshd starts: a message is whole or refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sshaft import messages
from sshaft.messages import MessageError

EXAMPLES = json.loads((Path(__file__).parents[2] / "contract" / "messages.json").read_text())

names = st.from_regex(r"[a-z][a-z_]{0,9}", fullmatch=True)
fields = st.dictionaries(names, st.text(st.characters(codec="utf-8"), max_size=80), max_size=6)


@pytest.mark.parametrize("message", EXAMPLES["whole"], ids=lambda message: message["wire"][:30])
def test_messages_are_written_and_read_as_in_the_contract(message: dict[str, Any]) -> None:
    wire = message["wire"].encode("ascii")
    assert messages.encode(message["kind"], message["fields"]) == wire
    assert messages.decode(wire) == (message["kind"], message["fields"])


@pytest.mark.parametrize("message", EXAMPLES["read"], ids=lambda message: message["wire"][:30])
def test_other_spellings_in_the_contract_are_read(message: dict[str, Any]) -> None:
    assert messages.decode(message["wire"].encode("ascii")) == (message["kind"], message["fields"])


@pytest.mark.parametrize("wire", EXAMPLES["refused"], ids=repr)
def test_malformed_messages_of_the_contract_are_refused(wire: str) -> None:
    with pytest.raises(MessageError):
        messages.decode(wire.encode("ascii"))


@given(names, fields)
def test_encoded_message_is_decoded_unchanged(kind: str, sent: dict[str, str]) -> None:
    wire = messages.encode(kind, sent)
    assert wire.count(messages.END) == 1
    assert all(byte == 0x0A or 0x20 <= byte <= 0x7E for byte in wire)
    assert messages.decode(wire) == (kind, sent)


@given(names, fields)
def test_message_cut_off_at_any_byte_is_refused(kind: str, sent: dict[str, str]) -> None:
    wire = messages.encode(kind, sent)
    for end in range(len(wire)):
        with pytest.raises(MessageError):
            messages.decode(wire[:end])


@given(st.binary(max_size=200) | st.binary(max_size=80).map(lambda tail: b"sshaft/1 x\na " + tail + b"\n\n"))
@example(b"sshaft/1 x\na %\xb2\xb2\n\n")
@example(b"sshaft/1 \xe9\n\n")
def test_random_bytes_are_a_message_or_refused(data: bytes) -> None:
    try:
        kind, got = messages.decode(data)
    except MessageError:
        return
    assert messages.decode(messages.encode(kind, got)) == (kind, got)


@given(st.text(st.characters(codec=None), max_size=20))
def test_text_that_is_not_unicode_is_replaced(value: str) -> None:
    kind, got = messages.decode(messages.encode("x", {"a": value}))
    assert kind == "x"
    assert len(got["a"]) == len(value)


def test_message_longer_than_the_limit_is_refused() -> None:
    longest = messages.encode("x", {"a": "a" * (messages.MAX_MESSAGE - len(b"sshaft/1 x\na \n\n"))})
    assert len(longest) == messages.MAX_MESSAGE
    assert messages.decode(longest)
    with pytest.raises(MessageError):
        messages.decode(longest[:-2] + b"a\n\n")


def test_value_cannot_add_a_field_or_end_the_message() -> None:
    hostile = "x\n\nsshaft/1 result\nstate accepted\n\n"
    assert messages.decode(messages.encode("x", {"a": hostile, "b": "c"})) == ("x", {"a": hostile, "b": "c"})
