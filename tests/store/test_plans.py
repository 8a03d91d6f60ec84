"""Tests the query plans of a login with many rows: every search of a large table uses a selective column."""

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from fakes.public_keys import ed25519
from service.service import START, Clock, Service
from sqlalchemy import Connection, event, insert, text

from sshaft.public_key import parse
from sshaft_identity.challenges.challenge import State
from sshaft_identity.challenges.codes import Codes
from sshaft_identity.clients.clients import Scope
from sshaft_identity.database.tables import audit_events, challenges, ssh_keys, users
from sshaft_identity.store import Store

MANY = 5000
LARGE = ("challenges", "ssh_keys", "users", "audit_events")
NAMES_FEW = ("id", "page_hash", "user_name", "hint", "code_index", "fingerprint", "name")

Said = dict[str, Any]
"""Executed statements and their parameters."""


def row(number: int, name: str | None, state: State, expires_at: datetime) -> dict[str, Any]:
    identifier = f"{state}{number}"
    return {
        "id": identifier, "user_name": name, "client_id": "other", "binding": "code_in", "verify_required": False,
        "state": state, "tries": 0, "code_hmac": "", "code_index": None if name else identifier,
        "page_hash": identifier, "created_at": expires_at - timedelta(minutes=5), "expires_at": expires_at,
        "verified": False,
    }  # fmt: skip


def fill_pending(connection: Connection) -> None:
    soon, lately = START + timedelta(hours=1), START - timedelta(hours=1)
    numbers = range(MANY)
    connection.execute(insert(challenges), [row(n, f"user{n}", State.PENDING, soon) for n in numbers])
    connection.execute(insert(challenges), [row(n + MANY, None, State.PENDING, lately) for n in numbers])


def fill_past(connection: Connection) -> None:
    """Adds one old challenge for every user, and as many for alice."""
    lately, numbers = START - timedelta(hours=1), range(MANY)
    everybody = [{"name": name, "created_at": START} for name in ("alice", *(f"user{n}" for n in numbers))]
    connection.execute(insert(users), everybody)
    keys = [
        {"fingerprint": f"SHA256:{n}", "user_name": f"user{n}", "type": "ssh-ed25519", "blob": b"", "name": "",
         "source": "test", "created_at": START}
        for n in numbers
    ]  # fmt: skip
    connection.execute(insert(ssh_keys), keys)
    connection.execute(insert(challenges), [row(n, f"user{n}", State.EXPIRED, lately) for n in numbers])
    connection.execute(insert(challenges), [row(n, "alice", State.CANCELLED, lately) for n in numbers])
    known = [{"at": lately, "event": "test", "user_name": f"user{n}", "facts": "{}"} for n in numbers]
    connection.execute(insert(audit_events), known)


@pytest.fixture
def said() -> Said:
    return {}


@pytest.fixture
def store(url: str, said: Said, request: pytest.FixtureRequest) -> Iterator[Store]:
    """Yields a filled store. `request.param`: the age of PostgreSQL's statistics."""
    with Store(url, Codes(b"k" * 32)) as store:
        event.listen(store.database.engine, "before_cursor_execute", lambda *about: said.update({about[2]: about[3]}))
        store.database.migrate()
        with store.database.write() as connection:
            fill_past(connection)
            if request.param == "old":
                connection.execute(text("ANALYZE"))
            fill_pending(connection)
            if request.param == "new":
                connection.execute(text("ANALYZE"))
        said.clear()
        yield store


def logins(service: Service) -> None:
    """Does logins in every way, and ends them in every way."""
    key = parse(ed25519("alice"))
    service.store.keys.add("alice", [(key, "")], service.clock())
    fingerprint = key.fingerprint
    service.keys("SHA256:" + "a" * 43)
    assert service.keys(fingerprint)[0]["challenge"] is None
    service.open()
    opened = service.open()
    assert service.keys(fingerprint)[0]["challenge"] == opened["id"]
    service.show(opened["id"])
    page = opened["page_url"].removeprefix("https://id.example.org")
    for path in (page, f"{page}/state"):
        assert service.call("GET", path).status_code == 200
    right = {"fingerprint": fingerprint, "code": opened["code"], "client_ip": "127.0.0.1"}
    assert service.accept(**right | {"code": "000000"}, attempt="wrong").status_code == 403
    for _ in range(2):  # an answer that was lost
        assert service.accept(**right, attempt="right").status_code == 200
    assert service.call("POST", f"/api/v1/challenges/{opened['id']}/consume", Scope.CHALLENGES, json={}).ok
    assert not service.accept(**right, attempt="late").ok

    anonymous = service.open(None)
    assert service.keys(fingerprint)[0]["binding"] == "code_in"
    assert not service.accept(fingerprint=fingerprint, code="00000000", attempt="guess").ok
    assert service.accept(fingerprint=fingerprint, code=anonymous["code"]).ok

    back = service.open(binding="code_back")
    code = service.accept(fingerprint=fingerprint, challenge=back["id"]).json()["code"]
    verify = f"/api/v1/challenges/{back['id']}/verify"
    assert service.call("POST", verify, Scope.CHALLENGES, json={"code": code}).ok

    service.open()
    assert service.reject(fingerprint=fingerprint).ok
    assert service.call("POST", f"/api/v1/challenges/{service.open()['id']}/cancel", Scope.CHALLENGES, json={}).ok


def plan_on_sqlite(connection: Connection, statement: str, values: Any) -> Iterator[tuple[str, str, str]]:
    """Yields table, index and condition of every step."""
    for step in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values):
        found = re.match(r"(?:SCAN|SEARCH) (\w+)(?: USING (?:COVERING )?INDEX (\w+))?(?: \((.*)\))?", step.detail)
        if found:
            yield found[1], found[2] or "", found[3] or ""


def plan_on_postgresql(connection: Connection, statement: str, values: Any) -> Iterator[tuple[str, str, str]]:
    """Yields the same for two plans: the plan for these values, and the later plan for all values."""
    explain = "EXPLAIN (FORMAT JSON)"
    yield from _steps(connection.exec_driver_sql(f"{explain} {statement}", values).scalar_one()[0]["Plan"])
    names: dict[str, int] = {}
    numbered = re.sub(r"%\((\w+)\)s", lambda name: f"${names.setdefault(name[1], len(names) + 1)}", statement)
    connection.exec_driver_sql("SET LOCAL plan_cache_mode = force_generic_plan")
    connection.exec_driver_sql(f"PREPARE it AS {numbered}")
    nulls = f"({', '.join(['NULL'] * len(names))})" if names else ""
    yield from _steps(connection.exec_driver_sql(f"{explain} EXECUTE it{nulls}").scalar_one()[0]["Plan"])
    connection.exec_driver_sql("DEALLOCATE it")
    connection.exec_driver_sql("SET LOCAL plan_cache_mode = auto")


def _steps(node: dict[str, Any], table: str = "") -> Iterator[tuple[str, str, str]]:
    table = node.get("Relation Name", table)
    if "Scan" in node["Node Type"] and node["Node Type"] != "Bitmap Heap Scan":
        yield table, node.get("Index Name", ""), node.get("Index Cond", "")
    for each in node.get("Plans", ()):
        yield from _steps(each, table)


def names_few(condition: str) -> bool:
    """Whether the condition has a selective column.

    SQLite writes `user_name=? AND state=?`, PostgreSQL writes `((user_name)::text = $1) AND ...`.
    """
    return bool(re.search(rf"\b({'|'.join(NAMES_FEW)})\b\)?(::text)? ?(= ?|IS NULL)", condition))


# The parameter is the age of PostgreSQL's statistics. SQLite has none here.
@pytest.mark.parametrize("store", ["new", "old"], indirect=True)
def test_no_query_of_a_login_scans_a_large_table(service: Service, store: Store, said: Said, clock: Clock) -> None:
    del clock
    logins(service)
    assert any(each.startswith("UPDATE challenges") for each in said)
    assert any("FROM ssh_keys LEFT OUTER JOIN challenges" in each for each in said)
    plan = plan_on_postgresql if store.database.is_postgresql else plan_on_sqlite
    searched, steps = [], 0
    with store.database.snapshot() as connection:
        for statement, values in list(said.items()):
            if not statement.startswith(("SELECT", "UPDATE", "DELETE")):
                continue
            for table, index, condition in plan(connection, statement, values):
                steps += 1
                if table in LARGE and not names_few(condition):
                    searched.append((table, index, condition, statement))
    assert steps > 20
    assert not searched, json.dumps(searched, indent=1)
