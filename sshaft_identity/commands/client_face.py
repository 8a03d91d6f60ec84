"""Defines `sshaft identity client set-face` and `test`, which change and check the face of a client."""

from pathlib import Path
from typing import Any, BinaryIO

import click
from pydantic import ValidationError

from sshaft import exit_status, files
from sshaft.command_line.colour import coloured
from sshaft.command_line.output import write_json
from sshaft.errors import ConfigurationError
from sshaft.text import printable
from sshaft.validation import first_fault
from sshaft_identity.commands.client_checks import checks
from sshaft_identity.commands.shared import checked_store, say
from sshaft_identity.common.errors import RegistryError
from sshaft_identity.common.times import utc_now
from sshaft_identity.face_support.setup import checked_redirect_uri
from sshaft_identity.faces import all_faces


class _FaceName(click.ParamType[str]):
    """Reads the name of a face. The faces are loaded only then."""

    name = "face"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return str(click.Choice(sorted(all_faces())).convert(value, param, ctx))


@click.command("set-face")
@click.argument("name")
@click.argument("face", type=_FaceName())
@click.argument("options", type=click.File("rb"), default="-")
@click.option("--off", is_flag=True, help="The client may no longer use this face. OPTIONS is not read.")
@click.pass_obj
def set_face(directory: Path, name: str, face: str, options: BinaryIO, off: bool) -> None:
    """Let the client NAME use FACE with the OPTIONS of a JSON file, which replace the present options.

    `client list --json` prints the present options, as "faces".
    """
    wanted = None if off else checked_options(face, _text(options.read()))
    with checked_store(directory) as (store, _):
        store.clients.set_face(name, face, wanted, utc_now())
    say(f"The client {name} may no longer use {face}." if off else f"The client {name} uses {face} with these options.")


def _text(data: bytes) -> str:
    try:
        return files.decode_text(data)
    except files.NotTextError as error:
        raise ConfigurationError(f"the options are {error}") from None


def checked_options(face: str, text: str) -> dict[str, Any]:
    """Returns the options without null members. Raises `ConfigurationError` if the face refuses them."""
    try:
        options: dict[str, Any] = all_faces()[face].options.model_validate_json(text).model_dump(mode="json")
    except ValidationError as error:
        raise ConfigurationError(f"the options of the face {face}: {first_fault(error)}") from None
    for uri in options.get("redirect_uris", ()):
        checked_redirect_uri(uri)
    return {key: value for key, value in options.items() if value is not None}


@click.command("test")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.pass_obj
def test_client(directory: Path, name: str, as_json: bool) -> None:
    """Check what the client NAME and its provider need of each other, as far as this host can check it.

    Exit status 0 if every check passes, 1 if one fails.
    """
    with checked_store(directory) as (store, settings):
        client = store.clients.get(name)
    if client is None:
        raise RegistryError(f"there is no client {name}")
    findings = []
    for each in checks(client, settings):
        findings.append(each)
        if not as_json:
            click.echo(f"{coloured('ok  ' if each.ok else 'fail')}  {printable(each.what)}")
            if not each.ok:
                click.echo(f"      {each.advice}")
    if as_json:
        write_json([{"ok": each.ok, "what": each.what, "advice": "" if each.ok else each.advice} for each in findings])
    if not all(each.ok for each in findings):
        raise click.exceptions.Exit(exit_status.FAILED)
