"""Recognises the prompt for an access token, and cuts a token into the parts that are typed there."""

import re

MAX_ANSWER = 1022
"""ssh cuts what askpass prints after 1,023 bytes."""
MORE = "\\"
"""Ends each part of a token but the last. No token has it."""
_PROMPT = re.compile(r"(?:\([^()\n]*\) )?(?:[^\0]*\n)?[^\n]*Access Token:")


def is_token_prompt(prompt: str) -> bool:
    """Whether a prompt asks for an access token: its last line ends so."""
    return _PROMPT.fullmatch(prompt) is not None


def parts_of(token: str) -> list[str]:
    """Returns what is typed at the prompts in turn. Each part but the last ends with `MORE`."""
    if len(token) <= MAX_ANSWER:
        return [token]
    size = MAX_ANSWER - len(MORE)
    pieces = [token[at : at + size] for at in range(0, len(token), size)]
    return [piece + MORE for piece in pieces[:-1]] + [pieces[-1]]
