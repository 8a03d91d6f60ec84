"""Tests log events: one JSON line each, without secrets, and with foreign text escaped."""

import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from sshaft import log


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def written(write: Callable[[Any], object], level: str = "debug") -> list[dict[str, Any]]:
    """Returns the events that `write(logger)` writes."""
    stream = io.StringIO()
    log.set_up(level, stream)
    write(log.get_logger())
    text = stream.getvalue()
    assert text.isascii()
    assert text == "".join(line + "\n" for line in text.splitlines())
    return [json.loads(line) for line in text.splitlines()]


def fail(error: Exception) -> None:
    raise error


def test_event_is_one_json_line_with_its_facts() -> None:
    (event,) = written(lambda logger: logger.info("keys.listed", user="alice", count=2, seconds=None, ok=True))
    assert event.pop("timestamp").endswith("Z")
    assert event == {"event": "keys.listed", "level": "info", "user": "alice", "count": 2, "seconds": None, "ok": True}


@pytest.mark.parametrize(
    "name",
    [
        "secret", "client_secret", "token", "access_token", "password", "authorization", "client_assertion", "ticket",
        "code", "set_cookie", "body", "request_body",
    ],
)  # fmt: skip
@pytest.mark.parametrize("value", ["482913", 482913, b"482913", ["482913"], {"a": "482913"}])
def test_secrets_are_hidden_by_name(name: str, value: object) -> None:
    (event,) = written(lambda logger: logger.info("x", **{name: value}))
    assert event[name] == "[hidden]"
    assert "482913" not in json.dumps(event)


def test_secrets_are_hidden_inside_of_other_values() -> None:
    (event,) = written(lambda logger: logger.info("x", request={"headers": [{"authorization": "Bearer abc"}], "n": 1}))
    assert event["request"] == {"headers": [{"authorization": "[hidden]"}], "n": 1}


def test_traceback_has_no_local_variables() -> None:
    def fails(logger: Any) -> None:
        access, form = "Bearer s3cret-token", {"client_secret": "s3cret-form"}
        try:
            fail(RuntimeError(f"no answer to {len(access) + len(form)} things"))
        except RuntimeError:
            logger.exception("agent.fault")

    (event,) = written(fails)
    assert event["exception"][0]["exc_type"] == "RuntimeError"
    assert event["exception"][0]["frames"]
    assert "s3cret" not in json.dumps(event)


@pytest.mark.parametrize(
    "text",
    ['a\nfake: {"event": "login.accepted"}', "\x1b[2Jgone", "\u202eevil", "a\u2028b", "x" * 100_000, "\ud800", "\0"],
)
@pytest.mark.parametrize("where", ["value", "event", "list", "dict", "object", "exception"])
def test_foreign_text_is_escaped_and_cut_everywhere(text: str, where: str) -> None:
    def write(logger: Any) -> None:
        match where:
            case "value":
                logger.info("x", user=text)
            case "event":
                logger.info(text)
            case "list":
                logger.info("x", users=[text])
            case "dict":
                logger.info("x", users={text: text})
            case "object":
                logger.info("x", error=ValueError(text))
            case "exception":
                try:
                    fail(ValueError(text))
                except ValueError:
                    logger.exception("x")

    (event,) = written(write)
    decoded = json.dumps(event, ensure_ascii=False)
    assert decoded.isprintable()
    assert len(decoded) < 4096


@given(st.dictionaries(st.text("abc_", min_size=1, max_size=5), st.text(), max_size=4), st.text())
def test_every_event_is_one_line_of_json(facts: dict[str, str], name: str) -> None:
    assert len(written(lambda logger: logger.info(name, **facts))) == 1


@pytest.mark.parametrize(("level", "seen"), [("debug", 3), ("info", 2), ("warning", 1), ("error", 0)])
def test_events_below_the_level_are_dropped(level: str, seen: int) -> None:
    def write(logger: Any) -> None:
        logger.debug("a")
        logger.info("b")
        logger.warning("c")

    assert len(written(write, level)) == seen


def test_warning_of_a_library_is_an_event() -> None:
    def write(_logger: Any) -> None:
        logging.getLogger("some.library").info("small talk")
        logging.getLogger("some.library").warning("no %s given", "boundary\x1b[2J")
        try:
            fail(ValueError("secret"))
        except ValueError:
            logging.getLogger("asyncio").exception("Task exception was never retrieved")

    first, second = written(write)
    assert (first["event"], first["library"], first["level"]) == ("library.warning", "some.library", "warning")
    assert first["reason"] == "no boundary\\x1b[2J given"
    assert (second["library"], second["error"]) == ("asyncio", "ValueError")
