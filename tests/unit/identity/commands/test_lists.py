"""Tests that the JSON of each list has the documented members (docs/commands.md)."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from fakes.public_keys import ed25519

from sshaft_identity.commands.identity import identity
from sshaft_identity.commands.shared import open_store
from sshaft_identity.people.sessions import Method, Proof, Sessions, SessionTimes
from sshaft_identity.settings import load

PAGE = (Path(__file__).parents[4] / "docs/commands.md").read_text()
LISTS = dict(re.findall(r"(?m)^\| `sshaft identity ([a-z -]+list)(?: \[[A-Z]+\])?` \| (.*) \|$", PAGE))


@pytest.fixture
def directory(tmp_path: Path) -> str:
    directory = str(tmp_path / "id")
    for words, stdin in (
        (["init"], ""),
        (["user", "add", "alice"], ""),
        (["key", "add", "alice", "-"], ed25519()),
        (["client", "add", "web", "--scope", "challenges"], ""),
        (["challenge", "open", "alice"], ""),
    ):
        assert CliRunner().invoke(identity, ["--directory", directory, *words], input=stdin).exit_code == 0
    return directory


def give_tokens(directory: Path) -> None:
    """Signs browsers in, and gives clients access tokens: those that are valid now, and those that have expired."""
    now = datetime.now(UTC)
    with open_store(directory, load(directory)) as store:
        store.users.add("bob", now)
        (web,) = store.clients.all()
        for user, at in (("bob", now), ("alice", now), ("alice", now - timedelta(days=1))):
            Sessions(store.database, SessionTimes()).start(user, Proof(Method.OIDC, at, issuer="https://a.example"), at)
            store.access_tokens.issue(web, ["challenges"], at)


def test_json_of_each_list_has_the_documented_members(directory: str) -> None:
    assert set(LISTS) == {
        "user list", "key list", "client list", "challenge list", "signing-key list", "audit list", "session list",
        "token list",
    }  # fmt: skip
    give_tokens(Path(directory))
    for name, documented in LISTS.items():
        listed = CliRunner().invoke(identity, ["--directory", directory, *name.split(), "--json"])
        members = set(json.loads(listed.stdout)[0])
        if name == "challenge list":
            shown = {"id", "state", "user", "app", "binding", "verify_required", "created_at", "expires_at"}
            assert members == shown | {"client_id"}
        else:
            assert members == set(re.findall(r"`(\w+)`", documented)), name


def test_sessions_and_tokens_are_listed_while_they_are_valid_and_without_their_secrets(directory: str) -> None:
    def listed(*words: str) -> str:
        return CliRunner().invoke(identity, ["--directory", directory, *words]).stdout

    give_tokens(Path(directory))
    assert [each["user"] for each in json.loads(listed("session", "list", "--json"))] == ["alice", "bob"]
    assert [line.split()[0] for line in listed("session", "list", "bob").splitlines()] == ["USER", "bob"]
    assert [line.split()[0] for line in listed("token", "list").splitlines()] == ["CLIENT", "web", "web"]
    assert listed("session", "list", "nobody") == listed("token", "list", "nobody") == ""
    assert not re.search(r"[0-9a-f]{64}", listed("session", "list", "--json") + listed("token", "list", "--json"))


def test_events_are_listed_with_the_newest_first(directory: str) -> None:
    def listed(*words: str) -> str:
        return CliRunner().invoke(identity, ["--directory", directory, "audit", "list", *words]).stdout

    headings, *lines = listed().splitlines()
    assert headings.split() == ["AT", "EVENT", "USER", "FACTS"]
    assert [line.split()[1:3] for line in lines[:4]] == [
        ["challenge.created", "alice"],
        ["client.added", "-"],
        ["key.enrolled", "alice"],
        ["user.added", "alice"],
    ]
    assert len(listed("--user", "alice").splitlines()) == 4
    assert listed("--until", "2020-01-01") == listed("--user", "nobody") == ""
