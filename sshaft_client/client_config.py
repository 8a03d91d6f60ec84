"""`sshaft client-config URL`: prints the lines of ~/.ssh/config with which `ssh mfa CODE` passes a web login."""

import json
from pathlib import Path
from urllib.parse import urlsplit

import click

from sshaft.addresses import is_loopback
from sshaft.deadline import Deadline
from sshaft.errors import RemoteServiceError
from sshaft.host.ssh_server import SshServer
from sshaft.http_client import HttpClient

_PATH = "/api/v1/mfa/ssh/server"
_SECONDS = 10.0


@click.command("client-config")
@click.argument("url")
@click.option(
    "--identity-file", default="~/.ssh/id_ed25519", show_default=True, metavar="FILE", help="Your private key."
)
@click.option(
    "--ca-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="PEM authorities to trust instead of the system's.",
)
@click.option("--known-hosts", is_flag=True, help="Print the lines of ~/.ssh/known_hosts instead.")
def client_config(url: str, identity_file: str, ca_file: Path | None, *, known_hosts: bool) -> None:
    """Print the lines of ~/.ssh/config for a short ssh command: `ssh mfa 482913`.

    URL is the address of the identity service, such as https://id.example.org. Append the lines to ~/.ssh/config, above
    other lines that match every host.
    """
    server = _ask(_checked(url), ca_file)
    if not known_hosts:
        try:
            click.echo(server.config_block(identity_file))
        except ValueError as error:
            raise click.UsageError(f"--identity-file: {error}.") from None
    elif server.host_keys:
        click.echo("\n".join(server.known_hosts()))
    else:
        raise RemoteServiceError(f"{url} names no host key: ask its administrator", "identity_service")


def _checked(url: str) -> str:
    """Returns the address. Raises `click.UsageError` unless nobody can change the answer on its way."""
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        raise click.UsageError("URL must begin with https://; http:// is for this machine only.")
    return url.rstrip("/")


def _ask(url: str, ca_file: Path | None) -> SshServer:
    """Asks the identity service. Raises `RemoteServiceError`."""
    http = HttpClient(ca_file=ca_file, max_answer=64 * 1024, peer="identity_service")
    try:
        answer = http.send("GET", f"{url}{_PATH}", Deadline.after(_SECONDS))
    finally:
        http.close()
    if answer.status != 200:
        raise RemoteServiceError(f"{url} is no identity service: it answered {answer.status}", "identity_service")
    try:
        return SshServer.of_json(json.loads(answer.body))
    except ValueError as error:
        raise RemoteServiceError(f"{url}: its answer cannot be used: {error}", "identity_service") from None
