"""`sshaft identity backup`, `restore` and `copy`: the whole database into a file, back, or into another database."""

import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import click

from sshaft_identity import settings as settings_of
from sshaft_identity.commands.shared import failures_told, opened
from sshaft_identity.common.errors import CopyError
from sshaft_identity.common.times import utc_now
from sshaft_identity.database import backup as backups
from sshaft_identity.database import copying
from sshaft_identity.database.copying import Progress
from sshaft_identity.database.database import Database


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.pass_obj
def backup(directory: Path, file: Path) -> None:
    """Write every row of the database into FILE, also while the service runs.

    FILE is readable by you only, and replaces an older one. It does not hold identity.json and hmac.key: copy those
    once, they do not change by themselves.
    """
    with opened(directory, patient=True) as (store, _):
        rows = backups.write(store.database, file, store.codes.key, utc_now(), shown_as("backup"))
    tell(rows)


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--replace", is_flag=True, help="Drop what the database holds now. Asks before.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def restore(directory: Path, file: Path, replace: bool, yes: bool) -> None:
    """Fill the database with the rows of FILE, which `backup` wrote, on SQLite or on PostgreSQL alike.

    All or nothing, also while the service runs. A file that is cut off or altered is refused, and a database that is
    not empty, unless with --replace.
    """
    whole = backups.verified(file)
    with opened(directory, patient=True) as (store, _):
        if replace and not yes:
            with store.database.read() as connection:
                now = sum(copying.counts(connection).values())
            click.confirm(f"Drop the {now} rows of the database and take those of {file}?", abort=True, err=True)
        backups.restore(store.database, whole, shown_as("restore"), replace=replace)
        if whole.key != backups.key_name(store.codes.key):
            click.echo("hmac.key is not that of the backup: challenges that are open cannot be passed.", err=True)
    tell(whole.rows)


@click.command()
@click.option("--from", "source_url", metavar="URL", help="[default: the database that identity.json names]")
@click.option("--to", "target_url", metavar="URL", required=True, help="A database without rows; tables are made.")
@click.pass_obj
def copy(directory: Path, source_url: str | None, target_url: str) -> None:
    """Copy every row from one database to another, as from SQLite to PostgreSQL. Stop the service before.

    URL is sqlite:////var/lib/sshaft-identity/identity.db or postgresql://USER@HOST/NAME. Everybody on this host can
    see a command's arguments: leave the password to ~/.pgpass or ?passfile=FILE.
    """
    if source_url is None:
        source_url = settings_of.database_url(directory, settings_of.load(directory))
    require_file(source_url)
    with (
        closing(Database(source_url, patient=True)) as source,
        closing(Database(target_url, patient=True)) as target,
        failures_told(),
    ):
        source.check()
        target.migrate()
        rows = copying.copy(source, target, shown_as("copy"))
    tell(rows)


def require_file(url: str) -> None:
    """SQLite makes a file that is not there, which is no good for one to read from."""
    scheme, _, path = url.partition(":///")
    if scheme.startswith("sqlite") and not Path(path).exists():
        raise CopyError(f"there is no {path}")


def shown_as(label: str) -> Progress:
    """A bar on stderr, where that is a terminal."""

    @contextmanager
    def progress(total: int) -> Iterator[Callable[[int], None]]:
        if not sys.stderr.isatty():
            yield lambda _rows: None
            return
        with click.progressbar(length=total, label=label, file=sys.stderr) as bar:
            yield bar.update

    return progress


def tell(rows: dict[str, int]) -> None:
    width = max(len(name) for name in rows)
    for name, count in rows.items():
        click.echo(f"{name:<{width}}  {count}")
