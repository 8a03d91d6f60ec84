"""Writes log events: one JSON line each, on stderr, with a dotted name and facts as keys."""

import json
import logging
import sys
import traceback
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog
from structlog.tracebacks import ExceptionDictTransformer

from sshaft.text import printable

HIDDEN = ("secret", "token", "password", "authorization", "assertion", "ticket", "code", "cookie", "body")
"""If a key is one of these words, or ends with one (`client_secret`), its value is never written."""

_MAX_VALUE = 512
_MOST_FRAMES = 6
_JSON = json.JSONEncoder()


def set_up(level: str = "info", stream: TextIO | None = None) -> None:
    """Sends every event of this process to `stream` (stderr) as a JSON line. Events below `level` are dropped."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            # without local variables: some of them are tokens, secrets and forms
            structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
            make_safe,
            structlog.processors.JSONRenderer(lambda event, **_: _JSON.encode(event)),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=stream or sys.stderr),
        cache_logger_on_first_use=False,
    )
    libraries = logging.getLogger()
    if not any(isinstance(handler, _AsEvents) for handler in libraries.handlers):
        libraries.addHandler(_AsEvents(logging.WARNING))


def get_logger() -> Any:
    return structlog.get_logger()


def fault(event: str, error: Exception, **facts: object) -> None:
    """Writes a mistake of ours as an event: its kind, file names and lines. Its message could hold a token."""
    frames = [f"{each.filename}:{each.lineno}" for each in traceback.extract_tb(error.__traceback__)]
    get_logger().error(event, error=type(error).__name__, at=frames[-_MOST_FRAMES:], **facts)


class _AsEvents(logging.Handler):
    """Writes a warning of a library as an event, with its text made safe: it may be foreign text."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[0] if record.exc_info else None
        named = {} if error is None else {"error": error.__name__}
        get_logger().warning("library.warning", library=record.name, reason=record.getMessage(), **named)


def make_safe(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Hides secret values, and cuts and escapes all other text (a processor of structlog)."""
    for key, value in event.items():
        event[key] = _safe(key, value)
    return event


def _safe(key: str, value: Any) -> Any:
    if key != "event" and key.rpartition("_")[2] in HIDDEN:
        return "[hidden]"
    if isinstance(value, dict):
        return {printable(str(name), _MAX_VALUE): _safe(str(name), inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_safe(key, inner) for inner in value]
    if isinstance(value, int | float | None):
        return value
    return printable(str(value), _MAX_VALUE)
