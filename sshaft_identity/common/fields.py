"""Types of the text fields that requests, settings and commands share."""

from typing import Annotated

from pydantic import AfterValidator, Field

USER_PATTERN = r"^[A-Za-z0-9._@+][A-Za-z0-9._@+-]{0,63}$"
FINGERPRINT_PATTERN = r"^SHA256:[A-Za-z0-9+/]{43}$"


def one_line(text: str) -> str:
    """Returns at most 512 characters of a foreign text, without characters that control a terminal, hide or reorder."""
    return "".join(c if c.isprintable() else " " for c in text[:512]).strip()


def whole(value: object) -> object:
    """Turns 50.0 into 50, for a `BeforeValidator`: JSON Schema counts both as the same integer."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


UserName = Annotated[str, Field(pattern=USER_PATTERN)]
Line = Annotated[str, AfterValidator(one_line)]
Identifier = Annotated[str, Field(max_length=64)]
Fingerprint = Annotated[str, Field(pattern=FINGERPRINT_PATTERN)]
Code = Annotated[str, Field(pattern="^[0-9]{1,16}$")]
