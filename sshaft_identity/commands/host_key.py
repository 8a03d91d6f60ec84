"""Reads the host keys that `init --ssh-host-key` names, and defines `sshaft identity sshfp`."""

from pathlib import Path
from typing import Any

import click

from sshaft import files
from sshaft.errors import ConfigurationError
from sshaft.host.ssh_server import HOST_KEY_TYPES
from sshaft.public_key import PublicKey
from sshaft_identity import settings as settings_of
from sshaft_identity.commands.owner import acting_as_owner
from sshaft_identity.people.brought_key import WrongThingError, is_private, read_key


class HostKeyFile(click.ParamType[PublicKey]):
    """Reads the public key of an sshd from its .pub file."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> PublicKey:
        if isinstance(value, PublicKey):
            return value
        try:
            text = files.read_text(Path(value))
        except (OSError, files.NotTextError) as error:
            self.fail(f"{value} cannot be read: {getattr(error, 'strerror', None) or error}", param, ctx)
        if is_private(text):
            self.fail(f"{value} is a private key: give the file with .pub behind its name", param, ctx)
        try:
            key = read_key(text).key
        except WrongThingError:
            self.fail(f"{value} holds no public key of OpenSSH: give a file like ssh_host_ed25519_key.pub", param, ctx)
        if key.type not in HOST_KEY_TYPES:
            self.fail(f"{value}: no sshd has a host key of the type {key.type}", param, ctx)
        return key


@click.command()
@click.pass_obj
def sshfp(directory: Path) -> None:
    """Print the DNS records (SSHFP) of the host keys in identity.json.

    Put them into the zone of the host, and sign the zone (DNSSEC). With `VerifyHostKeyDNS yes`, ssh then checks the
    host key by itself. Without DNSSEC, ssh shows that a record fits, and still asks.
    """
    with acting_as_owner(directory):
        settings = settings_of.load(directory)
    if not settings.ssh_host_keys:
        raise ConfigurationError(
            f"{directory / settings_of.SETTINGS_FILE} has no ssh_host_keys: run `sshaft identity init --ssh-host-key "
            "/etc/ssh/ssh_host_ed25519_key.pub` with the public key of the sshd"
        )
    for record in settings.ssh_server.sshfp():
        click.echo(record)
