"""Tries a set-up of this version on a copy of the database, so that an update that cannot work changes nothing."""

import asyncio
import shutil
import tempfile
from contextlib import closing
from pathlib import Path

from sqlalchemy import make_url

from sshaft.errors import ConfigurationError
from sshaft_identity import settings as settings_of
from sshaft_identity.challenges.codes import Codes
from sshaft_identity.commands.shared import database_failures
from sshaft_identity.common.errors import DatabaseError
from sshaft_identity.common.times import utc_now
from sshaft_identity.database import sqlite
from sshaft_identity.database.database import Database
from sshaft_identity.settings import Settings
from sshaft_identity.store import Store


def dry_run(directory: Path) -> str:
    """Returns one sentence that tells what `init` would do to the database.

    SQLite is migrated in a copy, and the service answers once from the copy. PostgreSQL is migrated in a transaction
    that is undone. Raises `SshaftError` if `init` or `serve` of this version would fail.
    """
    settings = settings_of.load(directory)
    url = settings_of.database_url(directory, settings)
    with closing(Database(url, patient=True)) as database, database_failures():
        current, wanted = database.revisions()
        if current is None:
            raise ConfigurationError(f"the database has no tables: run `sshaft identity init` in {directory}")
        if database.is_postgresql:
            database.try_migration()
        else:
            _try_copy(directory, settings, Path(make_url(url).database or ""))
    if current == wanted:
        return f"The database is up to date: it is at revision {current}."
    return f"The database would be migrated from revision {current} to {wanted}."


def _try_copy(directory: Path, settings: Settings, database: Path) -> None:
    place = Path(tempfile.mkdtemp(prefix=".dry-run-", dir=directory))
    try:
        copy = place / database.name
        sqlite.copy(database, copy)
        with Store(f"sqlite:///{copy}", Codes(settings_of.load_key(directory)), settings.rules) as store:
            store.database.migrate()
            store.signing_keys.ensure(utc_now())
            _ask_for_readiness(store, settings, directory)
    finally:
        shutil.rmtree(place)


def _ask_for_readiness(store: Store, settings: Settings, directory: Path) -> None:
    """Asks the application without a server: the server would do the work of the running one a second time."""
    from sshaft_identity.service import server  # noqa: F401, PLC0415 - must be loadable, and no other command needs it
    from sshaft_identity.service.app import create_app  # noqa: PLC0415 - the web framework, as above
    from sshaft_identity.service.health import readiness  # noqa: PLC0415 - as above
    from sshaft_identity.service.named_files import read_named_files  # noqa: PLC0415 - as above

    app = create_app(store, settings, utc_now, named=read_named_files(settings, directory))
    status = asyncio.run(readiness(app))
    if status != 200:
        raise DatabaseError(f"the service of this version is not ready with the migrated database: status {status}")
