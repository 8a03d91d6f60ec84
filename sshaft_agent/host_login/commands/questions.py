"""Asks the running agent for the commands of `sshaft host`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sshaft import exit_status
from sshaft.errors import SshaftError
from sshaft.text import printable
from sshaft_agent.commands import NotRunningError, ask_agent

_MOST_PAGES = 10_000


class NotDoneError(SshaftError):
    """What the operator asked for cannot be done so. The message says what has changed, if anything has."""

    code = "not_done"
    exit_status = exit_status.DATA


def ask(directory: Path, kind: str, *, seconds: int = 20, **fields: str) -> Any:
    """Returns what the agent answers. Raises `NotRunningError`."""
    answered, answer = ask_agent(directory, kind, seconds=seconds, **fields)
    if answered not in ("answer", "status"):
        reason = answer.get("reason", answered)
        hint = "; is host_login in its config.json?" if reason == "bad_message" else ""
        raise NotRunningError(f"the agent cannot answer: {printable(reason)}{hint}")
    return json.loads(answer["json"])


def ask_rows(directory: Path, kind: str) -> Iterator[Any]:
    """Yields the rows of a list of the agent, page by page. Raises `NotRunningError`."""
    count = 0
    for _ in range(_MOST_PAGES):
        page = ask(directory, kind, skip=str(count))
        if not page:
            return
        yield from page
        count += len(page)
    raise NotRunningError("the list of the agent does not end")
