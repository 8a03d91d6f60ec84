"""Cuts a long answer to an operator into pages: one message of the agent holds 64 KiB."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

_MOST = 20_000
"""Characters of JSON. Each may become three bytes of a message."""


def page(rows: Sequence[Any], fields: Mapping[str, str]) -> Sequence[Any]:
    """Returns the rows of one message, from the row `skip` on. Empty: there are no more."""
    skip = fields.get("skip", "")
    first = last = int(skip) if skip.isascii() and skip.isdigit() and len(skip) < 10 else 0
    left = _MOST
    while last < len(rows) and (left := left - len(json.dumps(rows[last])) - 2) >= 0:
        last += 1
    return rows[first : max(last, first + 1)]
