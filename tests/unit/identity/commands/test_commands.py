"""Tests the commands of the operator in this process."""

import json
import re
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from fakes.public_keys import ed25519, sk_ed25519

from sshaft.errors import ConfigurationError, SshaftError
from sshaft.public_key import parse
from sshaft_identity.commands.identity import identity
from sshaft_identity.database.tables import metadata

pytestmark = pytest.mark.slow

Run = Callable[..., Result]


@pytest.fixture
def bare(tmp_path: Path) -> Run:
    """Runs a command on a directory that is not set up."""

    def run(*arguments: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(identity, ["--directory", str(tmp_path / "id"), *arguments], input=stdin)

    return run


@pytest.fixture
def run(bare: Run) -> Run:
    assert bare("init").exit_code == 0
    return bare


def refused(result: Result, kind: type[SshaftError] = SshaftError) -> str:
    """Returns the message that `sshaft` would print: one line."""
    assert isinstance(result.exception, kind), result.output
    message = str(result.exception)
    assert "\n" not in message
    return message


def names(run: Run) -> list[str]:
    return [each["name"] for each in json.loads(run("user", "list", "--json").stdout)]


def test_init_makes_a_private_directory_that_serve_can_use(bare: Run, tmp_path: Path) -> None:
    result = bare("init", "--listen", "127.0.0.1:8443", "--public-url", "https://id.example.org")
    assert result.exit_code == 0
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "id").iterdir()}
    assert modes == {"identity.json": 0o600, "hmac.key": 0o600, "identity.db": 0o600}
    assert stat.S_IMODE((tmp_path / "id").stat().st_mode) == 0o700


def test_second_init_changes_only_the_given_options(run: Run, tmp_path: Path) -> None:
    run("user", "add", "alice")
    key = (tmp_path / "id" / "hmac.key").read_bytes()
    assert run("init", "--ssh-host", "login.example.org", "--ssh-port", "2222").exit_code == 0
    assert run("init", "--lifetime", "120").exit_code == 0
    settings = json.loads((tmp_path / "id" / "identity.json").read_text())
    assert (settings["ssh_host"], settings["ssh_port"], settings["lifetime"]) == ("login.example.org", 2222, 120)
    assert (tmp_path / "id" / "hmac.key").read_bytes() == key
    assert names(run) == ["alice"]


def test_init_without_changes_leaves_identity_json_alone(run: Run, tmp_path: Path) -> None:
    """A container may have the directory read-only. The file may also hold less than every member."""
    path = tmp_path / "id" / "identity.json"
    path.write_text('{"ssh_port": 2222}')
    assert run("init").exit_code == run("init", "--ssh-port", "2222").exit_code == 0
    assert path.read_text() == '{"ssh_port": 2222}'


@pytest.mark.parametrize(
    "options",
    [("--ssh-port", "0"), ("--ssh-host", "-x"), ("--public-url", "nowhere"), ("--database", "nosuch://x")],
)
def test_init_refuses_invalid_options(bare: Run, options: tuple[str, str]) -> None:
    refused(bare("init", *options), ConfigurationError)


def test_init_does_not_save_an_unusable_database(run: Run, tmp_path: Path) -> None:
    run("user", "add", "alice")
    for url in ("nosuch://x", "sqlite:////nowhere/x.db", f"sqlite:///{tmp_path}", "postgresql://me@db:port/x"):
        refused(run("init", "--database", url))
    assert names(run) == ["alice"]


def test_no_error_holds_the_password_of_the_database_url(bare: Run) -> None:
    assert "hunter2" not in refused(bare("init", "--database", "nosuch://me:hunter2@db/x"), ConfigurationError)


@pytest.mark.parametrize("address", ["8080", ":8080", "host", "host:", "host:70000", "host:-1", "host:٣"])
def test_address_needs_host_and_port(bare: Run, address: str) -> None:
    result = bare("init", "--listen", address)
    assert result.exit_code == 2
    assert "HOST:PORT" in result.output


def test_every_command_except_init_refuses_an_empty_directory(bare: Run) -> None:
    assert "init" in refused(bare("user", "list"), ConfigurationError)
    assert "init" in refused(bare("serve"), ConfigurationError)


def test_error_of_an_old_database_names_init_and_init_migrates_it(run: Run, tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "id" / "identity.db")
    for table in ("alembic_version", *(each.name for each in reversed(metadata.sorted_tables))):
        database.execute(f"DROP TABLE {table}")
    database.close()
    for command in (("user", "list"), ("serve", "--listen", "127.0.0.1:0")):
        assert "run `sshaft identity init`" in refused(run(*command), ConfigurationError)
    assert run("init").exit_code == 0
    assert run("user", "list").exit_code == 0


def test_file_that_is_no_database_is_a_one_line_error(run: Run, tmp_path: Path) -> None:
    (tmp_path / "id" / "identity.db").write_bytes(b"no database" * 100)
    message = refused(run("user", "list"))
    assert "database" in message


def test_users_are_added_listed_and_removed(run: Run) -> None:
    for name in ("bob", "alice", "a.b-c_d+e@example.org"):
        assert run("user", "add", name).exit_code == 0
    assert names(run) == ["a.b-c_d+e@example.org", "alice", "bob"]
    assert run("user", "remove", "bob").exit_code == 0
    assert "bob" not in run("user", "list").output


@pytest.mark.parametrize("name", ["", "a b", "-x", "a" * 65, "a\nb", "ä", "a\n"])
def test_malformed_user_name_is_refused(run: Run, name: str) -> None:
    assert "1 to 64" in refused(run("user", "add", "--", name))


def test_user_can_be_added_once_and_removed_once(run: Run) -> None:
    run("user", "add", "alice")
    assert "already" in refused(run("user", "add", "alice"))
    run("user", "remove", "alice")
    assert "no user" in refused(run("user", "remove", "alice"))


def test_all_keys_of_a_file_are_registered_with_their_comments(run: Run, tmp_path: Path) -> None:
    run("user", "add", "alice")
    file = tmp_path / "keys"
    file.write_text(f"# mine\n\n{ed25519('a')} alice@laptop \u202eevil\n{sk_ed25519('a')}\n")
    added = run("key", "add", "alice", str(file))
    prints = [parse(key).fingerprint for key in (ed25519("a"), sk_ed25519("a"))]
    assert [line.split()[0] for line in added.stdout.splitlines()] == prints
    headings, *listed = run("key", "list", "alice").stdout.splitlines()
    assert headings.split() == ["FINGERPRINT", "TYPE", "USER", "EXPIRES", "LAST", "USED", "NAME"]
    assert sorted(re.sub(" {2,}", "|", line) for line in listed) == sorted(
        [
            f"{prints[0]}|ssh-ed25519|alice|-|-|alice@laptop \\\\u202eevil",
            f"{prints[1]}|sk-ssh-ed25519@openssh.com|alice|-|-|-",
        ]
    )
    assert run("key", "add", "alice", "-", stdin=ed25519("a")).stdout == ""


def test_byte_order_mark_is_ignored(run: Run) -> None:
    run("user", "add", "alice")
    assert run("key", "add", "alice", "-", stdin=f"\ufeff{ed25519()}\n").exit_code == 0


def test_file_with_a_key_of_another_user_is_refused_completely(run: Run) -> None:
    run("user", "add", "alice")
    run("user", "add", "bob")
    run("key", "add", "alice", "-", stdin=ed25519("a"))
    message = refused(run("key", "add", "bob", "-", stdin=f"{ed25519('b')}\n{ed25519('a')}"))
    assert parse(ed25519("a")).fingerprint in message
    assert "alice" in message
    assert run("key", "list", "bob").stdout == ""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "holds no key"),
        ("# nothing\n", "holds no key"),
        ("ssh-ed25519 AAAA", "line 1"),
        (f"{ed25519('a')}\nssh-dss AAAA", "line 2"),
        (f"restrict {ed25519('a')}", "line 1"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----", "line 1"),
    ],
)
def test_error_names_the_line_that_is_no_key(run: Run, text: str, reason: str) -> None:
    run("user", "add", "alice")
    assert reason in refused(run("key", "add", "alice", "-", stdin=text))
    assert run("key", "list").stdout == ""


def test_keys_of_an_unknown_user_are_refused(run: Run) -> None:
    assert "user add alice" in refused(run("key", "add", "alice", "-", stdin=ed25519("a")))
    assert "no user" in refused(run("key", "list", "alice"))


def test_key_is_removed_by_its_fingerprint(run: Run) -> None:
    run("user", "add", "alice")
    fingerprint = run("key", "add", "alice", "-", stdin=ed25519("a")).output.split()[0]
    assert run("key", "remove", fingerprint).exit_code == 0
    assert run("key", "list").stdout == ""
    assert "no key" in refused(run("key", "remove", fingerprint))


def test_secret_of_a_client_is_printed_once_and_stored_hashed(run: Run, tmp_path: Path) -> None:
    made = json.loads(run("client", "add", "web", "--scope", "challenges", "--json").output)
    assert made["client_id"] == "web"
    assert len(made["client_secret"]) >= 43
    assert made["client_secret"].encode() not in (tmp_path / "id" / "identity.db").read_bytes()
    assert run("client", "list").stdout.splitlines()[1].split()[:2] == ["web", "challenges"]
    assert "already" in refused(run("client", "add", "web", "--scope", "challenges"))


def test_return_urls_of_a_client_can_be_changed(run: Run) -> None:
    app = "https://app.example.org/"
    run("client", "add", "web", "--scope", "challenges", "--allow-unbound", "--return-url", app)
    assert run("client", "list").stdout.splitlines()[1].split() == ["web", "challenges", "-", "yes", "-", app]
    assert run("client", "set-return-urls", "web", f"{app}a", f"{app}b").exit_code == 0
    (listed,) = json.loads(run("client", "list", "--json").output)
    assert listed["return_urls"] == [f"{app}a", f"{app}b"]
    wrong = run("client", "set-return-urls", "web", "ftp://app.example.org")
    assert wrong.exit_code == 2
    assert "https" in wrong.output
    assert "no client other" in refused(run("client", "set-return-urls", "other", app))
    assert run("client", "set-return-urls", "web").exit_code == 0
    assert run("client", "list").stdout.splitlines()[1].split() == ["web", "challenges", "-", "yes", "-", "-"]


def test_secret_is_printed_as_lines_without_json(run: Run) -> None:
    assert "client_secret  " in run("client", "add", "web", "--scope", "challenges").output


def test_config_json_for_the_sshd_side_is_written_privately(run: Run, tmp_path: Path) -> None:
    run("init", "--public-url", "https://id.example.org")
    file = tmp_path / "config.json"
    scopes = ("--scope", "mfa:list", "--scope", "mfa:accept")
    result = run("client", "add", "sshd", *scopes, "--config-json", str(file), "--login-path", "/opt/login")
    assert result.output == f"The client sshd was added, and its secret is in {file}.\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    config = json.loads(file.read_text())
    assert len(config.pop("client_secret")) >= 43
    assert config == {
        "token_endpoint": "https://id.example.org/oauth2/token",
        "client_id": "sshd",
        "token_scope": "mfa:list mfa:accept",
        "mfa_list_endpoint": "https://id.example.org/api/v1/mfa/ssh/keys",
        "mfa_accept_endpoint": "https://id.example.org/api/v1/mfa/ssh/accept",
        "mfa_reject_endpoint": "https://id.example.org/api/v1/mfa/ssh/reject",
        "mfa_enrol_endpoint": "https://id.example.org/api/v1/mfa/ssh/enrol",
        "login_path": "/opt/login",
    }


def test_config_json_is_overwritten_only_by_force_and_a_refusal_makes_no_client(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text("mine")
    add = ("client", "add", "sshd", "--scope", "mfa:list", "--config-json", str(file))
    assert "--force" in refused(run(*add))
    assert run("client", "list").stdout == ""
    assert run(*add, "--force").exit_code == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_config_json_that_cannot_be_written_leaves_no_client(run: Run, tmp_path: Path) -> None:
    refused(run("client", "add", "sshd", "--scope", "mfa:list", "--config-json", str(tmp_path / "no" / "c.json")))
    assert run("client", "list").stdout == ""


def test_empty_file_name_is_a_one_line_error(run: Run) -> None:
    refused(run("client", "add", "factor", "--scope", "mfa:list", "--config-json", "", "--force"))
    assert run("client", "list").stdout == ""
    refused(run("backup", ""))


def test_client_is_revoked_and_removed(run: Run) -> None:
    run("client", "add", "web", "--scope", "challenges")
    assert run("client", "revoke", "web").output == "0 access tokens were revoked. The client web can get new ones.\n"
    assert run("client", "remove", "web").exit_code == 0
    for command in ("revoke", "remove"):
        assert "no client" in refused(run("client", command, "web"))


def open_for_alice(run: Run, *options: str) -> dict[str, Any]:
    run("user", "add", "alice")
    opened: dict[str, Any] = json.loads(run("challenge", "open", "alice", "--json", *options).output)
    return opened


def test_challenge_is_opened_shown_listed_and_cancelled(run: Run) -> None:
    opened = open_for_alice(run, "--app", "Wiki", "--expires-in", "60")
    assert opened["ssh_command"] == f"ssh mfa@localhost {opened['code']}"
    assert opened["page_url"].startswith("http://127.0.0.1:8080/challenge/")
    shown = json.loads(run("challenge", "show", opened["id"]).output)
    assert shown.pop("client_id", "missing") is None
    assert shown == {name: value for name, value in opened.items() if name in shown}
    assert "code" not in shown
    assert run("challenge", "list").stdout.splitlines()[1].split()[:3] == [opened["id"], "pending", "alice"]
    assert json.loads(run("challenge", "list", "--json").stdout) == [shown | {"client_id": None}]
    assert run("challenge", "cancel", opened["id"]).exit_code == 0
    assert "it is cancelled" in refused(run("challenge", "cancel", opened["id"]))


def test_name_of_the_application_becomes_one_short_line(run: Run) -> None:
    run("user", "add", "alice")
    opened = json.loads(run("challenge", "open", "alice", "--json", "--app", "a\x1b[2J\nb" + "x" * 10_000).output)
    assert opened["app"].startswith("a [2J bxxx")
    assert len(opened["app"]) == 512


def test_challenge_is_printed_as_lines_without_json(run: Run) -> None:
    run("user", "add", "alice")
    lines = [line.split(maxsplit=1) for line in run("challenge", "open", "alice").stdout.splitlines()]
    assert [line[0] for line in lines] == ["challenge", "code", "run", "page"]
    assert lines[2][1] == f"ssh mfa@localhost {lines[1][1]}"


def test_commands_refuse_unknown_users_and_challenge_ids(run: Run) -> None:
    assert "no user" in refused(run("challenge", "open", "nobody"))
    for command in ("show", "cancel"):
        assert "no such challenge" in refused(run("challenge", command, "0" * 32))


@pytest.mark.parametrize("seconds", ["29", "601", "x"])
def test_challenge_lifetime_is_thirty_seconds_to_ten_minutes(run: Run, seconds: str) -> None:
    assert run("challenge", "open", "alice", "--expires-in", seconds).exit_code == 2


def test_database_holds_neither_code_nor_page_token(run: Run, tmp_path: Path) -> None:
    opened = open_for_alice(run)
    content = (tmp_path / "id" / "identity.db").read_bytes()
    assert opened["id"].encode() in content
    assert opened["page_url"].rpartition("/")[2].encode() not in content
    connection = sqlite3.connect(tmp_path / "id" / "identity.db")
    values = [str(value) for row in connection.execute("SELECT * FROM challenges") for value in row]
    connection.close()
    assert opened["code"] not in values


def all_commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    paths = [path]
    for name, command in group.commands.items():
        paths += all_commands(command, (*path, name)) if isinstance(command, click.Group) else [(*path, name)]
    return paths


@pytest.mark.parametrize("path", all_commands(identity), ids=" ".join)
def test_every_command_has_a_help_text(bare: Run, path: tuple[str, ...]) -> None:
    result = bare(*path, "--help")
    assert result.exit_code == 0
    assert len(result.output.splitlines()) >= 4
    for parameter in click.Context(identity).command.params:
        assert getattr(parameter, "help", "text")


def test_environment_variable_names_the_directory(tmp_path: Path) -> None:
    environment = {"SSHAFT_IDENTITY_DIRECTORY": str(tmp_path / "other")}
    assert CliRunner(env=environment).invoke(identity, ["init"]).exit_code == 0
    assert (tmp_path / "other" / "identity.json").exists()


def test_code_back_challenge_is_printed_without_a_code(run: Run) -> None:
    run("user", "add", "alice")
    shown = run("challenge", "open", "alice", "--binding", "code_back").output
    assert "code " not in shown
    assert "ssh mfa@localhost\n" in shown
    assert run("challenge", "open", "alice", "--binding", "none").exit_code == 2


def test_client_of_a_host_has_no_other_scope(run: Run) -> None:
    both = run("client", "add", "web1", "--scope", "approvals", "--scope", "challenges")
    assert both.exit_code == 2
    assert "the scope approvals is for a host, which needs no other scope" in both.output
    assert run("client", "add", "web1", "--scope", "approvals", "--json").exit_code == 0


def test_client_without_codes_is_made_with_a_warning(run: Run) -> None:
    made = run("client", "add", "old", "--scope", "challenges", "--allow-unbound")
    assert "Warning: without a code" in made.output
    assert "Warning" not in run("client", "add", "new", "--scope", "challenges").output


def test_client_is_made_with_return_urls(run: Run) -> None:
    made = run("client", "add", "web", "--scope", "challenges", "--return-url", "https://app.example.org/login")
    assert made.exit_code == 0
    for address in ("javascript:alert(1)", "http://app.example.org/", "https://app.example.org/?next="):
        wrong = run("client", "add", "other", "--scope", "challenges", "--return-url", address)
        assert (wrong.exit_code, address in wrong.output) == (2, True)
    assert "other" not in run("client", "list").output


def test_only_a_user_with_wrong_codes_can_be_unlocked(run: Run) -> None:
    run("user", "add", "alice")
    assert "alice has no wrong codes" in refused(run("user", "unlock", "alice"))


def test_commands_of_the_operator_load_no_web_stack() -> None:
    code = "import sys, sshaft_identity.commands.identity; print({'starlette', 'jinja2', 'uvicorn'} & set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert loaded.stdout == "set()\n"
