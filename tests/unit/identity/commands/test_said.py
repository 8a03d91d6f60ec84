"""Tests that every command which changes something says so, in a sentence."""

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from fakes.public_keys import ed25519

from sshaft.public_key import parse
from sshaft_identity.commands.identity import identity

READING = {
    "audit export", "audit list", "audit verify", "challenge list", "challenge show", "check", "client list",
    "client test", "key list", "serve", "session list", "signing-key list", "sshfp", "token list", "user list",
    "user show",
}  # fmt: skip
"""The commands that change nothing."""


def commands(group: click.Group = identity, *path: str) -> set[str]:
    found: set[str] = set()
    for name, command in group.commands.items():
        words = (*path, name)
        found |= commands(command, *words) if isinstance(command, click.Group) else {" ".join(words)}
    return found


@pytest.mark.slow
def test_every_command_that_changes_something_says_so(tmp_path: Path) -> None:
    """Finding U19: success was silent, so nobody knew whether anything had happened."""
    directory, said = tmp_path / "id", set()

    def change(command: str, *words: str, stdin: str = "") -> str:
        result = CliRunner().invoke(
            identity, ["--directory", str(directory), *command.split(), *words], input=stdin, catch_exceptions=False
        )
        assert result.exit_code == 0, (command, result.output)
        sentence = (result.stdout if command == "init" else result.stderr).splitlines()[-1]
        assert sentence[0].isalnum(), (command, sentence)
        assert sentence.endswith("."), (command, sentence)
        said.add(command)
        return result.stdout

    change("init")
    change("user add", "alice")
    change("key add", "alice", "-", stdin=ed25519())
    change("key import", "--format", "csv", "-", stdin=f"user,authorized_key\nalice,{ed25519('b')}\n")
    change("invite", "alice")
    change("invite", "alice", "--cancel")
    change("client add", "web", "--scope", "challenges")
    change("client add", "sshd", "--scope", "mfa:list", "--config-json", str(tmp_path / "config.json"))
    change("client set-return-urls", "web", "https://app.example.org/")
    change("client set-face", "web", "cas", "--off")
    change("client revoke", "web")
    change("client rotate-secret", "web")
    change("client rotate-secret", "sshd", "--write-config", str(tmp_path / "config.json"))
    change("client remove", "web")
    change("challenge open", "alice")
    opened = CliRunner().invoke(identity, ["--directory", str(directory), "challenge", "list", "--json"])
    change("challenge cancel", json.loads(opened.stdout)[0]["id"])
    kid = change("signing-key rotate", "--algorithm", "ES256", "--now").split()[0]
    change("signing-key rotate", "--now")
    change("signing-key retire", kid)
    change("user sign-out", "alice")
    change("backup", str(tmp_path / "backup"))
    change("restore", str(tmp_path / "backup"), "--replace", "--yes")
    change("copy", "--to", f"sqlite:///{tmp_path / 'copy.db'}")
    change("key remove", parse(ed25519()).fingerprint)
    change("user remove", "alice")
    assert commands() - READING - said == {"user unlock"}, "test_user_report.py has the lock-out that it ends"
