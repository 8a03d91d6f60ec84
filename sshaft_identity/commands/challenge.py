"""Defines `sshaft identity challenge`: opens and shows challenges, to try a set-up or to help a user."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click

from sshaft.command_line.output import Columns, json_option, write_json, write_list
from sshaft.text import printable
from sshaft_identity.api.answers import ChallengeAnswer, OpenedAnswer
from sshaft_identity.challenges.challenge import MAX_LIFETIME, MIN_LIFETIME, Binding, Challenge, Context
from sshaft_identity.challenges.challenges import Wish
from sshaft_identity.commands.shared import checked_store, say
from sshaft_identity.common.errors import RegistryError
from sshaft_identity.common.fields import one_line
from sshaft_identity.common.times import utc_now
from sshaft_identity.store import Store


@click.group()
def challenge() -> None:
    """Challenges: web logins that wait for an SSH login."""


@challenge.command("open")
@click.argument("user_name", metavar="USER")
@click.option("--app", help="The application of the login. The person sees it.")
@click.option(
    "--expires-in",
    type=click.IntRange(int(MIN_LIFETIME.total_seconds()), int(MAX_LIFETIME.total_seconds())),
    metavar="SECONDS",
    help="30 to 600.  [default: the lifetime in identity.json, 300]",
)
@click.option(
    "--binding",
    type=click.Choice([Binding.CODE_IN.value, Binding.CODE_BACK.value]),
    default=Binding.CODE_IN.value,
    show_default=True,
    help="code_in: the page shows a code for ssh. code_back: ssh prints a code for the page.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the answer of POST /api/v1/challenges.")
@click.pass_obj
def open_challenge(
    directory: Path, user_name: str, app: str | None, expires_in: int | None, binding: str, as_json: bool
) -> None:
    """Open a challenge for USER and print its code, the ssh command and the address of its page."""
    now = utc_now()
    with checked_store(directory) as (store, settings):
        if not store.users.exists(user_name):
            raise RegistryError(f"there is no user {printable(user_name)}")
        lifetime = timedelta(seconds=expires_in or settings.lifetime)
        wish = Wish(user_name, lifetime, context=Context(app=app and one_line(app)), binding=Binding(binding))
        members = OpenedAnswer.of_opened(store.challenges.open(wish, now), settings).members()
    if as_json:
        write_json(members)
        return
    say(f"A login of {printable(user_name)} waits until {members['expires_at']}.")
    for label, name in (("challenge", "id"), ("code", "code"), ("run", "ssh_command"), ("page", "page_url")):
        if name in members:
            click.echo(f"{label:<10} {members[name]}")


@challenge.command("show")
@click.argument("challenge_id", metavar="ID")
@click.pass_obj
def show_challenge(directory: Path, challenge_id: str) -> None:
    """Print one challenge as JSON. Its code is no longer known."""
    with checked_store(directory) as (store, _):
        found = _get(store, challenge_id)
    write_json(_as_json(found, utc_now()))


@challenge.command("list")
@json_option
@click.pass_obj
def list_challenges(directory: Path, as_json: bool) -> None:
    """Print the challenges of the last seven days, the newest first."""
    now = utc_now()
    with checked_store(directory) as (store, _):
        found = (_as_json(each, now) for each in store.challenges.each_recent())
        write_list(found, _COLUMNS, as_json=as_json, nothing="No login has begun in the last seven days.")


_COLUMNS: Columns = {
    "ID": "id",
    "STATE": "state",
    "USER": "user",
    "CREATED": "created_at",
    "CLIENT": "client_id",
    "APP": "app",
}


def _as_json(found: Challenge, now: datetime) -> dict[str, Any]:
    """Returns the members of GET /api/v1/challenges/ID, and the client that opened the challenge."""
    return {**ChallengeAnswer.of(found, found.state_at(now)).members(), "client_id": found.client}


@challenge.command("cancel")
@click.argument("challenge_id", metavar="ID")
@click.pass_obj
def cancel_challenge(directory: Path, challenge_id: str) -> None:
    """Cancel a pending challenge: nobody can pass it any more."""
    now = utc_now()
    with checked_store(directory) as (store, _):
        if not store.challenges.cancel(challenge_id, now):
            state = _get(store, challenge_id).state_at(now)
            raise RegistryError(f"the challenge is not pending: it is {state}")
    say(f"The challenge {challenge_id} was cancelled.")


def _get(store: Store, challenge_id: str) -> Challenge:
    found = store.challenges.get(challenge_id)
    if found is None:
        raise RegistryError("there is no such challenge")
    return found
