"""Tests what the agent remembers of sessions, and what it asks sshaft-accounts to end."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fakes.unix_server import UnixServer
from structlog.testing import capture_logs

from sshaft import messages
from sshaft_agent.host_login.bindings import Bindings
from sshaft_agent.host_login.conversation import LoginQuestion
from sshaft_agent.host_login.sessions import processes
from sshaft_agent.host_login.sessions.sessions import Login, SessionQuestion, Sessions, answered
from sshaft_agent.host_login.sessions.store import Store

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
FIELDS = {"user": "alice", "service": "sshd", "rhost": "192.0.2.7", "pid": "4711", "began": "1230"}
LOGIN = Login("https://id.example.org", "0001", "a" * 32)
Events = Callable[[str], list[dict[str, Any]]]


class Host:
    """The sessions of a host whose processes are a set."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bindings = Bindings(folder)
        self.alive = {"4711:1230", "4712:1240", "4713:1250"}
        self.changes = 0
        self.sessions = self.start()

    def start(self) -> Sessions:
        """Starts the agent, perhaps again."""
        socket_ = self.folder / "accounts.sock"
        sessions = Sessions(
            self.bindings, lambda: socket_, self._changed, NOW.timestamp, is_alive=lambda each: each in self.alive
        )
        sessions.is_on = True
        return sessions

    def _changed(self) -> None:
        self.changes += 1

    def open(self, login: Login | None = LOGIN, **fields: str) -> None:
        if login is not None:
            self.sessions.passed(LoginQuestion.of(FIELDS | fields), login)
        answered(self.sessions, "session_open", SessionQuestion.of(FIELDS | fields))

    def close(self, **fields: str) -> None:
        answered(self.sessions, "session_close", SessionQuestion.of(FIELDS | fields))

    def accounts(self, kind: str = "done", **fields: str) -> UnixServer:
        """Returns sshaft-accounts, which answers like this."""
        path = self.folder / "accounts.sock"
        path.unlink(missing_ok=True)
        return UnixServer(path, messages.encode(kind, fields or {"uid": "70001", "home": "", "shell": ""}))


@pytest.fixture
def logged() -> Iterator[Events]:
    with capture_logs() as events:
        yield lambda name: [dict(each) for each in events if each["event"] == name]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_session_is_that_of_the_login_before_it(host: Host) -> None:
    host.open()
    (row,) = host.sessions.open_sessions()
    assert len(row.pop("id")) == 22
    assert row == {
        "account": "alice", "service": "sshd", "source": "192.0.2.7", "began": "2026-11-22T12:00:00+00:00",
        "iss": "https://id.example.org", "sub": "0001", "approval": "a" * 32,
    }  # fmt: skip
    assert host.changes == 1


def test_login_of_another_connection_or_account_says_nothing_of_a_session(host: Host) -> None:
    host.sessions.passed(LoginQuestion.of(FIELDS | {"pid": "4712"}), LOGIN)
    host.sessions.passed(LoginQuestion.of(FIELDS | {"user": "bob"}), LOGIN)
    host.open(None)
    assert host.sessions.open_sessions() == []


@pytest.mark.parametrize(("people", "subject"), [(0, None), (1, "s0"), (2, None)])
def test_login_by_a_key_is_that_of_the_only_person_of_the_account(host: Host, people: int, subject: str | None) -> None:
    for number in range(people):
        host.bindings.bind("alice", "https://op", f"s{number}", NOW, f"p{number}")
    host.open(None)
    assert [each["sub"] for each in host.sessions.open_sessions()] == ([subject] if subject else [])


def test_closed_session_is_forgotten(host: Host) -> None:
    host.open()
    host.close(pid="4712")
    assert len(host.sessions.open_sessions()) == 1
    host.close()
    host.close()
    assert host.sessions.open_sessions() == []
    assert host.changes == 2


def test_record_survives_the_end_of_the_agent_and_drops_what_has_ended_meanwhile(host: Host) -> None:
    for pid, began in (("4711", "1230"), ("4712", "1240")):
        host.open(pid=pid, began=began)
    host.alive.remove("4711:1230")
    again = host.start()
    assert len(again.open_sessions()) == 1
    host.alive.add("4711:1230")
    assert len(again.open_sessions()) == 1


def test_sessions_before_a_new_start_of_the_machine_are_gone(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.open()
    monkeypatch.setattr(processes, "_BOOT", host.folder / "boot")
    (host.folder / "boot").write_text("another\n")
    assert host.start().open_sessions() == []


def test_end_asks_for_the_sessions_of_each_account_apart(host: Host) -> None:
    host.open()
    host.open(pid="4712", began="1240")
    host.open(Login("https://id.example.org", "0002"), user="bob", pid="4713", began="1250")
    ids = [each["id"] for each in host.sessions.open_sessions()]
    with host.accounts() as accounts:
        host.sessions.end([*ids, "unknown"])
        host.sessions.end(["unknown"])
    asked = sorted((kind, fields["user"], sorted(fields["sessions"].split(","))) for kind, fields in accounts.asked)
    assert asked == [
        ("end_sessions", "alice", ["4711:1230", "4712:1240"]),
        ("end_sessions", "bob", ["4713:1250"]),
    ]
    assert len(host.sessions.open_sessions()) == 3  # they are gone when their processes are


def test_session_that_does_not_end_is_logged_once_and_tried_again(host: Host, logged: Events) -> None:
    host.open()
    (row,) = host.sessions.open_sessions()
    host.sessions.end([row["id"]])
    with host.accounts("refused", reason="sessions: some processes go on"):
        host.sessions.end([row["id"]])
    assert len(logged("host_session.not_ended")) == 1
    with host.accounts() as accounts:
        host.sessions.end([row["id"]])
    assert len(accounts.asked) == 1
    assert logged("host_session.ended")[0]["user"] == "alice"


def test_nothing_is_remembered_while_no_identity_service_hears_of_it(host: Host) -> None:
    host.sessions.is_on = False
    host.open()
    assert host.sessions.open_sessions() == []
    assert host.changes == 0


def test_broken_database_disturbs_no_session(host: Host, logged: Events) -> None:
    path = host.bindings.path
    path.unlink()
    path.mkdir()
    host.open()
    host.close()
    assert len(logged("host_session.not_kept")) == 2


@pytest.mark.parametrize("fields", [{"pid": ""}, {"pid": "0"}, {"pid": "x"}, {"began": ""}, {"began": "0"}])
def test_session_of_an_unknown_process_is_not_remembered(host: Host, fields: dict[str, str]) -> None:
    host.open(**fields)
    assert host.sessions.open_sessions() == []


def test_second_session_of_a_connection_takes_the_place_of_the_first(host: Host) -> None:
    host.open()
    host.open(Login("https://id.example.org", "0002"))
    assert [each["sub"] for each in host.sessions.open_sessions()] == ["0002"]


def test_full_record_takes_no_more(host: Host, monkeypatch: pytest.MonkeyPatch, logged: Events) -> None:
    monkeypatch.setattr("sshaft_agent.host_login.sessions.store.MOST", 1)
    host.open()
    host.open(pid="4712", began="1240")
    assert len(Store(host.folder).all()) == 1
    assert len(logged("host_session.full")) == 1


def test_foreign_text_is_made_safe(host: Host) -> None:
    host.open(rhost="x\x1b[2J\n" + "y" * 600)
    (row,) = host.sessions.open_sessions()
    assert "\x1b" not in row["source"]
    assert len(row["source"]) <= 255


# --- processes


def began_of(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[19]) * 1000 // os.sysconf("SC_CLK_TCK")


def test_process_is_alive_until_it_ends_and_another_one_with_its_number_is_not_it() -> None:
    process = subprocess.Popen(["sleep", "60"])
    began = began_of(process.pid)
    assert processes.is_alive(f"{process.pid}:{began}")
    assert not processes.is_alive(f"{process.pid}:{began + 10}")
    process.kill()
    deadline = time.monotonic() + 10
    while processes.is_alive(f"{process.pid}:{began}") and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not processes.is_alive(f"{process.pid}:{began}")
    process.wait()
    assert not processes.is_alive(f"{process.pid}:{began}")
    assert not processes.is_alive("99999999999:1")


def test_process_that_the_agent_may_not_see_counts_while_its_number_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_PROC", tmp_path)
    assert processes.is_alive("1:5")
    process = subprocess.Popen(["true"])
    process.wait()
    assert not processes.is_alive(f"{process.pid}:5")
