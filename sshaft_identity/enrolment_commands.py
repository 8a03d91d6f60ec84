"""`sshaft identity user` and `key`: who may pass a challenge, and with which keys."""

from pathlib import Path
from typing import TextIO

import click

from sshaft.errors import InvalidKeyError
from sshaft.public_key import PublicKey, parse
from sshaft.text import printable
from sshaft_identity.app_state import utc_now
from sshaft_identity.command_line import opened
from sshaft_identity.errors import EnrolmentError

MAX_FILE = 1024 * 1024
MAX_NAME = 200


@click.group()
def user() -> None:
    """Users: the names that web logins and keys belong to."""


@user.command("add")
@click.argument("name")
@click.pass_obj
def add_user(directory: Path, name: str) -> None:
    """Make the user NAME: 1 to 64 of A-Z a-z 0-9 . _ @ + -, not starting with a dash."""
    with opened(directory) as (store, _):
        store.enrolment.add_user(name, utc_now())


@user.command("list")
@click.pass_obj
def list_users(directory: Path) -> None:
    """Print the users, one a line."""
    with opened(directory) as (store, _):
        for name in store.enrolment.users():
            click.echo(name)


@user.command("remove")
@click.argument("name")
@click.pass_obj
def remove_user(directory: Path, name: str) -> None:
    """Remove the user NAME and all their keys. Nobody can pass their pending challenges any more."""
    with opened(directory) as (store, _):
        store.enrolment.remove_user(name)


@user.command("unlock")
@click.argument("name")
@click.pass_obj
def unlock(directory: Path, name: str) -> None:
    """Forget the wrong codes of the user NAME, who was wrong too often and is refused for up to an hour."""
    with opened(directory) as (store, _):
        if not store.enrolment.unlock(name):
            raise EnrolmentError(f"{printable(name)} has no wrong codes that count")


@click.group()
def key() -> None:
    """SSH public keys. One key belongs to one user."""


@key.command("add")
@click.argument("user_name", metavar="USER")
@click.argument("file", type=click.File("r", encoding="utf-8", errors="replace"))
@click.pass_obj
def add_key(directory: Path, user_name: str, file: TextIO) -> None:
    """Register every key of FILE for USER; `-` reads them from stdin.

    FILE is as ~/.ssh/id_ed25519.pub or an authorized_keys file without options. All keys are taken or none: a key
    that belongs to somebody else, or a line that is no key, refuses the file.
    """
    where = printable(getattr(file, "name", "<stdin>"))
    text = file.read(MAX_FILE + 1)
    if len(text) > MAX_FILE:
        raise EnrolmentError(f"{where} is larger than 1 MiB: no file of keys")
    keys = keys_of(text, where)
    with opened(directory) as (store, _):
        for added in store.enrolment.add_keys(user_name, keys, utc_now()):
            click.echo(f"{added.fingerprint} {added.type}")


def keys_of(text: str, where: str) -> list[tuple[PublicKey, str]]:
    """The keys of a file, with their comments. Raises `EnrolmentError` that names the line."""
    keys = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                keys.append((parse(line), printable(" ".join(line.split()[2:]), MAX_NAME)))
            except InvalidKeyError as error:
                raise EnrolmentError(f"{where}, line {number}: {error}") from None
    if not keys:
        raise EnrolmentError(f"{where} holds no key")
    return keys


@key.command("list")
@click.argument("user_name", metavar="[USER]", required=False)
@click.pass_obj
def list_keys(directory: Path, user_name: str | None) -> None:
    """Print the keys of USER, or all: fingerprint, type, user, comment."""
    with opened(directory) as (store, _):
        for each in store.enrolment.keys(user_name):
            click.echo(f"{each.key.fingerprint} {each.key.type} {each.user} {each.name}".rstrip())


@key.command("remove")
@click.argument("fingerprint")
@click.pass_obj
def remove_key(directory: Path, fingerprint: str) -> None:
    """Remove the key with FINGERPRINT (SHA256:..., as `ssh-keygen -l` prints it)."""
    with opened(directory) as (store, _):
        store.enrolment.remove_key(fingerprint)
