"""Describes and takes the steps of a set-up. Each step changes one thing, or nothing."""

import json
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import click

from sshaft import files
from sshaft.errors import ConfigurationError
from sshaft_setup import changes, programs, writing
from sshaft_setup.places import AGENT, IDENTITY, Places
from sshaft_setup.present import Members
from sshaft_setup.writing import ROOT, Owner

CLIENT = "factor"
"""The agent as a client of the identity service on this host."""


class Step(Protocol):
    def describe(self) -> str:
        """Returns what the step will do: a line, and the content of a file below it. It shows no secret."""

    def take(self) -> None:
        """Does it. Raises `SshaftError`, and then the step has changed nothing."""


@dataclass(frozen=True)
class InitIdentity:
    """Makes or changes the identity service by `sshaft identity init`."""

    places: Places
    options: tuple[str, ...]

    def describe(self) -> str:
        return f"run    {programs.shown(self._words)}"

    def take(self) -> None:
        _make_folder(self.places.identity, 0o700, Owner.of_account(IDENTITY))
        click.echo(programs.run(*self._words), nl=False)
        programs.run("identity", "--directory", str(self.places.identity), "check")

    @property
    def _words(self) -> tuple[str, ...]:
        return "identity", "--directory", str(self.places.identity), "init", *self.options


@dataclass(frozen=True)
class WriteFile:
    """Writes a file of root that everybody may read."""

    path: Path
    data: bytes
    backups: Path

    def describe(self) -> str:
        return f"write  {self.path} (root, 0644)\n{_indented(self.data.decode())}"

    def take(self) -> None:
        tell_written(self.path, writing.write(self.path, self.data, 0o644, ROOT, self.backups))


@dataclass(frozen=True)
class MakeHostKey:
    """Makes the host key of the separate sshd."""

    path: Path

    def describe(self) -> str:
        return f"make   {self.path}, a host key (root, 0600)"

    def take(self) -> None:
        _make_folder(self.path.parent, 0o755, ROOT)
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(self.path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            raise ConfigurationError(f"ssh-keygen made no {self.path}: {done.stderr.strip()}")
        tell_written(self.path, None)


def at_identity_on_this_host(places: Places, folder: Path) -> dict[str, Any]:
    """Makes the client of the agent, or gives it a new secret, and returns its members of config.json."""
    service = ("identity", "--directory", str(places.identity), "client")
    path = folder / "factor.json"
    clients = json.loads(programs.run(*service, "list", "--json"))
    if any(each["client_id"] == CLIENT for each in clients):
        programs.run(*service, "rotate-secret", CLIENT, "--write-config", str(path))
    else:
        scopes = ("--scope", "mfa:list", "--scope", "mfa:accept")
        programs.run(*service, "add", CLIENT, *scopes, "--config-json", str(path))
    members: dict[str, Any] = json.loads(files.read_text(path))
    return members


@dataclass(frozen=True)
class WriteConfig:
    """Writes config.json, after `sshaft agent check` has found it right, and the secret of host login beside it."""

    places: Places
    before: Members
    after: Callable[[Path], Members]
    """Returns the new members. The folder is for files that are needed meanwhile."""
    shown: Members
    """The new members as far as they are known now."""
    secret: str | None = None

    def describe(self) -> str:
        secret = f"write  {self.places.secret} ({AGENT}, 0400): the secret, not shown\n" if self.secret else ""
        # The agent may have written the file, so nothing but ASCII of it is shown.
        content = json.dumps(changes.without_secrets(self.shown), indent=2)
        return f"{secret}write  {self.places.config} ({AGENT}, 0400)\n{_indented(content)}"

    def take(self) -> None:
        owner = Owner.of_account(AGENT)
        with writing.private_folder() as folder:
            after = self.after(folder)
            self._check(after, folder)
        if self.secret is not None:
            data = f"{self.secret}\n".encode()
            tell_written(self.places.secret, writing.write(self.places.secret, data, 0o400, owner, self.places.backups))
        if after != self.before:
            data = writing.as_json(after)
            tell_written(self.places.config, writing.write(self.places.config, data, 0o400, owner, self.places.backups))

    def _check(self, after: Members, folder: Path) -> None:
        """Lets the agent read the new file, with the new secret, before anything changes."""
        host_login = after.get("host_login")
        if self.secret is not None and isinstance(host_login, Mapping):
            files.replace(folder / "secret", self.secret.encode())
            after = {**after, "host_login": {**host_login, "client_secret_file": str(folder / "secret")}}
        files.replace(folder / "config.json", writing.as_json(after))
        try:
            programs.run("agent", "check", "--config", str(folder / "config.json"))
        except programs.CommandError as error:
            reason = str(error).replace(f"{folder}/config.json", str(self.places.config))
            raise ConfigurationError(f"{self.places.config} was not written: {reason}") from error


def tell_written(path: Path, copy: Path | None) -> None:
    click.echo(f"{path} was written{f'; the old one is {copy}' if copy else ''}.")


def _make_folder(path: Path, mode: int, owner: Owner) -> None:
    """Makes the folder if it is missing. Raises `ConfigurationError`."""
    try:
        writing.make_folder(path, mode, owner)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be made: {error.strerror}") from error


def _indented(text: str) -> str:
    return "".join(f"         {line}\n" for line in text.splitlines()).rstrip("\n")
