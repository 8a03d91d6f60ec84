"""Tests the exports: what is in them, who may have them, and that no cell is a formula."""

import csv
import io
import json
from typing import Any

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from service.browser import Browser
from service.service import Service

from sshaft_identity.desk.export import harmless


def export(browser: Browser, path: str = "/desk/export", **fields: str) -> requests.Response:
    return browser.post(path, {"form_token": browser.form_token()} | fields)


def rows(answer: requests.Response) -> list[dict[str, str]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"].startswith("attachment; ")
    return list(csv.DictReader(io.StringIO(answer.content.decode(), newline="")))


def test_people_are_exported_as_csv(service: Service, rita: Browser, keys: dict[str, str]) -> None:
    service.add_user("al")
    (al, alice) = rows(export(rita, q="AL"))
    assert (al["name"], al["keys"], al["last_used_at"]) == ("al", "0", "")
    assert alice["created_at"] == "2026-11-22T12:00:00Z"
    assert [each["name"] for each in rows(export(rita))] == ["al", *sorted(keys)]
    (_, event) = service.audited("desk.list_exported")
    assert event.items() >= {"actor": "rita", "format": "csv", "by": "desk"}.items()


def test_events_of_a_person_are_exported_as_json_lines(service: Service, rita: Browser, keys: dict[str, str]) -> None:
    service.open("alice", app="Webmail\u202e")
    answer = export(rita, "/desk/people/alice/export", format="jsonl")
    assert answer.headers["Content-Type"] == "application/jsonl"
    events = [json.loads(line) for line in answer.text.splitlines()]
    assert [each["event"] for each in events][:2] == ["user.added", "key.enrolled"]
    assert events[1]["fingerprint"] == keys["alice"]
    assert answer.text.isascii()
    (event,) = service.audited("desk.exported")
    assert (event["user"], event["actor"]) == ("alice", "rita")


def test_export_of_more_than_one_batch_is_whole(
    service: Service, rita: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sshaft_identity.desk.export._BATCH", 2)
    names = [f"p{number}" for number in range(5)]
    for name in names:
        service.store.users.add(name, service.clock())
    assert [each["name"] for each in rows(export(rita, q="p"))] == names


def test_export_holds_only_events_of_the_person_who_has_the_name_now(service: Service, rita: Browser) -> None:
    service.store.revocation.remove_user("alice", service.clock())
    service.store.users.add("alice", service.clock())
    identifier = service.store.users.id_of("alice")
    events = rows(export(rita, f"/desk/people/{identifier}/export"))
    assert [each["event"] for each in events] == ["user.added", "desk.exported"]


def test_cells_of_an_export_are_no_formulas(service: Service, rita: Browser) -> None:
    for name in ("+cmd", "@SUM"):
        service.add_user(name)
    service.open("alice", app='=HYPERLINK("https://evil.example";"x")')
    names = [each["name"] for each in rows(export(rita))]
    assert names[:2] == ["'+cmd", "'@SUM"]
    apps = {each["app"] for each in rows(export(rita, "/desk/people/alice/export"))}
    assert '\'=HYPERLINK("https://evil.example";"x")' in apps


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "'=1", '"=1', "a;=1+1", "a, =1", "\uff1d1", "|=1"],
)
def test_formula_gets_a_quote_before_it(text: str) -> None:
    assert "'" in harmless(text).partition("=")[0] + harmless(text)[:1]
    assert harmless(text) != text


@settings(max_examples=50)
@given(st.text("=+-@;,|'\" a\t\r\uff1d"))
def test_no_cell_begins_a_formula(text: str) -> None:
    cell = harmless(text)
    for part in cell.replace(",", ";").replace("\t", ";").replace("|", ";").split(";"):
        assert part.lstrip(" \"'")[:1] not in tuple("=+-@\uff0b\uff0d\uff1d\uff20") or "'" in part
    assert not set(cell) & set("\r\n\t\x00\x1b")


def test_plain_text_stays_as_it_is() -> None:
    values: list[Any] = ["alice", "2026-11-22T12:00:00Z", "SHA256:abc+/=", "al-bob@example.org", 7, None]
    assert [harmless(each) for each in values] == [
        "alice", "2026-11-22T12:00:00Z", "SHA256:abc+/=", "al-bob@example.org", "7", "",
    ]  # fmt: skip
