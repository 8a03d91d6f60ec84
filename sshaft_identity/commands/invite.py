"""Defines `sshaft identity invite`, which lets a person register a key."""

from datetime import timedelta
from pathlib import Path

import click

from sshaft.command_line.output import write_json
from sshaft_identity.api.answers import InvitedAnswer
from sshaft_identity.commands.shared import checked_store, say
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
    """Invite USER to register a key. Give them the address of the page: it shows every step to them.

    A new invitation replaces an open one.
    """
    with checked_store(directory) as (store, settings):
        if cancel:
            if not store.enrolments.cancel(user_name, utc_now()):
                raise RegistryError(f"no invitation of {user_name} is open")
            say(f"The invitation of {user_name} was cancelled.")
            return
        invited = store.enrolments.open(user_name, utc_now(), timedelta(seconds=expires_in))
        members = InvitedAnswer.of_opened(invited, settings).members()
    if as_json:
        write_json(members)
        return
    for name in ("code", "ssh_command", "page_url"):
        if name in members:
            click.echo(f"{name:<11}  {members[name]}")
    say(f"The invitation of {user_name} is open for {expires_in // 60}:{expires_in % 60:02} minutes.")
