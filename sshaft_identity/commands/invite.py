"""`sshaft identity invite`: let a person bring a key themselves."""

from datetime import timedelta
from pathlib import Path

import click

from sshaft_identity.api.enrolments import directions, shown
from sshaft_identity.commands.shared import echo_json, opened
from sshaft_identity.common.errors import RegistryError
from sshaft_identity.common.times import utc_now
from sshaft_identity.enrolment.enrolments import MAX_LIFETIME, MIN_LIFETIME


@click.command()
@click.argument("user_name", metavar="USER")
@click.option("--json", "as_json", is_flag=True, help="Print the enrolment as JSON.")
@click.option(
    "--expires-in",
    type=click.IntRange(int(MIN_LIFETIME.total_seconds()), int(MAX_LIFETIME.total_seconds())),
    default=int(MAX_LIFETIME.total_seconds()),
    show_default=True,
    metavar="SECONDS",
    help="How long the invitation is open, 60 to 900.",
)
@click.option("--cancel", is_flag=True, help="End USER's invitation instead, if one is open.")
@click.pass_obj
def invite(directory: Path, user_name: str, as_json: bool, expires_in: int, cancel: bool) -> None:
    """Invite USER to register a key. Give them the page's address: it shows the rest, and there they confirm the key.

    A new invitation takes the place of the last one.
    """
    with opened(directory) as (store, settings):
        if cancel:
            if not store.enrolments.cancel(user_name, utc_now()):
                raise RegistryError(f"no invitation of {user_name} is open")
            return
        invited = store.enrolments.open(user_name, utc_now(), timedelta(seconds=expires_in))
        told = directions(invited, settings)
    if as_json:
        echo_json(shown(invited.enrolment, invited.enrolment.state) | told)
        return
    for name, value in told.items():
        click.echo(f"{name:<11}  {value}")
    click.echo(f"Open for {expires_in // 60}:{expires_in % 60:02} minutes.", err=True)
