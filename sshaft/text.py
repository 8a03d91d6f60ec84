"""Escapes and cuts foreign text for a terminal or a log. No other module does. Imports built-in modules only."""

_INVISIBLE = frozenset(
    [
        *(0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0),
        *(*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)),
    ]
)
"""Letters, marks and symbols that show nothing (Unicode's Default_Ignorable_Code_Point, and the blank of Braille). Two
names that differ only in these would look the same."""


def printable(text: str, limit: int = 200) -> str:
    r"""Returns `text` as one line of printable ASCII and letters, at most `limit` characters long.

    A character that could move a cursor, end a line, hide or reorder text becomes an escape such as `\x1b`. These are
    controls, separators, formats such as U+202E, fillers, surrogates and unassigned characters. A cut ends with `...`.
    """
    cut = text if len(text) <= limit else _cut(text, limit)
    if cut.isascii() and cut.isprintable() and "\\" not in cut:
        return cut
    shown = "".join(_escaped(character) for character in cut)
    return shown if len(shown) <= limit else _cut(shown, limit)


def _cut(text: str, limit: int) -> str:
    return (text[: max(0, limit - 3)] + "...")[:limit]


def _escaped(character: str) -> str:
    # str.isprintable() is false for the categories Cc, Cf, Cs, Co, Cn, Zl, Zp and Zs, but true for the plain blank.
    point = ord(character)
    if character.isprintable() and character != "\\" and point not in _INVISIBLE:
        return character
    if character == "\\":
        return "\\\\"
    return f"\\x{point:02x}" if point < 0x100 else f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"
