"""Tests what becomes of an account: suspended, locked, expired, open again; and what sshaft-accounts is asked for."""

import socket
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fakes.unix_server import UnixServer, read_question
from hypothesis import given, settings
from hypothesis import strategies as st

from sshaft import messages
from sshaft_agent.host_login.first_login.settings import CreateSettings
from sshaft_agent.host_login.life_cycle import changes
from sshaft_agent.host_login.life_cycle.life_cycle import LifeCycle
from sshaft_agent.host_login.life_cycle.records import Record, Records

NOW = 2_000_000_000  # 2033-05-18 03:33:20 UTC
DAY = 86400
END = {"user": "alice", "sessions": "end"}


class Helper:
    """A small server in place of sshaft-accounts, and the life cycle that asks it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "pam").write_text("account required pam_sshaft.so break_glass=rescue\n")
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.reason = ""
        self.now = float(NOW)
        self.life = self.new()

    def new(self, **create: Any) -> LifeCycle:
        """Returns a life cycle as an agent has it that starts now."""
        files = {"socket": self.directory / "accounts.sock", "pam_file": self.directory / "pam"}
        settings = CreateSettings.model_validate(files | create)
        return LifeCycle(Records(self.directory), settings, lambda: self.now)

    def answer(self, connection: socket.socket) -> None:
        self.asked.append(read_question(connection))
        done = {"uid": "70000", "home": "/home/alice", "shell": "/bin/bash"}
        refused = "refused", {"reason": self.reason}
        connection.sendall(messages.encode(*(refused if self.reason else ("done", done))))

    def refusal(self) -> str | None:
        return self.life.refusal("alice", self.now)

    def to_do(self) -> str:
        record = self.life.of("alice")
        return "" if record is None else record.to_do

    def taken(self) -> list[tuple[str, dict[str, str]]]:
        """Returns the requests since the last call."""
        asked, self.asked = self.asked, []
        return asked


@pytest.fixture
def helper(tmp_path: Path) -> Iterator[Helper]:
    helper = Helper(tmp_path)
    with UnixServer(tmp_path / "accounts.sock", helper.answer):
        yield helper


@pytest.fixture
def alone(tmp_path: Path) -> Helper:
    """A host whose sshaft-accounts does not run."""
    return Helper(tmp_path)


def test_account_that_nobody_closed_is_open(helper: Helper) -> None:
    assert (helper.refusal(), helper.life.of("alice")) == (None, None)
    helper.life.work()
    assert helper.asked == []


def test_suspended_account_is_refused_and_its_sessions_end(helper: Helper) -> None:
    assert helper.life.suspend("alice", "left on Friday") == ""
    assert helper.refusal() == "the account is suspended by operator: left on Friday"
    assert helper.new().refusal("alice", NOW) == helper.refusal(), "it is on the disk"
    assert helper.life.refusal("bob", NOW) is None
    assert helper.taken() == [("lock", END)]


def test_session_that_opened_during_the_suspension_ends_at_the_next_work(helper: Helper) -> None:
    helper.life.suspend("alice", "")
    helper.taken()
    helper.life.work()
    assert helper.taken() == [("lock", END)]
    helper.life.work()
    assert helper.taken() == []


@pytest.mark.parametrize("expires", ["", "never", "2040-01-31"])
def test_resumed_account_is_open(helper: Helper, expires: str) -> None:
    helper.life.suspend("alice", "")
    helper.taken()
    assert helper.life.resume("alice", expires) == ""
    assert helper.refusal() is None
    assert helper.taken() == [("unlock", {"user": "alice"} | ({"expires": expires} if expires else {}))]
    helper.life.work()
    assert helper.asked == [], "the sessions of an account that is open again go on"


def test_agent_refuses_while_sshaft_accounts_is_away(alone: Helper) -> None:
    said = alone.life.suspend("alice", "")
    assert "does not answer" in said
    assert "asks sshaft-accounts again each minute" in said
    assert alone.refusal() is not None
    alone.life.work()
    with UnixServer(alone.directory / "accounts.sock", alone.answer):
        alone.new().work()
        assert alone.taken() == [("lock", END)]


def test_last_word_counts_after_sshaft_accounts_was_away(alone: Helper) -> None:
    alone.life.suspend("alice", "")
    alone.life.resume("alice")
    with UnixServer(alone.directory / "accounts.sock", alone.answer):
        alone.life.work()
    assert alone.taken() == [("unlock", {"user": "alice"})]


@pytest.mark.parametrize("reason", ["usermod: status 1", "accounts.json: must belong to root"])
def test_request_that_failed_is_made_again(helper: Helper, reason: str) -> None:
    helper.reason = reason
    assert reason in helper.life.suspend("alice", "")
    helper.reason = ""
    helper.taken()
    helper.life.work()
    assert helper.taken() == [("lock", END)]


def test_operator_reads_what_remains_to_do_for_an_account_of_others(helper: Helper) -> None:
    helper.reason = "user: not an account of this program"
    said = helper.life.suspend("alice", "")
    assert "sshaft host accounts adopt alice" in said
    assert helper.refusal() is not None
    helper.taken()
    helper.life.work()
    assert helper.taken() == []
    helper.reason = ""
    assert helper.life.adopted("alice") == ""
    assert helper.taken() == [("lock", END)]


def test_without_create_the_agent_alone_refuses(helper: Helper) -> None:
    helper.life.settings = None
    assert "usermod --expiredate 1 alice" in helper.life.suspend("alice", "")
    assert helper.refusal() is not None
    helper.life.work()
    assert helper.life.resume("alice") == ""
    assert (helper.refusal(), helper.asked) == (None, [])


def test_suspension_by_an_operator_stays_one(helper: Helper) -> None:
    helper.life.suspend("alice", "left")
    helper.life.suspend("alice", "the provider refused", by="recheck")
    assert helper.refusal() == "the account is suspended by operator: left"
    helper.life.resume("alice", by="recheck")
    assert helper.refusal() == "the account is suspended by operator: left"
    assert {kind for kind, _ in helper.taken()} == {"lock"}


def test_suspension_is_lifted_by_the_one_who_made_it(helper: Helper) -> None:
    helper.life.suspend("alice", "the provider refused", by="recheck")
    helper.life.resume("alice", by="another")
    assert helper.refusal() == "the account is suspended by recheck: the provider refused"
    helper.life.resume("alice", by="recheck")
    assert helper.refusal() is None


def test_temporary_account_expires_and_its_sessions_end(helper: Helper) -> None:
    assert helper.life.made("alice", timedelta(days=30), helper.now) == "2033-06-18"
    helper.life.logged_in("alice", helper.now)
    helper.now += 30 * DAY - 1
    helper.life.work()
    assert (helper.refusal(), helper.asked) == (None, [])
    helper.now += 1
    assert helper.refusal() == "the account has expired"
    helper.life.work()
    assert helper.refusal() == "the account is locked: the account has expired"
    assert helper.taken() == [("lock", END)]
    helper.life.resume("alice", "2034-01-01")
    assert helper.refusal() is None
    helper.now = changes.midnight("2034-01-01")
    assert helper.refusal() == "the account has expired"


def test_account_that_nobody_uses_is_locked_and_its_processes_go_on(helper: Helper) -> None:
    helper.life = helper.new(lock_after="90d")
    helper.life.made("alice", None, helper.now)
    helper.life.logged_in("alice", helper.now)
    helper.now += 60 * DAY
    helper.life.logged_in("alice", helper.now)
    helper.now += 90 * DAY - 1
    helper.life.work()
    assert (helper.refusal(), helper.asked) == (None, [])
    helper.now += 1
    assert helper.refusal() == "nobody has logged in for 90 days", "also before the agent has locked it"
    helper.life.work()
    assert helper.refusal() == "the account is locked: nobody has logged in for 90 days"
    helper.life.work()
    assert helper.taken() == [("lock", END | {"sessions": "keep"})]
    helper.life.resume("alice")
    assert helper.refusal() is None


def test_account_that_could_not_be_made_is_not_over_when_the_person_comes_back(helper: Helper) -> None:
    helper.life = helper.new(lock_after="90d")
    helper.life.made("alice", timedelta(days=30), helper.now)
    helper.now += 900 * DAY
    helper.life.work()
    assert (helper.refusal(), helper.asked) == (None, [])
    assert helper.life.made("alice", timedelta(days=30), helper.now) == "2035-12-05"
    helper.life.logged_in("alice", helper.now)
    helper.now += 30 * DAY
    assert helper.refusal() == "the account has expired"


def test_suspension_of_a_name_outlasts_the_making_of_its_account(helper: Helper) -> None:
    """An operator suspends a name in the very moment of its first login."""
    helper.life.suspend("alice", "left")
    helper.life.made("alice", None, helper.now)
    helper.life.logged_in("alice", helper.now)
    assert helper.refusal() == "the account is suspended by operator: left"


def test_account_of_others_is_never_locked_for_its_age(helper: Helper) -> None:
    helper.life = helper.new(lock_after="90d")
    helper.life.logged_in("alice", helper.now)
    helper.now += 900 * DAY
    helper.life.work()
    assert (helper.refusal(), helper.asked) == (None, [])


@pytest.mark.parametrize(
    ("name", "stack"), [("rescue", "account required pam_sshaft.so break_glass=rescue\n"), ("alice", "")]
)
def test_account_whose_logins_we_do_not_hear_of_is_never_locked_for_its_age(
    helper: Helper, name: str, stack: str
) -> None:
    """The module does not ask us about accounts of `break_glass`; without an `account` line, not about keys either."""
    helper.life = helper.new(lock_after="90d")
    helper.life.made(name, None, helper.now)
    helper.life.logged_in(name, helper.now)
    (helper.directory / "pam").write_text(stack)
    helper.now += 900 * DAY
    helper.life.work()
    assert (helper.life.refusal(name, helper.now), helper.asked) == (None, [])


def test_age_of_an_adopted_account_begins_with_its_adoption(helper: Helper) -> None:
    helper.life = helper.new(lock_after="90d")
    helper.life.logged_in("alice", helper.now)
    helper.now += 900 * DAY
    helper.life.adopted("alice")
    helper.life.work()
    assert (helper.refusal(), helper.asked) == (None, [])


def test_last_login_is_written_once_an_hour(helper: Helper) -> None:
    def last() -> int | None:
        record = helper.life.of("alice")
        return record and record.last_login_at

    helper.life.logged_in("alice", NOW)
    helper.life.logged_in("alice", NOW + 3599)
    assert last() == NOW
    helper.life.logged_in("alice", NOW + 3600)
    assert last() == NOW + 3600
    helper.life.logged_in("alice", NOW)
    assert last() == NOW, "the clock was wrong before"


def test_groups_of_roles_are_remembered(helper: Helper) -> None:
    assert helper.life.role_groups("alice") == frozenset()
    helper.life.set_role_groups("alice", frozenset({"adm", "docker"}))
    assert helper.new().role_groups("alice") == {"adm", "docker"}
    helper.life.suspend("alice", "")
    helper.life.set_role_groups("alice", frozenset())
    assert (helper.life.role_groups("alice"), helper.refusal() is None) == (frozenset(), False)


def test_forgotten_account_leaves_nothing(helper: Helper) -> None:
    helper.life.suspend("alice", "")
    helper.life.forget("alice")
    assert (helper.life.all(), helper.refusal()) == ([], None)


def test_changes_at_once_lose_nothing(helper: Helper) -> None:
    """A group of a role, a login and a suspension change one row."""
    calls = [
        lambda: helper.life.suspend("alice", "left"),
        lambda: helper.life.set_role_groups("alice", frozenset({"adm"})),
        lambda: helper.life.logged_in("alice", NOW),
    ] * 4
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda call: call(), calls))
    record = helper.life.of("alice")
    assert record is not None
    assert (record.state, record.role_groups, record.last_login_at) == ("suspended", {"adm"}, NOW)


STEPS = ("suspend", "recheck", "lift", "resume", "expire", "work", "restart", "fail", "mend", "day")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(STEPS), max_size=14))
def test_host_and_agent_agree_after_all_that_happens(steps: list[str]) -> None:
    """Whatever fails meanwhile: at the end the host has the account locked if, and only if, the agent refuses it."""
    with tempfile.TemporaryDirectory() as name:
        helper = Helper(Path(name))
        with UnixServer(helper.directory / "accounts.sock", helper.answer):
            helper.life = helper.new(lock_after="3d")
            helper.life.made("alice", timedelta(days=6), helper.now)
            helper.life.logged_in("alice", helper.now)
            by_operator = False
            for step in steps:
                by_operator = step == "suspend" or (by_operator and step not in ("resume", "expire"))
                happen(helper, step)
                assert not by_operator or helper.refusal() == "the account is suspended by operator: left"
            helper.reason = ""
            helper.life.work()
            locked = [kind == "lock" for kind, _ in helper.asked][-1:] == [True]
            assert locked == (helper.refusal() is not None)


def happen(helper: Helper, step: str) -> None:
    life = helper.life
    calls: dict[str, Callable[[], object]] = {
        "suspend": lambda: life.suspend("alice", "left"),
        "recheck": lambda: life.suspend("alice", "the provider refused", by="recheck"),
        "lift": lambda: life.resume("alice", by="recheck"),
        "resume": lambda: life.resume("alice", "never"),
        "expire": lambda: life.resume("alice", "2020-01-01"),
        "work": life.work,
        "restart": lambda: setattr(helper, "life", helper.new(lock_after="3d")),
        "fail": lambda: setattr(helper, "reason", "usermod: status 1"),
        "mend": lambda: setattr(helper, "reason", ""),
        "day": lambda: setattr(helper, "now", helper.now + DAY),
    }
    calls[step]()


def test_frozen_sshaft_accounts_is_asked_once_in_a_round(alone: Helper, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes the connection and says nothing. The other accounts are not asked for in this round."""
    monkeypatch.setattr("sshaft_agent.host_login.life_cycle.life_cycle._ASK_SECONDS", 0.05)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(alone.directory / "accounts.sock"))
    listening.listen()
    listening.setblocking(False)
    for name in ("alice", "bob", "carol"):
        alone.life.suspend(name, "")
    for _ in range(3):
        listening.accept()[0].close()
    alone.life.work()
    listening.accept()[0].close()
    with pytest.raises(BlockingIOError):
        listening.accept()
    listening.close()


def test_row_survives_other_columns_of_a_record(tmp_path: Path) -> None:
    record = Record("alice", 1, "locked", "", "old", 2, 3, frozenset({"b", "a"}), is_managed=True, to_do="lock end")
    records = Records(tmp_path)
    assert records.change("alice", 0, lambda _old: record) == record
    assert records.of("alice") == record
    with sqlite3.connect(tmp_path / "host-login.sqlite") as database:
        assert database.execute("SELECT role_groups FROM life_cycle").fetchone() == ("a,b",)
    database.close()


@pytest.mark.parametrize(
    ("time", "day"),
    [(changes.midnight("2030-01-31"), "2030-01-31"), (changes.midnight("2030-01-31") + 1, "2030-02-01")],
)
def test_host_closes_an_account_no_earlier_than_the_agent(time: int, day: str) -> None:
    assert changes.first_day_after(time) == day
