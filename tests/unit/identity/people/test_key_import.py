"""Tests the operator's ways to keys: invitations, files of many people, addresses and attestations."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
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

pytestmark = pytest.mark.slow

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(*arguments: str, stdin: str | bytes | None = None) -> Result:
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


def keys(run: Run) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads(run("key", "list", "--json").stdout)
    return listed


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
    listed = [(each["user"], each["expires_at"], each["name"]) for each in keys(run)]
    assert listed == [("alice", None, "alice@laptop"), ("bob", "2029-12-31T23:00:00Z", "Bob's, at home")]
    assert audited(tmp_path).count("key.enrolled") == 2


def test_json_of_many_people_is_imported(run: Run) -> None:
    items = [{"user": "carol", "authorized_key": ed25519("c"), "name": "work"}]
    text = json.dumps(items)
    assert "no user carol (--create-users" in refused(run("key", "import", "--format", "json", "-", stdin=text))
    result = run("key", "import", "--format", "json", "--create-users", "-", stdin=text)
    assert result.output.splitlines()[0] == "user carol"
    assert [line.split()[0] for line in run("user", "list").stdout.splitlines()] == ["USER", "alice", "carol"]


def test_dry_run_prints_the_same_and_changes_nothing(run: Run, tmp_path: Path) -> None:
    text = CSV + f"carol,{ed25519('c')},,\n"
    before = audited(tmp_path)
    result = run("key", "import", "--format", "csv", "--create-users", "--dry-run", "-", stdin=text)
    assert result.exit_code == 0
    assert "user carol" in result.output
    assert parse(ed25519("c")).fingerprint in result.output
    assert [line.split()[0] for line in run("user", "list").stdout.splitlines()] == ["USER", "alice"]
    assert run("key", "list").stdout == ""
    assert audited(tmp_path) == before


def test_every_bad_line_is_named_and_nothing_is_imported(run: Run) -> None:
    text = CSV + f"alice,{ed25519('a')},,\n-x,{ed25519('b')},,\nalice,ssh-dss AAAA,,\nalice,{ed25519('c')},,soon\n"
    message = refused(run("key", "import", "--format", "csv", "-", stdin=text))
    for part in ("line 3: user", "line 4: authorized_key", "line 5: expires_at"):
        assert part in message
    assert "line 2" not in message
    assert run("key", "list").stdout == ""


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
    assert run("key", "list", "alice").stdout == ""


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
    assert "1 new" in run("key", "import", "--format", "csv", "-", stdin=text).stderr
    again = run("key", "import", "--format", "csv", "-", stdin=text)
    assert (again.stdout, again.stderr) == ("", "Keys: 0 new, 0 with another end, 1 unchanged.\n")


def ends(run: Run) -> list[str]:
    return [each["expires_at"] for each in keys(run)]


def import_end(run: Run, end: str) -> Result:
    return run("key", "import", "--format", "csv", "-", stdin=CSV + f"alice,{ed25519('a')},,{end}\n")


def test_key_that_is_imported_with_another_end_gets_this_end(run: Run, tmp_path: Path) -> None:
    """Case end_of_a_key: the import said nothing, and the old end stayed."""
    import_end(run, "2035-01-01T00:00:00Z")
    for end in ("2034-01-31T00:00:00Z", "2036-01-01T00:00:00Z"):
        result = import_end(run, end)
        assert ends(run) == [end]
        assert f"expires={end}" in result.stdout
        assert "1 with another end" in result.stderr
        assert audited(tmp_path)[-1] == "key.end_changed"
    assert "1 unchanged" in import_end(run, end).stderr
    assert "1 unchanged" in import_end(run, "").stderr
    assert ends(run) == [end]


def test_end_in_the_past_is_a_bad_line(run: Run) -> None:
    """Case end_of_a_key: a key that has ended already would be registered and never work."""
    assert "line 2: expires_at is in the past" in refused(import_end(run, "2020-01-01T00:00:00Z"))
    assert run("key", "list", "alice").stdout == ""


def test_import_changes_no_end_beyond_the_key_policy(run: Run, tmp_path: Path) -> None:
    """Case end_of_a_key: the line is named, because its end is not what the file says."""
    policy(tmp_path, lifetime_days=30)
    import_end(run, "")
    assert "line 2: the key policy lets this key end on" in import_end(run, "2999-01-01T00:00:00Z").stderr
    (end,) = ends(run)
    assert datetime.fromisoformat(end) <= datetime.now(UTC) + timedelta(days=30)


def test_import_ends_no_key_that_is_older_than_a_new_key_policy(run: Run, tmp_path: Path) -> None:
    """Case end_of_a_key: registered keys stay, so the lifetime counts from the import."""
    import_end(run, "")
    with closing(sqlite3.connect(tmp_path / "id" / "identity.db")) as database:
        database.execute("UPDATE ssh_keys SET created_at = 1577836800000000")
        database.commit()
    policy(tmp_path, lifetime_days=30)
    import_end(run, "2999-01-01T00:00:00Z")
    (end,) = ends(run)
    assert datetime.fromisoformat(end) > datetime.now(UTC) + timedelta(days=29)


def test_time_in_another_form_is_a_bad_line_with_advice(run: Run) -> None:
    for end in ("31.01.2035", "2035-01-31", "2035-01-31T00:00:00"):
        assert "line 2: expires_at: write the time as 2027-01-31T00:00:00Z" in refused(import_end(run, end))


def table(delimiter: str, end: str = "") -> str:
    rows = [["user", "authorized_key", "name"], ["alice", ed25519("a"), "laptop"], ["alice", ed25519("b"), "Büro"]]
    return "".join(delimiter.join(row) + end + "\r\n" for row in rows)


SPREADSHEETS = {
    "commas, UTF-8 with a byte order mark": table(",").encode("utf-8-sig"),
    "semicolons, as Excel writes in Europe": table(";").encode("utf-8-sig"),
    "Excel's line sep=": b"sep=;\r\n" + table(";").encode(),
    "Excel's Unicode text": table("\t").encode("utf-16"),
    "empty rows": b",,\r\n\r\n" + table(",").encode() + b",,\r\n,,\r\n",
    "empty columns": table(",", ",,").encode(),
    "capitals in the header": table(",").replace("user,authorized_key", "User,Authorized Key").encode(),
    "blanks behind the commas": table(",").replace(",", ", ").encode(),
    "Windows-1252": table(",").encode("windows-1252"),
}


@pytest.mark.parametrize("data", SPREADSHEETS.values(), ids=SPREADSHEETS.keys())
def test_table_of_a_spreadsheet_is_imported(run: Run, data: bytes) -> None:
    """Case csv_from_excel: spreadsheets write other separators, encodings, and empty rows and columns."""
    result = run("key", "import", "--format", "csv", "-", stdin=data)
    assert result.exit_code == 0, result.exception
    assert keys(run)[0]["name"] == "laptop"
    assert "2 new" in result.stderr


def test_value_in_a_column_without_a_name_is_refused(run: Run) -> None:
    text = f"user,authorized_key,\nalice,{ed25519()},from=10.0.0.1\n"
    assert "line 2: more than the header" in refused(run("key", "import", "--format", "csv", "-", stdin=text))


def test_key_of_a_table_may_be_in_a_cell_with_line_breaks(run: Run) -> None:
    key = ed25519("a")
    text = f'user,authorized_key\nalice,"{key[:40]}\n{key[40:]}"\nalice,"restrict {ed25519("b")}"\n'
    assert "line 4: authorized_key: Other text stands" in refused(
        run("key", "import", "--format", "csv", "-", stdin=text)
    )


# --- what people bring


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "windows-1252"])
def test_file_of_a_windows_editor_is_added(run: Run, encoding: str) -> None:
    """Case bom_utf16: `key add` reads what Notepad and PowerShell write."""
    result = run("key", "add", "alice", "-", stdin=f"{ed25519()} Büro\r\n".encode(encoding))
    assert result.exit_code == 0, result.exception


def test_wrong_thing_is_named_with_its_line_and_never_printed(run: Run) -> None:
    """Finding U20, case wrong_thing_brought: the operator reads what was brought, and no part of a private key."""
    private = "-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0c2VjcmV0\n-----END OPENSSH PRIVATE KEY-----\n"
    message = refused(run("key", "add", "alice", "-", stdin=f"{ed25519()}\n{private}"))
    assert "line 2: This is a private key" in message
    assert "c2VjcmV0" not in message
    table = CSV + f'alice,"{private}",,\n'
    message = refused(run("key", "import", "--format", "csv", "-", stdin=table))
    assert "This is a private key" in message
    assert "c2VjcmV0" not in message
    assert run("key", "list").stdout == ""


def test_data_that_is_no_text_is_refused_with_advice(run: Run) -> None:
    assert "save it as UTF-8" in refused(run("key", "add", "alice", "-", stdin=b"k\0ey"))


def test_commands_that_change_something_say_what_they_did(run: Run) -> None:
    """Finding U19: success was silent, so nobody knew whether anything had happened."""
    fingerprint = parse(ed25519()).fingerprint
    assert "The user bob was added" in run("user", "add", "bob").stderr
    run("key", "add", "bob", "-", stdin=ed25519())
    assert "1 of 1 keys were registered before" in run("key", "add", "bob", "-", stdin=ed25519()).stderr
    assert f"The key {fingerprint} was removed" in run("key", "remove", fingerprint).stderr
    run("invite", "bob")
    assert "The invitation of bob was cancelled" in run("invite", "bob", "--cancel").stderr
    assert "The user bob and all keys" in run("user", "remove", "bob").stderr
    run("client", "add", "app", "--scope", "challenges")
    assert "may lead people back to: nowhere" in run("client", "set-return-urls", "app").stderr
    off = run("client", "set-face", "app", "cas", "--off", stdin="")
    assert "The client app may no longer use cas" in off.stderr
    assert "The client app was removed" in run("client", "remove", "app").stderr
    opened = json.loads(run("challenge", "open", "alice", "--json").stdout)
    assert f"The challenge {opened['id']} was cancelled" in run("challenge", "cancel", opened["id"]).stderr
    old = json.loads(run("signing-key", "list", "--json").stdout)[0]["kid"]
    run("signing-key", "rotate", "--now")
    assert f"The signing key {old} was retired" in run("signing-key", "retire", old).stderr


# --- an address


def test_keys_of_an_address_are_added_and_printed(run: Run, server: IdentityServer) -> None:
    server.replies["/alice.keys"] = Reply(200, f"{ed25519('a')}\n{ed25519('b')}\n".encode())
    result = run("key", "add", "alice", "--from-url", f"{server.url}/alice.keys")
    assert [line.split()[0] for line in result.stdout.splitlines()] == [
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
    assert run("key", "list").stdout == ""


def test_command_needs_either_a_file_or_an_address(run: Run) -> None:
    for words in ((), ("-", "--from-url", "https://x.example")):
        assert run("key", "add", "alice", *words, stdin=ed25519()).exit_code == 2


# --- policy and attestation


def test_policy_applies_to_the_operator_too(run: Run, tmp_path: Path) -> None:
    policy(tmp_path, rsa_bits=3072, lifetime_days=30)
    assert "3072 bits" in refused(run("key", "add", "alice", "-", stdin=rsa_key(2048)))
    assert run("key", "add", "alice", "-", stdin=ed25519("a")).exit_code == 0
    assert keys(run)[0]["expires_at"] is not None


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
