"""Tests the operator's ways to keys: invitations, files of many people, addresses and attestations."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from fakes.identity_server import IdentityServer, Reply, gibibyte, redirect
from fakes.public_keys import ed25519, rsa_key
from fakes.security_key import Maker, SecurityKey
from hypothesis import given
from hypothesis import strategies as st

from sshaft.errors import SshaftError
from sshaft.public_key import parse
from sshaft_identity.commands.identity import identity
from sshaft_identity.common.errors import RegistryError
from sshaft_identity.people.key_import import read_records

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(*arguments: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(identity, ["--directory", str(tmp_path / "id"), *arguments], input=stdin)

    assert run("init", "--ssh-host", "login.example.org").exit_code == 0
    run("user", "add", "alice")
    return run


@pytest.fixture
def server() -> Iterator[IdentityServer]:
    with IdentityServer() as server:
        yield server


def refused(result: Result) -> str:
    """Returns the line of error that `sshaft` would print."""
    assert isinstance(result.exception, SshaftError), result.output
    message = str(result.exception)
    assert "\n" not in message
    return message


def policy(tmp_path: Path, **members: Any) -> None:
    file = tmp_path / "id" / "identity.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"key_policy": members}))


def audited(tmp_path: Path) -> list[str]:
    with closing(sqlite3.connect(tmp_path / "id" / "identity.db")) as database:
        return [event for (event,) in database.execute("SELECT event FROM audit_events ORDER BY id")]


# --- invite


def test_invitation_prints_the_page_and_the_command(run: Run) -> None:
    result = run("invite", "alice", "--json", "--expires-in", "300")
    invited = json.loads(result.output)
    assert invited["ssh_command"] == f"ssh mfa@login.example.org enrol {invited['code']}"
    assert "/enrol/" in invited["page_url"]
    assert (invited["user"], invited["state"]) == ("alice", "open")
    lines = run("invite", "alice").output.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["code", "ssh_command", "page_url"]


@pytest.mark.parametrize("seconds", ["59", "901", "x"])
def test_invitation_lasts_one_to_fifteen_minutes(run: Run, seconds: str) -> None:
    assert run("invite", "alice", "--expires-in", seconds).exit_code == 2


def test_operator_can_cancel_an_invitation(run: Run, tmp_path: Path) -> None:
    run("invite", "alice")
    assert run("invite", "alice", "--cancel").exit_code == 0
    assert "no invitation of alice" in refused(run("invite", "alice", "--cancel"))
    assert audited(tmp_path)[-1] == "enrolment.cancelled"


def test_person_without_a_user_is_not_invited(run: Run) -> None:
    assert "user add bob" in refused(run("invite", "bob"))


# --- import


CSV = "user,authorized_key,name,expires_at\n"


def test_csv_of_many_people_is_imported(run: Run, tmp_path: Path) -> None:
    run("user", "add", "bob")
    text = (
        CSV + f'alice,{ed25519("a")} alice@laptop,,\nbob,{ed25519("b")},"Bob\'s, at home",2030-01-01T00:00:00+01:00\n'
    )
    result = run("key", "import", "--format", "csv", "-", stdin=text)
    assert result.exit_code == 0, result.output
    listed = run("key", "list").output.splitlines()
    assert listed[0].endswith(" alice alice@laptop")
    assert listed[1].endswith(" bob expires=2029-12-31T23:00:00Z Bob's, at home")
    assert audited(tmp_path).count("key.enrolled") == 2


def test_json_of_many_people_is_imported(run: Run) -> None:
    items = [{"user": "carol", "authorized_key": ed25519("c"), "name": "work"}]
    text = json.dumps(items)
    assert "no user carol (--create-users" in refused(run("key", "import", "--format", "json", "-", stdin=text))
    result = run("key", "import", "--format", "json", "--create-users", "-", stdin=text)
    assert result.output.splitlines()[0] == "user carol"
    assert run("user", "list").output.split() == ["alice", "carol"]


def test_dry_run_prints_the_same_and_changes_nothing(run: Run, tmp_path: Path) -> None:
    text = CSV + f"carol,{ed25519('c')},,\n"
    before = audited(tmp_path)
    result = run("key", "import", "--format", "csv", "--create-users", "--dry-run", "-", stdin=text)
    assert result.exit_code == 0
    assert "user carol" in result.output
    assert parse(ed25519("c")).fingerprint in result.output
    assert run("user", "list").output == "alice\n"
    assert run("key", "list").output == ""
    assert audited(tmp_path) == before


def test_every_bad_line_is_named_and_nothing_is_imported(run: Run) -> None:
    text = CSV + f"alice,{ed25519('a')},,\n-x,{ed25519('b')},,\nalice,ssh-dss AAAA,,\nalice,{ed25519('c')},,soon\n"
    message = refused(run("key", "import", "--format", "csv", "-", stdin=text))
    for part in ("line 3: user", "line 4: authorized_key", "line 5: expires_at"):
        assert part in message
    assert "line 2" not in message
    assert run("key", "list").output == ""


@pytest.mark.parametrize("end", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_expiry_outside_of_the_calendar_is_a_bad_line(run: Run, end: str) -> None:
    text = CSV + f"alice,{ed25519()},,{end}\n"
    assert "line 2: expires_at" in refused(run("key", "import", "--format", "csv", "-", stdin=text))


def test_csv_of_a_spreadsheet_is_imported(run: Run) -> None:
    text = f"\ufeffuser,authorized_key\r\nalice,{ed25519()}\r\n"
    assert run("key", "import", "--format", "csv", "-", stdin=text).exit_code == 0


def test_header_with_a_name_twice_is_refused(run: Run) -> None:
    text = f"user,authorized_key,user\nalice,{ed25519()},bob\n"
    assert "twice" in refused(run("key", "import", "--format", "csv", "-", stdin=text))


def test_keys_with_another_owner_are_named_and_nothing_is_imported(run: Run) -> None:
    run("user", "add", "bob")
    run("key", "add", "bob", "-", stdin=ed25519("b"))
    text = CSV + f"alice,{ed25519('a')},,\nalice,{ed25519('b')},,\nbob,{ed25519('a')},,\nnobody,{ed25519('n')},,\n"
    message = refused(run("key", "import", "--format", "csv", "-", stdin=text))
    for part in ("line 3: the key", "line 4: the key", "line 5: there is no user nobody"):
        assert part in message
    assert run("key", "list", "alice").output == ""


@pytest.mark.parametrize(
    ("kind", "text", "because"),
    [
        ("csv", "", "the header lacks authorized_key and user"),
        ("csv", "user,key\n", "the header lacks authorized_key"),
        ("csv", CSV, "holds no key"),
        ("csv", CSV.replace("name", "role") + f"alice,{ed25519()},admin,\n", "line 2: role"),
        ("csv", CSV + f"alice,{ed25519()},,,more\n", "line 2: more than the header"),
        ("csv", CSV + "alice\n", "line 2: authorized_key"),
        ("csv", CSV + '"alice\n', "not CSV"),
        ("json", "{", "is not JSON"),
        ("json", "{}", "is not a JSON array"),
        ("json", "[1]", "entry 1"),
        ("json", "[" * 100_000, "is not JSON"),
        ("json", '[{"user": "alice"}]', "entry 1: authorized_key"),
    ],
)
def test_malformed_file_is_refused_with_the_place_of_the_fault(run: Run, kind: str, text: str, because: str) -> None:
    assert because in refused(run("key", "import", "--format", kind, "-", stdin=text))


@given(st.text(max_size=200), st.sampled_from(["csv", "json"]))
def test_random_text_is_refused_with_a_registry_error(text: str, kind: str) -> None:
    with pytest.raises(RegistryError):
        read_records(text, kind, "x")


def test_key_of_the_user_that_is_imported_again_is_not_new(run: Run) -> None:
    text = CSV + f"alice,{ed25519('a')},,\n"
    assert run("key", "import", "--format", "csv", "-", stdin=text).output != ""
    assert run("key", "import", "--format", "csv", "-", stdin=text).output == ""


# --- an address


def test_keys_of_an_address_are_added_and_printed(run: Run, server: IdentityServer) -> None:
    server.replies["/alice.keys"] = Reply(200, f"{ed25519('a')}\n{ed25519('b')}\n".encode())
    result = run("key", "add", "alice", "--from-url", f"{server.url}/alice.keys")
    assert [line.split()[0] for line in result.output.splitlines()] == [
        parse(ed25519(seed)).fingerprint for seed in ("a", "b")
    ]
    assert "authorization" not in server.calls[0].headers


@pytest.mark.parametrize(
    "url",
    ["http://git.example.org/alice.keys", "ftp://127.0.0.1/x", "file:///etc/passwd", "https://u:p@example.org/x", "x"],
)
def test_address_must_be_https(run: Run, url: str) -> None:
    assert "the address" in refused(run("key", "add", "alice", "--from-url", url))


@pytest.mark.parametrize(
    ("reply", "because"),
    [
        (Reply(404), "answered 404"),
        (Reply(200, b""), "holds no key"),
        (Reply(200, b"<html>"), "line 1"),
        (redirect("http://127.0.0.1/elsewhere"), "redirect"),
        (gibibyte(), "larger than"),
    ],
    ids=["404", "empty", "html", "redirect", "gibibyte"],
)
def test_answer_other_than_200_adds_nothing(run: Run, server: IdentityServer, reply: Reply, because: str) -> None:
    server.replies["/alice.keys"] = reply
    assert because in refused(run("key", "add", "alice", "--from-url", f"{server.url}/alice.keys"))
    assert run("key", "list").output == ""


def test_command_needs_either_a_file_or_an_address(run: Run) -> None:
    for words in ((), ("-", "--from-url", "https://x.example")):
        assert run("key", "add", "alice", *words, stdin=ed25519()).exit_code == 2


# --- policy and attestation


def test_policy_applies_to_the_operator_too(run: Run, tmp_path: Path) -> None:
    policy(tmp_path, rsa_bits=3072, lifetime_days=30)
    assert "3072 bits" in refused(run("key", "add", "alice", "-", stdin=rsa_key(2048)))
    assert run("key", "add", "alice", "-", stdin=ed25519("a")).exit_code == 0
    assert "expires=" in run("key", "list").output


def test_attested_key_is_added_where_the_policy_requires_attestation(run: Run, tmp_path: Path) -> None:
    maker, key, challenge = Maker(), SecurityKey(), b"operator's challenge"
    (tmp_path / "id" / "makers.pem").write_bytes(maker.pem)
    policy(tmp_path, require_attestation=True, attestation_roots="makers.pem")
    (tmp_path / "attestation").write_bytes(key.attestation(maker, challenge))
    (tmp_path / "challenge").write_bytes(challenge)
    (tmp_path / "other").write_bytes(b"other")
    given_by = ("--attestation", str(tmp_path / "attestation"), "--challenge")
    assert "attestation" in refused(run("key", "add", "alice", "-", stdin=key.public))
    message = refused(run("key", "add", "alice", "-", *given_by, str(tmp_path / "other"), stdin=key.public))
    assert "not made for the challenge" in message
    two = f"{key.public}\n{ed25519()}"
    assert "one key" in refused(run("key", "add", "alice", "-", *given_by, str(tmp_path / "challenge"), stdin=two))
    assert datetime.now(UTC) < maker.root.not_valid_after_utc
    result = run("key", "add", "alice", "-", *given_by, str(tmp_path / "challenge"), stdin=key.public)
    assert result.exit_code == 0, result.exception
    assert run("key", "add", "alice", "-", *given_by[:2], stdin=key.public).exit_code == 2


def test_every_change_of_users_and_keys_is_in_the_audit_log(run: Run, tmp_path: Path) -> None:
    run("key", "add", "alice", "-", stdin=ed25519("a"))
    run("key", "remove", parse(ed25519("a")).fingerprint)
    run("user", "remove", "alice")
    assert audited(tmp_path)[2:] == ["user.added", "key.enrolled", "key.removed", "user.removed"]
