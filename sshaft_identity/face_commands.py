"""`sshaft identity client set-face`: what `client add --for` has set up, changed afterwards."""

from pathlib import Path
from typing import Any, TextIO

import click
from pydantic import ValidationError

from sshaft.errors import ConfigurationError
from sshaft_identity.app_state import utc_now
from sshaft_identity.command_line import opened
from sshaft_identity.face_options import FACES
from sshaft_identity.providers import checked_redirect
from sshaft_identity.settings import first_fault


@click.command("set-face")
@click.argument("name")
@click.argument("face", type=click.Choice(sorted(FACES)))
@click.argument("options", type=click.File(), default="-")
@click.option("--off", is_flag=True, help="Let it come through this face no longer; nothing is read.")
@click.pass_obj
def set_face(directory: Path, name: str, face: str, options: TextIO, off: bool) -> None:
    """Let the client NAME come through FACE with the OPTIONS of a JSON file, in the place of those before.

    `client list --json` prints what there is now, as "faces".
    """
    wanted = None if off else checked_options(face, options.read())
    with opened(directory) as (store, _):
        store.clients.set_face(name, face, wanted, utc_now())


def checked_options(face: str, text: str) -> dict[str, Any]:
    """Raises `ConfigurationError`."""
    try:
        options: dict[str, Any] = FACES[face].model_validate_json(text).model_dump(mode="json")
    except ValidationError as error:
        raise ConfigurationError(f"the options of the face {face}: {first_fault(error)}") from None
    for uri in options.get("redirect_uris", ()):
        checked_redirect(uri)
    return {key: value for key, value in options.items() if value is not None}
