"""Makes the lists of a page readable for the Markdown of MkDocs."""

import re

_MARKER = re.compile(r"(?:\d+\.|[-*+]) +")
_INDENT = 4


def indented(text: str) -> str:
    """Returns the page with what belongs to an item of a list indented by four more than the list.

    CommonMark, and so GitHub, asks for the width of the marker only: three after "1. ". MkDocs would end the list
    there, and show commands as text.
    """
    lines, width, in_fence = [], 0, False
    for line in text.split("\n"):
        marker = None if in_fence else _MARKER.match(line)
        if line.startswith("```"):
            in_fence = not in_fence
        more = 0
        if marker:
            width = len(marker[0])
        elif width and line.startswith(" " * width):
            more = max(0, _INDENT - width)
        elif line:
            width = 0
        lines.append(" " * more + line)
    return "\n".join(lines)
