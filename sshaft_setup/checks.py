"""Checks single answers. Each function returns the value as it is written, or raises `ValueError` with the reason."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from pydantic import TypeAdapter, ValidationError

from sshaft import config
from sshaft.daemon.host_port import HOST_PORT
from sshaft.errors import ConfigurationError
from sshaft.validation import first_fault

_HOST = re.compile(r"[A-Za-z0-9.:_][A-Za-z0-9.:_-]{0,252}")
_DATABASES = ("postgresql://", "sqlite:////")


def _of_type(kind: Any) -> Callable[[str], str]:
    adapter = TypeAdapter[str](kind)

    def check(value: str) -> str:
        try:
            return adapter.validate_python(value)
        except ValidationError as error:
            reason = first_fault(error).removeprefix("Value error, ")
            raise ValueError(f"{value!r}: {reason}") from None

    return check


url = _of_type(config.Url)
text = _of_type(config.Text)


def optional_url(value: str) -> str:
    return url(value) if value else value


def optional_text(value: str) -> str:
    return text(value) if value else value


def base_url(value: str) -> str:
    """Accepts an address at which a service is, and takes slashes away from its end."""
    return url(value).rstrip("/")


def listen(value: str) -> str:
    try:
        HOST_PORT.convert(value, None, None)
    except click.UsageError as error:
        raise ValueError(f"{value!r}: {error.message}") from None
    return value


def host(value: str) -> str:
    if not _HOST.fullmatch(value):
        raise ValueError(f"{value!r} is no name and no address of a host")
    return value


def port(value: str) -> str:
    if not (value.isascii() and value.isdigit() and 1 <= int(value) <= 65535):
        raise ValueError(f"{value!r} is no port: give a number from 1 to 65535")
    return str(int(value))


def database(value: str) -> str:
    """Accepts an empty text, too: the database is then a file beside identity.json."""
    if value and not (value.startswith(_DATABASES) and value.isprintable()):
        raise ValueError("give postgresql://USER@HOST/NAME, or nothing for a file beside identity.json")
    return value


def yes_or_no(value: str) -> str:
    answer = {"y": "yes", "n": "no"}.get(value.lower(), value.lower())
    return one_of("yes", "no")(answer)


def one_of(*values: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if value not in values:
            raise ValueError(f"{value!r} is none of {', '.join(values)}")
        return value

    return check


def people(value: str) -> str:
    """Accepts `everyone`, or words `group:NAME` and `user:NAME` as a shell reads them: quotes keep blanks."""
    try:
        words = shlex.split(value)
    except ValueError as error:
        raise ValueError(f"{value!r}: {error}") from None
    for word in words:
        kind, colon, name = word.partition(":")
        if word != "everyone" and (kind not in {"group", "user"} or not colon or not name or not name.isprintable()):
            raise ValueError(f"{word!r}: give group:NAME, user:ACCOUNT or everyone, with blanks between them")
    if not words or ("everyone" in words and len(words) > 1):
        raise ValueError("name groups or users, or everyone alone")
    return shlex.join(words)


def factor_file(value: str) -> str:
    """Accepts a config.json of the SSH factor, and an empty text."""
    if value:
        try:
            config.load(Path(value))
        except ConfigurationError as error:
            raise ValueError(str(error)) from None
    return value
