"""Defines `sshaft identity backup`, `restore` and `copy`, which move the whole database."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import click

from sshaft_identity import settings as settings_of
from sshaft_identity.commands.owner import acting_as_owner, replacing_as_caller
from sshaft_identity.commands.shared import checked_store, database_failures, say
from sshaft_identity.common.errors import CopyError
from sshaft_identity.common.times import utc_now
from sshaft_identity.database import backup as backups
from sshaft_identity.database import copying
from sshaft_identity.database.copying import Progress
from sshaft_identity.database.database import Database


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@click.pass_obj
def backup(directory: Path, file: Path, force: bool) -> None:
    """Write every row of the database into FILE, also while the service runs.

    Only you can read FILE. It does not hold identity.json and hmac.key: copy these files
    once. They do not change by themselves.
    """
    if os.path.lexists(file) and not force:
        raise CopyError(f"{file} exists: --force replaces it")
    with checked_store(directory, patient=True) as (store, _):
        rows = backups.write(
            store.database, file, store.codes.key, utc_now(), progress_bar("backup"), replacing_as_caller
        )
    print_counts(rows)
    say(f"The backup is in {file}. It has neither identity.json nor hmac.key.")


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--replace", is_flag=True, help="Drop the present rows of the database, after a question.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def restore(directory: Path, file: Path, replace: bool, yes: bool) -> None:
    """Fill the database with the rows of FILE, which `backup` wrote, on SQLite or on PostgreSQL alike.

    Restores all rows or none, also while the service runs. Refuses a file that is cut off or altered. Refuses a
    database that is not empty, unless --replace is given.
    """
    with backups.opened(file) as source, checked_store(directory, patient=True) as (store, _):
        whole = backups.verified(file, source)
        if replace and not yes:
            with store.database.read() as connection:
                now = sum(copying.counts(connection).values())
            click.confirm(f"Drop the {now} rows of the database and take those of {file}?", abort=True, err=True)
        backups.restore(store.database, whole, progress_bar("restore"), replace=replace)
        if whole.key != backups.key_name(store.codes.key):
            click.echo("hmac.key is not that of the backup: challenges that are open cannot be passed.", err=True)
    print_counts(whole.rows)
    say(f"The database has the rows of {file} now.")


@click.command()
@click.option("--from", "source_url", metavar="URL", help="[default: the database that identity.json names]")
@click.option("--to", "target_url", metavar="URL", required=True, help="A database without rows. Tables are made.")
@click.pass_obj
def copy(directory: Path, source_url: str | None, target_url: str) -> None:
    """Copy every row from one database to another, such as SQLite to PostgreSQL. Stop the service first.

    URL is sqlite:////var/lib/sshaft-identity/identity.db or postgresql://USER@HOST/NAME. Every user of this host can
    see a command's arguments, so put the password into ~/.pgpass or ?passfile=FILE.
    """
    with acting_as_owner(directory):
        rows = _copy(source_url or settings_of.database_url(directory, settings_of.load(directory)), target_url)
    print_counts(rows)
    say("Every row was copied. Name the new database by `sshaft identity init --database URL`.")


def _copy(source_url: str, target_url: str) -> dict[str, int]:
    check_exists(source_url)
    with (
        closing(Database(source_url, patient=True)) as source,
        closing(Database(target_url, patient=True)) as target,
        database_failures(),
    ):
        source.check()
        target.migrate()
        return copying.copy(source, target, progress_bar("copy"))


def check_exists(url: str) -> None:
    """Raises `CopyError` if an SQLite file is missing: SQLite itself would create an empty file."""
    scheme, _, path = url.partition(":///")
    if scheme.startswith("sqlite") and not Path(path).exists():
        raise CopyError(f"there is no {path}")


def progress_bar(label: str) -> Progress:
    """Returns a progress bar on stderr, which shows only on a terminal."""

    @contextmanager
    def progress(total: int) -> Iterator[Callable[[int], None]]:
        if not sys.stderr.isatty():
            yield lambda _rows: None
            return
        with click.progressbar(length=total, label=label, file=sys.stderr) as bar:
            yield bar.update

    return progress


def print_counts(rows: dict[str, int]) -> None:
    width = max(len(name) for name in rows)
    for name, count in rows.items():
        click.echo(f"{name:<{width}}  {count}")
