"""`sshaft host convert`: writes a configuration of another module as `host_login` of config.json."""

import json
import os
from pathlib import Path
from typing import Any

import click

from sshaft import config, exit_status
from sshaft.errors import SshaftError
from sshaft.text import printable
from sshaft_agent.host_login import config_file
from sshaft_agent.host_login.foreign import formats
from sshaft_agent.host_login.foreign.members import Converted, MemberError
from sshaft_agent.host_login.rules import MAX_FILE

_SECRET_FILE = "/etc/sshaft/client-secret"


class _NotConvertedError(SshaftError):
    """The file has no counterpart."""

    code = "not_converted"
    exit_status = exit_status.DATA


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("feudal_adapter", type=click.Path(path_type=Path), required=False)
@click.option(
    "--secret-file", type=click.Path(path_type=Path), help="Write the client's secret to this new file (mode 0600)."
)
def convert(file: Path, feudal_adapter: Path | None, secret_file: Path | None) -> None:
    """Write the configuration FILE of another module as ours, on stdout.

    It reads config.json of pam_oauth2_device (Rust, C++, and the forks for Entra and of STFC), its config.yml (Python,
    Oracle), ssh-aad.conf, and motley_cue.conf. Behind motley_cue.conf, feudal_adapter.conf may stand. stderr has a line
    for each member without a counterpart. No agent is needed, and FILE is not changed.
    """
    try:
        found = _read(file, feudal_adapter)
    except MemberError as error:
        raise _NotConvertedError(f"{file}: {error}") from None
    for note in found.notes:
        click.echo(printable(f"{note.member}: {note.reason}", 500), err=True)
    if not found.members:
        raise _NotConvertedError(f"{file}: nothing of it has a counterpart: write host_login for your OpenID Provider")
    members: dict[str, Any] = {} if "tokens" in found.members else {"issuer": None, "client_id": None}
    if found.secret:
        members["client_secret_file"] = _SECRET_FILE if secret_file is None else str(secret_file.absolute())
    members |= found.members
    config_file.settings_of(file, members)
    if "endpoints" in members:
        click.echo("issuer: made from the token endpoint; compare it with the metadata of the provider", err=True)
    if found.secret:
        _keep_secret(found.secret, secret_file)
    click.echo(json.dumps({"host_login": members}, indent=2))


def _read(file: Path, feudal_adapter: Path | None) -> Converted:
    """Returns what the files mean. Raises `MemberError` or `ConfigurationError`."""
    text, _ = config.read_file(file, MAX_FILE)
    accounts = None if feudal_adapter is None else config.read_file(feudal_adapter, MAX_FILE)[0]
    if accounts is not None or not formats.is_json(text):
        return formats.read_text(text, accounts)
    data = config.parse_object(file, text)
    if "host_login" in data:
        raise MemberError("has our format already")
    return formats.read_object(data, _open_object)


def _open_object(name: str) -> dict[str, Any]:
    return config.parse_object(Path(name), config.read_file(Path(name), MAX_FILE)[0])


def _keep_secret(secret: str, path: Path | None) -> None:
    """Writes the secret to a new file, or says what to do with it."""
    if path is None:
        click.echo(
            f"client_secret_file: the secret is not shown; use --secret-file, or write it to {_SECRET_FILE}", err=True
        )
        return
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secret + "\n")
    except OSError as error:
        raise _NotConvertedError(f"{path}: {error.strerror}") from None
    click.echo(printable(f"client_secret_file: let the agent read it: chown sshaft {path}", 500), err=True)
