"""Defines `sshaft identity user` and `key`, which register users and their SSH keys."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import click
from cryptography import x509

from sshaft.command_line.output import json_option, write_list
from sshaft.text import printable
from sshaft_identity.commands.shared import checked_store, say
from sshaft_identity.commands.user_report import KEY_COLUMNS, key_as_json, list_users, show_user
from sshaft_identity.common.errors import RegistryError
from sshaft_identity.common.times import rfc3339, utc_now
from sshaft_identity.enrolment import attestation
from sshaft_identity.enrolment.revocation import Ended
from sshaft_identity.people.key_import import MAX_FILE, fetch, import_keys, keys_of, read_records, text_of
from sshaft_identity.people.registration import NewKey

_READABLE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def user() -> None:
    """Users: the people who log in, each with their SSH keys."""


@user.command("add")
@click.argument("name")
@click.pass_obj
def add_user(directory: Path, name: str) -> None:
    """Make the user NAME.

    A name has 1 to 64 of A-Z a-z 0-9 . _ @ + -, and does not begin with a dash.
    """
    with checked_store(directory) as (store, _):
        store.users.add(name, utc_now())
    say(f"The user {name} was added. `sshaft identity key add {name} FILE` adds a key.")


user.add_command(list_users)
user.add_command(show_user)


@user.command("remove")
@click.argument("name")
@click.pass_obj
def remove_user(directory: Path, name: str) -> None:
    """Remove the user NAME and all their keys. Everything that they have begun ends at once."""
    with checked_store(directory) as (store, _):
        ended = store.revocation.remove_user(name, utc_now())
    say(f"The user {name} and all keys of this user were removed. {sentence_of(ended)}")


@user.command("sign-out")
@click.argument("name")
@click.pass_obj
def sign_out(directory: Path, name: str) -> None:
    """Sign the user NAME out of "My keys" in every browser, and out of every host. The keys of NAME stay.

    Keys that were being added there are not added. Logins that have passed but are not completed end, too. The hosts
    that report who is logged in end the sessions of NAME within a minute, and forget the approvals that they remember.
    """
    with checked_store(directory) as (store, _):
        say(sentence_of(store.revocation.sign_out(name, utc_now())))


def sentence_of(ended: Ended) -> str:
    counts = (ended.sessions, "browser"), (len(ended.enrolments), "enrolment"), (len(ended.challenges), "login")
    at_hosts = f", {ended.host_logins} at hosts" if ended.host_logins else ""
    return "Ended: " + ", ".join(_count(number, what) for number, what in counts) + f"{at_hosts}."


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


@user.command("unlock")
@click.argument("name")
@click.pass_obj
def unlock(directory: Path, name: str) -> None:
    """Reset the wrong codes of the user NAME. Too many wrong codes lock a user out for up to an hour."""
    with checked_store(directory) as (store, _):
        if not store.challenges.unlock(name, utc_now()):
            raise RegistryError(f"{printable(name)} has no wrong codes that count")
    say(f"The wrong codes of {name} no longer count.")


@click.group()
def key() -> None:
    """SSH public keys. One key belongs to one user."""


@key.command("add")
@click.argument("user_name", metavar="USER")
@click.argument("file", type=click.File("rb"), required=False)
@click.option(
    "--from-url", metavar="URL", help="Fetch the keys there instead, e.g. https://git.example.org/alice.keys."
)
@click.option(
    "--attestation",
    "attested_by",
    type=_READABLE,
    help="FILE of ssh-keygen -O write-attestation=FILE, for one sk- key.",
)
@click.option("--challenge", type=_READABLE, help="FILE of ssh-keygen -O challenge=FILE.")
@click.pass_obj
def add_key(
    directory: Path,
    user_name: str,
    file: BinaryIO | None,
    from_url: str | None,
    attested_by: Path | None,
    challenge: Path | None,
) -> None:
    """Register every key of FILE for USER; `-` reads them from stdin.

    FILE is like ~/.ssh/id_ed25519.pub, or an authorized_keys file without options. Keys in RFC 4716 (PuTTYgen) and PEM
    are converted. All keys are registered or none.
    The file is refused if a line is no key, the key policy refuses a key, or a key belongs to another user.
    """
    if (file is None) == (from_url is None):
        raise click.UsageError("Give either FILE or --from-url URL.")
    if (attested_by is None) != (challenge is None):
        raise click.UsageError("--attestation and --challenge come together.")
    where = printable(getattr(file, "name", None) or from_url or "<stdin>")
    text = fetch(from_url) if from_url is not None else _read(file, where)
    proof = attested_by and challenge and (attested_by.read_bytes(), challenge.read_bytes())
    keys = [NewKey(each.key, each.comment) for each in keys_of(text, where)]
    with checked_store(directory) as (store, settings):
        now = utc_now()
        if proof:
            roots = attestation.read_roots(settings.key_policy, directory)
            keys = [_attested(keys, *proof, roots, now)]
        added = store.keys.add(user_name, keys, now, settings.key_policy)
    for each in added:
        click.echo(f"{each.fingerprint} {each.type}")
    say(f"{_count(len(added), 'key')} of {user_name} {'was' if len(added) == 1 else 'were'} added.")
    if len(added) < len(keys):
        say(f"{len(keys) - len(added)} of {len(keys)} keys were registered before.")


def _read(file: BinaryIO | None, where: str) -> str:
    return text_of(b"" if file is None else file.read(MAX_FILE + 1), where)


def _attested(
    keys: list[NewKey], data: bytes, challenge: bytes, roots: list[x509.Certificate], now: datetime
) -> NewKey:
    """Returns the only key, with the device that its attestation names. Raises `RegistryError` if that fails."""
    if len(keys) != 1:
        raise RegistryError(f"an attestation is of one key, and here are {len(keys)}")
    try:
        return replace(keys[0], attested=attestation.verify(data, keys[0].key, [challenge], roots, now))
    except attestation.AttestationError as error:
        raise RegistryError(f"the attestation is refused: {error}") from None


@key.command("import")
@click.argument("file", type=click.File("rb"))
@click.option("--format", "kind", type=click.Choice(["csv", "json"]), required=True)
@click.option("--create-users", is_flag=True, help="Make the users that do not exist yet.")
@click.option("--dry-run", is_flag=True, help="Print what would be done, and change nothing.")
@click.pass_obj
def import_file(directory: Path, file: BinaryIO, kind: str, create_users: bool, dry_run: bool) -> None:
    """Register the keys of many people from FILE; `-` reads stdin.

    FILE is CSV with a header line, or a JSON array of objects. Members: user, authorized_key, and optionally name and
    expires_at (RFC 3339). A key that is there gets the expires_at of the file. All lines are imported or none. Every
    wrong line is named.
    """
    where = printable(getattr(file, "name", "<stdin>"))
    records = read_records(_read(file, where), kind, where)
    with checked_store(directory) as (store, settings):
        imported = import_keys(
            store.database, records, utc_now(), settings.key_policy, create_users=create_users, dry_run=dry_run
        )
    for user_name in imported.users:
        click.echo(f"user {user_name}")
    for record in imported.keys:
        click.echo(f"{record.new.key.fingerprint} {record.new.key.type} {record.user}")
    for record, end in imported.ends:
        click.echo(f"{record.new.key.fingerprint} {record.new.key.type} {record.user} expires={rfc3339(end)}")
    for note in imported.notes:
        say(f"{where}, {note}.")
    say(f"Keys: {len(imported.keys)} new, {len(imported.ends)} with another end, {imported.unchanged} unchanged.")
    if dry_run:
        say("Nothing was changed (--dry-run).")


@key.command("list")
@click.argument("user_name", metavar="[USER]", required=False)
@json_option
@click.pass_obj
def list_keys(directory: Path, user_name: str | None, as_json: bool) -> None:
    """Print the keys of USER, or all keys."""
    nothing = f"{printable(user_name)} has no key." if user_name else "No key is registered."
    with checked_store(directory) as (store, _):
        rows = map(key_as_json, store.keys.each(user_name))
        write_list(rows, KEY_COLUMNS, as_json=as_json, nothing=nothing)


@key.command("remove")
@click.argument("fingerprint")
@click.pass_obj
def remove_key(directory: Path, fingerprint: str) -> None:
    """Remove the key with FINGERPRINT (SHA256:..., as `ssh-keygen -l` prints it), and end what it has begun.

    Browsers in which its owner signed in by ssh are signed out. Keys that were being added there are not added. Logins
    that the key has passed but that are not completed end, too. Keys that were added with this key stay: the command
    names them. If the key was stolen, remove them as well.
    """
    with checked_store(directory) as (store, _):
        removed = store.revocation.remove_key(fingerprint, utc_now())
    if removed is None:
        raise RegistryError(f"no key {fingerprint} is registered")
    say(f"The key {fingerprint} was removed. {sentence_of(removed.ended)}")
    for each in removed.added:
        say(f"{each} of {removed.user} was added with this key and stays. If the key was stolen, remove it too.")
