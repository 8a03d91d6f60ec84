"""Tests that docs/log-events.md lists the events that the programs can log, with their levels."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
PAGE = (TOP / "docs" / "log-events.md").read_text()
LEVELS = {"debug": "debug", "info": "info", "warning": "warning", "error": "error",
          "exception": "error", "fault": "error", "_log_refusal": "warning"}  # fmt: skip
"""The level that each function gives its event."""
REPEATED = "repeat"
"""A function of the identity service that logs the event of failed work."""
NAME = re.compile(r"[a-z_]+(\.[a-z_]+)+")
FINDINGS = {"sshaft_doctor", "sshaft_demo"}
"""What these write has dotted names, too, and is no log."""


def constants(argument: ast.expr) -> list[str]:
    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
        return [argument.value]
    return []


def calls() -> Iterator[tuple[str, str]]:
    """Yields the function and the name of each event."""
    for path in TOP.glob("sshaft*/**/*.py"):
        if path.relative_to(TOP).parts[0] in FINDINGS:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            for name in constants(node.args[0]):
                if NAME.fullmatch(name):
                    yield function, name


def logged() -> set[tuple[str, str]]:
    """Returns the events in the code, as level and name."""
    return {(LEVELS[function], name) for function, name in calls() if function in LEVELS}


def documented() -> set[tuple[str, str]]:
    found, names = set(), []
    for line in PAGE.splitlines():
        cells = line.removeprefix("|").split(" | ")
        if len(cells) == 3 and cells[1] in LEVELS.values():
            names = re.findall(r"`([^`]+)`", cells[0]) or names
            found |= {(cells[1], name) for name in names}
    return found


OUTCOMES = {("info", "login.accepted"), ("info", "login.rejected"), ("info", "login.presented")}
"""The agent takes these names from a table: the outcome decides."""


def test_every_event_is_documented_with_its_level() -> None:
    assert logged() - documented() == set()


def test_no_event_is_documented_that_nothing_logs() -> None:
    assert documented() - logged() == OUTCOMES


def test_failures_of_regular_work_are_documented() -> None:
    repeated = {name for function, name in calls() if function == REPEATED}
    assert len(repeated) > 5
    assert [name for name in repeated if f"`{name}`" not in PAGE] == []
