"""Tests that my activity has a sentence for each event that the code writes about a user, and no other."""

import ast
from collections.abc import Iterator
from pathlib import Path

import sshaft_identity
from sshaft_identity.people import activity
from sshaft_identity.people.activity import SENTENCES, STEPS
from sshaft_identity.people.key_policy import KeyRefusal

RECORDERS = {"record_event", "record_challenge", "record_approval", "_record"}


def recordings() -> Iterator[tuple[str, ast.Call]]:
    """Yields every call that writes to the audit log, with its place."""
    for path in sorted(Path(sshaft_identity.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and _name(node.func) in RECORDERS:
                yield f"{path.name}:{node.lineno}", node


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def event_of(call: ast.Call) -> str | None:
    """Returns the name of the event, None if the call passes on its caller's event, or "" if there is no name."""
    names = [each.value for each in call.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
    if names:
        return names[0]
    return None if any(isinstance(each, ast.Name) and each.id == "event" for each in call.args) else ""


def is_about_nobody(call: ast.Call) -> bool:
    return any(
        each.arg == "user" and isinstance(each.value, ast.Constant) and each.value.value is None
        for each in call.keywords
    )


def test_code_that_writes_an_event_names_it_in_full() -> None:
    assert [place for place, call in recordings() if event_of(call) == ""] == []


def test_every_event_about_a_user_has_a_sentence_and_every_sentence_an_event() -> None:
    events = {event_of(call) for _, call in recordings() if not is_about_nobody(call)} - {None}
    assert len(events) > 15
    ends = {"challenge.rejected", "challenge.expired", "challenge.cancelled"}
    assert events == set(SENTENCES) | set(STEPS) | ends


def test_every_good_or_bad_event_has_a_sentence() -> None:
    assert set(SENTENCES) | set(STEPS) >= activity.GOOD | activity.BAD


def test_every_refusal_of_a_key_has_its_reason() -> None:
    assert set(KeyRefusal) <= set(activity.REASONS)
