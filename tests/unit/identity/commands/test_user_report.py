"""Tests what the operator sees of a user."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from fakes.public_keys import ed25519
from service.service import wrong

from sshaft.public_key import parse
from sshaft_identity import settings
from sshaft_identity.challenges.attempts import Attempt
from sshaft_identity.challenges.challenge import Context
from sshaft_identity.challenges.challenges import Wish
from sshaft_identity.clients.clients import Client, Scope
from sshaft_identity.commands.identity import identity
from sshaft_identity.commands.shared import open_store
from sshaft_identity.host_logins.entries import Kind, Reported
from sshaft_identity.people.activity import SENTENCES
from sshaft_identity.people.last_logins import Ended
from sshaft_identity.people.sessions import Method, Proof, Sessions, SessionTimes
from sshaft_identity.store import Store

KEY = parse(ed25519("alice"))
Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(*words: str) -> str:
        result = CliRunner().invoke(identity, ["--directory", str(tmp_path / "id"), *words])
        assert result.exit_code == 0, result.output
        return result.output

    run("init")
    return run


@pytest.fixture
def store(run: Run, tmp_path: Path) -> Store:
    """Returns a store in which something of Alice waits everywhere."""
    del run
    directory = tmp_path / "id"
    store, now = open_store(directory, settings.load(directory)), datetime.now(UTC)
    store.users.add("alice", now)
    store.keys.add("alice", [(KEY, "laptop\x1b[31m")], now)
    Sessions(store.database, SessionTimes()).start("alice", Proof(Method.OIDC, now), now)
    store.enrolments.open("alice", now)
    store.challenges.open(Wish("alice", timedelta(minutes=5), client="web"), now)
    return store


def lock(store: Store) -> None:
    now = datetime.now(UTC)
    for number in range(10):
        opened = store.challenges.open(Wish("alice", timedelta(minutes=5), client=f"web{number}"), now)
        attempt = Attempt("alice", opened.challenge.id, wrong(opened.code), KEY.fingerprint)
        store.challenges.accept(attempt, now)


def test_show_prints_everything_of_a_user(run: Run, store: Store) -> None:
    """Finding U18: there was no `user show`."""
    with store:
        report = json.loads(run("user", "show", "alice", "--json"))
    assert (report["name"], report["id"], report["locked_until"]) == ("alice", "alice", None)
    assert [each["fingerprint"] for each in report["keys"]] == [KEY.fingerprint]
    assert [each["method"] for each in report["browsers"]] == ["oidc"]
    assert [each["state"] for each in report["enrolments"]] == ["open"]
    assert [(each["state"], each["client_id"]) for each in report["logins"]] == [("pending", "web")]
    assert report["last_events"][0]["event"] == "challenge.created"
    plain = run("user", "show", "alice")
    assert KEY.fingerprint in plain
    assert "\x1b" not in plain


def test_lock_out_is_visible_in_show_and_list(run: Run, store: Store) -> None:
    """Findings U2 and N13: `user list` was silent about a person who is locked out."""
    with store:
        assert run("user", "list").splitlines()[1].endswith("  -")
        lock(store)
        until = json.loads(run("user", "show", "alice", "--json"))["locked_until"]
        assert run("user", "list").splitlines()[1].endswith(f"  {until}")
        (listed,) = json.loads(run("user", "list", "--json"))
        assert (listed["name"], listed["id"], listed["locked_until"]) == ("alice", "alice", until)
        assert f"LOCKED out by wrong codes until {until}: `sshaft identity user unlock alice`" in show(run)
        run("user", "unlock", "alice")
        assert run("user", "list").splitlines()[1].endswith("  -")
        assert "LOCKED" not in show(run)


def show(run: Run) -> str:
    return run("user", "show", "alice")


def try_to_log_in(store: Store, code: str | None, *, denies: bool = False) -> None:
    """Begins a login and tries to pass it. None: with its own code."""
    now = datetime.now(UTC)
    context = Context(app="Wiki\x1b[2J", ip="198.51.100.3")
    wish = Wish("alice", timedelta(minutes=5), client="wiki", context=context)
    opened = store.challenges.open(wish, now)
    attempt = Attempt(
        "alice", opened.challenge.id, code or opened.code, KEY.fingerprint, client_ip="198.51.100.3", confirmed=True
    )
    (store.challenges.reject if denies else store.challenges.accept)(attempt, now)


def test_last_logins_are_shown(run: Run, store: Store) -> None:
    with store:
        assert json.loads(run("user", "show", "alice", "--json"))["last_logins"] == []
        try_to_log_in(store, None)
        (login,) = json.loads(run("user", "show", "alice", "--json"))["last_logins"]
    assert (login["ssh_address"], login["browser_address"]) == ("198.51.100.3", "198.51.100.3")
    assert (login["fingerprint"], login["client"], login["app"]) == (KEY.fingerprint, "wiki", "Wiki\x1b[2J")
    shown = show(run)
    assert "Last logins: 1" in shown
    assert "Wiki\\x1b[2J" in shown
    assert "\x1b" not in shown


def test_why_the_last_login_failed_is_a_sentence(run: Run, store: Store) -> None:
    with store:
        assert "Last failure: none in the audit log" in show(run)
        try_to_log_in(store, "1")
        assert "  The code was wrong.\n  application Wiki\\x1b[2J, client wiki, ssh from 198.51.100.3" in show(run)
        try_to_log_in(store, "1", denies=True)
        failure = json.loads(run("user", "show", "alice", "--json"))["last_failure"]
        assert (failure["event"], failure["why"]) == ("challenge.rejected", "The login was denied in ssh.")
        lock(store)
        assert "  The login ended, because wrong codes have locked the user out.\n" in show(run)


def test_failures_of_an_earlier_user_of_the_name_are_not_shown(run: Run, store: Store) -> None:
    with store:
        try_to_log_in(store, "1")
        run("user", "remove", "alice")
        run("user", "add", "alice")
        assert "Last failure: none in the audit log" in show(run)


def test_every_event_that_keeps_a_person_out_has_a_sentence() -> None:
    events = {event for event in SENTENCES if event.endswith((".refused", ".wrong_code"))}
    for event in events | {f"challenge.{end}" for end in ("rejected", "expired", "cancelled")} | {"limit.reached"}:
        assert Ended(datetime.now(UTC), event, {}).why.endswith(".")
    for reason in ("denied", "not_me", "tried_out", "locked"):
        assert Ended(datetime.now(UTC), "challenge.rejected", {"reason": reason}).why != "The login was denied."


def test_show_prints_where_the_user_is_logged_in(run: Run, store: Store) -> None:
    session = Reported(Kind.SESSION, "s1", "alice\x1b[2J", "sshd", "192.0.2.7", user_id="alice")
    with store:
        store.clients.add(Client("db1", frozenset([Scope.APPROVALS])), datetime.now(UTC))
        store.host_reports.take("db1", "db1.example.org", [session], datetime.now(UTC))
        (shown,) = json.loads(run("user", "show", "alice", "--json"))["host_sessions"]
        assert (shown["host"], shown["client"], shown["is_proven"]) == ("db1.example.org", "db1", False)
        plain = show(run)
        assert run("user", "sign-out", "alice") == "Ended: 1 browser, 0 enrolments, 0 logins, 1 at hosts.\n"
    assert "Open logins at hosts: 1" in plain
    assert "Approvals that hosts remember: 0" in plain
    assert "\x1b" not in plain


def test_show_of_an_unknown_user_fails(run: Run) -> None:
    with pytest.raises(AssertionError):
        run("user", "show", "nobody")


def test_sign_out_and_removal_say_what_they_ended(run: Run, store: Store) -> None:
    """Finding S1: the operator reads what ended."""
    with store:
        assert run("user", "sign-out", "alice") == "Ended: 1 browser, 0 enrolments, 0 logins.\n"
        ended = f"The key {KEY.fingerprint} was removed. Ended: 0 browsers, 0 enrolments, 0 logins.\n"
        assert run("key", "remove", KEY.fingerprint) == ended
