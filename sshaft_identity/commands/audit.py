"""Defines `sshaft identity audit`: lists, checks and exports the audit log (docs/audit.md)."""

import re
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from sqlalchemy import Select, select

from sshaft.command_line.output import Columns, Row, ended_by_signals, json_option, write_list
from sshaft_identity.audit import chain
from sshaft_identity.audit.chain import ChainBrokenError, Head
from sshaft_identity.audit.log import canonical
from sshaft_identity.commands.option_types import Moment
from sshaft_identity.commands.shared import checked_store
from sshaft_identity.common.errors import AuditError
from sshaft_identity.database import pages
from sshaft_identity.database.database import Database
from sshaft_identity.database.tables import audit_events


class NotedHead(click.ParamType[Head]):
    """Reads `SEQ:HASH`, which `verify` prints."""

    name = "seq:hash"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Head:
        if isinstance(value, Head):
            return value
        found = re.fullmatch(r"([1-9][0-9]{0,17}):([0-9a-f]{64})", str(value))
        if found is None:
            self.fail("must be SEQ:HASH, as `sshaft identity audit verify` prints it", param, ctx)
        return Head(int(found[1]), found[2])


@click.group()
def audit() -> None:
    """The audit log: what happened to challenges, users, keys and clients. No event is ever deleted."""


@audit.command()
@click.option("--head", type=NotedHead(), help="A head that you noted earlier. It must still be in the chain.")
@click.pass_obj
def verify(directory: Path, head: Head | None) -> None:
    """Walk the whole chain and print its head. Exit status 65 if it is broken.

    A person who can write to the database can also compute the whole chain again. So note the head now and then in a
    place that the database's administrator can't change, and give it with --head the next time.
    """
    with checked_store(directory) as (store, _):
        with store.database.read() as connection:
            sealed, unsealed = chain.count_sealed(connection), chain.count_unsealed(connection)
        reached = Head()
        try:
            with click.progressbar(length=sealed, label="checking", file=sys.stderr) as progress:
                for each in chain.verify(store.database, head):
                    progress.update(each.seq - reached.seq)
                    reached = each
        except ChainBrokenError as error:
            raise AuditError(f"the audit log is broken: {error}") from error
    click.echo(f"{reached.seq} events sealed, {unsealed} not sealed yet\nhead {reached}")


_since = click.option(
    "--since", type=Moment(), help="Only events since then: a time, a date, or a duration as in 24h or 7d."
)
_until = click.option("--until", type=Moment(), help="Only events before then.")


@audit.command("list")
@_since
@_until
@click.option("--user", help="Only events of this user.")
@json_option
@click.pass_obj
def list_events(
    directory: Path, since: datetime | None, until: datetime | None, user: str | None, as_json: bool
) -> None:
    """Print the events, the newest first."""
    columns: Columns = {"AT": "at", "EVENT": "event", "USER": "user", "FACTS": _facts}
    with checked_store(directory) as (store, _):
        found = pages.rows(store.database, _query(since, until, user), audit_events.c.id, newest_first=True)
        write_list(map(_as_json, found), columns, as_json=as_json, nothing="The audit log has no such event.")


def _facts(event: Row) -> str:
    facts = event["facts"]  # a text, if somebody has written a row that is no JSON
    return " ".join(f"{name}={value}" for name, value in facts.items()) if isinstance(facts, dict) else str(facts)


@audit.command()
@_since
@_until
@click.option("--user", help="Only events of this user. The chain can't be checked then.")
@click.pass_obj
def export(directory: Path, since: datetime | None, until: datetime | None, user: str | None) -> None:
    """Write the events to stdout, one JSON object a line, in the order of the chain. Unsealed events come last."""
    with checked_store(directory) as (store, _), ended_by_signals():
        for line in lines(store.database, since, until, user):
            sys.stdout.write(line)
        sys.stdout.flush()


def lines(database: Database, since: datetime | None, until: datetime | None, user: str | None) -> Iterator[str]:
    order = audit_events.c.seq.is_(None), audit_events.c.seq, audit_events.c.id
    query = _query(since, until, user).order_by(*order)
    with database.snapshot() as connection:
        # One statement, so that it sees one state of the table while another process seals events.
        for row in connection.execution_options(yield_per=chain.BATCH).execute(query):
            yield canonical(_as_json(row)) + "\n"


def _query(since: datetime | None, until: datetime | None, user: str | None) -> Select[Any]:
    query = select(audit_events)
    if since is not None:
        query = query.where(audit_events.c.at >= since)
    if until is not None:
        query = query.where(audit_events.c.at < until)
    return query if user is None else query.where(audit_events.c.user_name == user)


def _as_json(row: Any) -> dict[str, Any]:
    return {**chain.line_of(row), "hash": row.hash}
