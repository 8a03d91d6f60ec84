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
from sshaft_identity.challenges.challenges import Wish
from sshaft_identity.commands.identity import identity
from sshaft_identity.commands.shared import open_store
from sshaft_identity.people.sessions import Method, Sessions, SessionTimes
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
    Sessions(store.database, SessionTimes()).start("alice", Method.OIDC, now, authenticated_at=now)
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
        assert run("user", "list") == "alice\n"
        lock(store)
        until = json.loads(run("user", "show", "alice", "--json"))["locked_until"]
        assert run("user", "list") == f"alice locked-until={until}\n"
        assert json.loads(run("user", "list", "--json")) == [{"name": "alice", "id": "alice", "locked_until": until}]
        run("user", "unlock", "alice")
        assert run("user", "list") == "alice\n"


def test_show_of_an_unknown_user_fails(run: Run) -> None:
    with pytest.raises(AssertionError):
        run("user", "show", "nobody")


def test_sign_out_and_removal_say_what_they_ended(run: Run, store: Store) -> None:
    """Finding S1: the operator reads what ended."""
    with store:
        assert run("user", "sign-out", "alice") == "Ended: 1 browser, 0 enrolments, 0 logins.\n"
        ended = f"The key {KEY.fingerprint} was removed. Ended: 0 browsers, 0 enrolments, 0 logins.\n"
        assert run("key", "remove", KEY.fingerprint) == ended
