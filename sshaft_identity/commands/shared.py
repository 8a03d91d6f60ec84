"""Opens the store for all commands of the operator."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from sqlalchemy.exc import SQLAlchemyError

from sshaft_identity import settings as settings_of
from sshaft_identity.challenges.codes import Codes
from sshaft_identity.commands.owner import acting_as_owner
from sshaft_identity.common.errors import DatabaseError
from sshaft_identity.database.database import reason
from sshaft_identity.settings import Settings
from sshaft_identity.store import Store


def open_store(directory: Path, settings: Settings, *, patient: bool = False) -> Store:
    url = settings_of.database_url(directory, settings)
    return Store(url, Codes(settings_of.load_key(directory)), settings.rules, patient=patient)


@contextmanager
def checked_store(directory: Path, *, patient: bool = False) -> Iterator[tuple[Store, Settings]]:
    """Yields store and settings of a directory that `init` has set up. `patient`: see `Database`.

    In the block, root acts as the owner of the directory.
    """
    with acting_as_owner(directory):
        settings = settings_of.load(directory)
        with open_store(directory, settings, patient=patient) as store, database_failures():
            store.database.check()
            yield store, settings


@contextmanager
def database_failures() -> Iterator[None]:
    """Turns errors of SQLAlchemy into `DatabaseError`."""
    try:
        yield
    except SQLAlchemyError as error:
        raise DatabaseError(f"the database failed: {reason(error)}") from error


def say(sentence: str) -> None:
    """Tells a person on stderr what was done. The data for other programs are on stdout."""
    click.echo(sentence, err=True)
