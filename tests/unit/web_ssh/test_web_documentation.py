"""docs/web.md names every member of web.json and every reason, and the shipped web.json is a good one."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from sshaft_web import configuration
from sshaft_web.configuration import Limits, ProviderSettings, RecordingSettings, Settings, TargetSettings
from sshaft_web.people.sessions import End

TOP = Path(__file__).parents[3]
PAGE = (TOP / "docs" / "web.md").read_text()
SOURCES = "\n".join(path.read_text() for path in (TOP / "sshaft_web").rglob("*.py"))
NAMED = set(re.findall(r"`([a-z_]+)`", PAGE))


@pytest.mark.parametrize("section", [Settings, ProviderSettings, TargetSettings, Limits, RecordingSettings])
def test_page_names_every_member_of_web_json(section: type[BaseModel]) -> None:
    assert set(section.model_fields) - NAMED == set()


@pytest.mark.parametrize("name", Limits.model_fields)
def test_page_shows_the_usual_value_of_each_limit(name: str) -> None:
    (row,) = re.findall(rf"(?m)^\| `{name}` \| .* \| ([^|]+) \|$", PAGE)
    assert row.split()[0] == str(getattr(Limits(), name))


def test_page_names_every_reason_why_a_terminal_ends() -> None:
    reasons = set(re.findall(r'(?:\.close\(|code=|\(asyncssh\.\w+, |Error, )"([a-z]+[a-z_]*)"', SOURCES)) | set(End)
    assert {"idle", "host_key_changed", "exited", "no_account", "revoked"} <= reasons
    assert reasons - NAMED == set()


def test_page_names_every_event_of_the_log() -> None:
    events = set(re.findall(r'get_logger\(\)\.\w+\(\s*"([a-z_.]+)"', SOURCES))
    own = {"web.ready", "web.stopped", "metrics.ready", "request.failed"}  # as in every server
    assert "terminal.closed" in events
    assert {event for event in events - own if f"`{event}`" not in PAGE} == set()


def test_page_shows_the_shipped_web_json() -> None:
    shipped = (TOP / "examples" / "web" / "web.json").read_text()
    assert "\n".join(f"    {line}" for line in shipped.splitlines()) in PAGE
    configuration.load(TOP / "examples" / "web" / "web.json")
