"""Reads what a person typed: a code, `deny`, or `enrol` and a code. Loads only built-in modules.

People type and paste what looks right: other blanks, dashes, quotes and digits, or the whole command.
"""

_MAX_CODE = 12
DENY = "deny"
ENROL = "enrol"
_SSH = ("ssh", "ssh.exe")
_PROMPTS = ("$", "#", "%", ">")


def read_wish(text: str) -> str | None:
    """Returns the digits of a code, `deny`, `enrol`, or `enrol` and the digits of its code.

    An empty text is an empty wish. Returns None for other words.
    """
    if _has_controls(text):
        return None
    words = _without_command(text.split())
    plain = [letters for word in words if (letters := _letters_and_digits(word))]
    if not plain:
        return None if words else ""
    if plain == [DENY]:
        return DENY
    if plain[0] == ENROL:
        code = _digits("".join(plain[1:]))
        return None if plain[1:] and not code else ENROL + code
    return _digits("".join(plain)) or None


def read_code(text: str) -> str:
    """Returns the digits of a code, and an empty string for other text."""
    wish = read_wish(text) or ""
    return wish if wish.isdigit() else ""


def _has_controls(text: str) -> bool:
    """Whether a control stands within the text. A tabulator is a blank."""
    return any(c < " " or "\x7f" <= c < "\xa0" for c in text.strip().replace("\t", " "))


def _without_command(words: list[str]) -> list[str]:
    """Removes `ssh -p 2222 mfa@host` in front of the words of a pasted command."""
    if words and words[0] in _PROMPTS:
        words = words[1:]
    if not words or words[0].lower() not in _SSH:
        return words
    hosts = [place for place, word in enumerate(words) if "@" in word]
    return words[hosts[0] + 1 :] if hosts else words


def _letters_and_digits(word: str) -> str:
    """Returns the word without dashes, quotes, dots and characters that show nothing."""
    return "".join(c for c in word if c.isalnum()).lower()


def _digits(text: str) -> str:
    """Returns decimal digits of any script as 0 to 9, and an empty string for other text."""
    return "".join(str(int(c)) for c in text) if text.isdecimal() and len(text) <= _MAX_CODE else ""
