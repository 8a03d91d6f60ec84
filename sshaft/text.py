"""Outside text on its way to a terminal or a log: escaped and cut here and nowhere else. Built-in modules only."""


def printable(text: str, limit: int = 200) -> str:
    r"""`text` as one line of printable ASCII and letters, at most `limit` characters long.

    Everything that could move a cursor, end a line, hide or reorder text (controls, separators, formats such as
    U+202E, surrogates, unassigned) becomes `\x1b`, `\u202e` and the like; a cut end shows as `...`.
    """
    cut = text if len(text) <= limit else text[: max(0, limit - 3)] + "..."
    if cut.isascii() and cut.isprintable() and "\\" not in cut:
        return cut
    shown = "".join(_shown(character) for character in cut)
    return shown if len(shown) <= limit else shown[: max(0, limit - 3)] + "..."


def _shown(character: str) -> str:
    # str.isprintable is false for Unicode categories Cc, Cf, Cs, Co, Cn, Zl, Zp and Zs but for the plain blank.
    if character.isprintable() and character != "\\":
        return character
    point = ord(character)
    if character == "\\":
        return "\\\\"
    return f"\\x{point:02x}" if point < 0x100 else f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"
