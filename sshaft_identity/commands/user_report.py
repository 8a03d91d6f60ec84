"""Defines `sshaft identity user list` and `user show`: what the service knows about people, and who is locked out."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from sqlalchemy import Connection, Row, Select, Table, select

from sshaft.command_line.colour import coloured
from sshaft.command_line.output import Columns, json_option, table, write_json, write_list
from sshaft.text import printable
from sshaft_identity.challenges.challenge import State
from sshaft_identity.challenges.limits import Limits, locked_users, user_locked_until
from sshaft_identity.commands.shared import checked_store
from sshaft_identity.common.errors import RegistryError
from sshaft_identity.common.times import rfc3339, utc_now
from sshaft_identity.database import pages
from sshaft_identity.database.database import Database
from sshaft_identity.database.tables import audit_events, challenges, enrolments, sessions, ssh_keys, users
from sshaft_identity.enrolment.enrolments import is_waiting
from sshaft_identity.host_logins.entries import HostLogin, Kind
from sshaft_identity.host_logins.listing import logins_of
from sshaft_identity.people import last_logins
from sshaft_identity.people.keys import RegisteredKey, registered_key

Facts = dict[str, Any]


def _columns(table: Table, *names: str) -> Select[Any]:
    return select(*(table.c[name] for name in names))


_BROWSERS = _columns(sessions, "method", "authenticated_at", "expires_at", "fingerprint")
_ENROLMENTS = _columns(enrolments, "id", "state", "expires_at", "opened_in", "fingerprint").where(is_waiting)
_LOGINS = _columns(challenges, "id", "state", "client_id", "app", "created_at", "expires_at").where(
    challenges.c.state.in_([State.PENDING, State.ACCEPTED])
)
_LAST_EVENTS = _columns(audit_events, "at", "event", "facts").order_by(audit_events.c.id.desc()).limit(10)
KEY_COLUMNS: Columns = {
    "FINGERPRINT": "fingerprint",
    "TYPE": "key_type",
    "USER": "user",
    "EXPIRES": "expires_at",
    "LAST USED": "last_used_at",
    "NAME": "name",
}
_PARTS: dict[str, tuple[str, Columns]] = {
    "keys": ("Keys", {heading: name for heading, name in KEY_COLUMNS.items() if heading != "USER"}),
    "browsers": (
        "Signed-in browsers",
        {"METHOD": "method", "SINCE": "authenticated_at", "UNTIL": "expires_at", "KEY": "fingerprint"},
    ),
    "enrolments": (
        "Enrolments that wait",
        {"ID": "id", "STATE": "state", "UNTIL": "expires_at", "KEY": "fingerprint"},
    ),
    "logins": (
        "Logins that wait",
        {"ID": "id", "STATE": "state", "UNTIL": "expires_at", "CLIENT": "client_id", "APP": "app"},
    ),
    "host_sessions": (
        "Open logins at hosts",
        {
            "HOST": "host",
            "ACCOUNT": "account",
            "SINCE": "began_at",
            "FROM": "source",
            "CLIENT": "client",
            "ENDING": "is_ending",
            "HEARD": "reported_at",
        },
    ),
    "remembered_approvals": (
        "Approvals that hosts remember",
        {
            "HOST": "host",
            "ACCOUNT": "account",
            "UNTIL": "until",
            "NETWORK": "source",
            "KEY": "fingerprint",
            "CLIENT": "client",
            "ENDING": "is_ending",
            "HEARD": "reported_at",
        },
    ),
    "last_logins": (
        "Last logins",
        {
            "PASSED": "at",
            "SSH FROM": "ssh_address",
            "BROWSER AT": "browser_address",
            "KEY": "fingerprint",
            "CLIENT": "client",
            "APP": "app",
        },
    ),
}
"""The lists of `user show`, each with its title and its columns."""


@click.command("list")
@json_option
@click.pass_obj
def list_users(directory: Path, as_json: bool) -> None:
    """Print the users, and until when wrong codes have locked some of them out."""
    columns: Columns = {"USER": "name", "CREATED": "created_at", "LOCKED UNTIL": "locked_until"}
    with checked_store(directory) as (store, settings):
        rows = _each_user(store.database, settings.limits, utc_now())
        write_list(rows, columns, as_json=as_json, nothing="There is no user: `sshaft identity user add` makes one.")


def _each_user(database: Database, limits: Limits, now: datetime) -> Iterator[Facts]:
    with database.read() as connection:
        locked = {user: rfc3339(until) for user, until in locked_users(connection, limits, now).items()}
    for row in pages.rows(database, select(users.c.name, users.c.id, users.c.created_at), users.c.name):
        yield {
            "name": row.name,
            "id": row.id,
            "created_at": rfc3339(row.created_at),
            "locked_until": locked.get(row.name),
        }


@click.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def show_user(directory: Path, name: str, as_json: bool) -> None:
    """Print what the service knows about the user NAME.

    Prints until when wrong codes have locked NAME out, the keys, the browsers that are signed in, the enrolments and
    logins that wait, the open logins and the remembered approvals at hosts, the last logins, why a login failed last,
    and the last events. `user unlock NAME` ends a lock-out.
    """
    with checked_store(directory) as (store, settings), store.database.read() as connection:
        report = report_of(connection, name, settings.limits, utc_now())
    if as_json:
        write_json(report)
        return
    click.echo(f"{report['name']}, since {report['created_at']}, id {report['id']}")
    if report["locked_until"]:
        until = f"LOCKED out by wrong codes until {report['locked_until']}"
        click.echo(f"{coloured(until)}: `sshaft identity user unlock {name}` ends it")
    for member, (title, columns) in _PARTS.items():
        click.echo(f"\n{title}: {len(report[member])}")
        for line in table(report[member], columns) if report[member] else ():
            click.echo(f"  {line}")
    _print_failure(report["last_failure"])
    click.echo(f"\nLast events: {len(report['last_events'])}")
    for each in report["last_events"]:
        click.echo("  " + " ".join(f"{fact}={printable(str(known))}" for fact, known in each.items()))


def _print_failure(failure: Facts | None) -> None:
    click.echo("\nLast failure: " + ("none in the audit log" if failure is None else failure["at"]))
    if failure is not None:
        click.echo(f"  {failure['why']}")
        if failure["details"]:
            click.echo(f"  {printable(failure['details'], 500)}")


def report_of(connection: Connection, name: str, limits: Limits, now: datetime) -> Facts:
    """Returns the facts about a user, as JSON values. Raises `RegistryError` if there is no such user."""
    user = connection.execute(select(users).where(users.c.name == name)).one_or_none()
    if user is None:
        raise RegistryError(f"there is no user {printable(name)}")
    keys = select(ssh_keys).where(ssh_keys.c.user_name == name).order_by(ssh_keys.c.created_at)
    until, failure = user_locked_until(connection, name, limits, now), last_logins.failed(connection, name)
    is_own = audit_events.c.user_name == name, audit_events.c.user_id == user.id
    return {
        "name": name,
        "id": user.id,
        "created_at": rfc3339(user.created_at),
        "locked_until": until and rfc3339(until),
        "keys": [key_as_json(registered_key(row)) for row in connection.execute(keys)],
        "browsers": _facts(connection, _BROWSERS.where(sessions.c.user_name == name, sessions.c.expires_at > now)),
        "enrolments": _facts(
            connection, _ENROLMENTS.where(enrolments.c.user_name == name, enrolments.c.expires_at > now)
        ),
        "logins": _facts(connection, _LOGINS.where(challenges.c.user_name == name, challenges.c.expires_at > now)),
        "host_sessions": [_at_host(each) for each in logins_of(connection, name, Kind.SESSION)],
        "remembered_approvals": [_at_host(each) for each in logins_of(connection, name, Kind.REMEMBERED)],
        "last_logins": [_passed(each) for each in last_logins.passed(connection, name)],
        "last_failure": failure
        and {"at": rfc3339(failure.at), "event": failure.event, "why": failure.why, "details": failure.details},
        "last_events": [_event(row) for row in connection.execute(_LAST_EVENTS.where(*is_own))],
    }


def key_as_json(key: RegisteredKey) -> Facts:
    """Returns a key as the lists show it. `name`, `attested` and `last_used_from` are foreign text."""
    return {
        "user": key.user,
        "fingerprint": key.key.fingerprint,
        "key_type": key.key.type,
        "authorized_key": str(key.key),
        "name": key.name,
        "source": key.source,
        "added_with": key.added_with,
        "attested": key.attested,
        "created_at": rfc3339(key.created_at),
        "expires_at": key.expires_at and rfc3339(key.expires_at),
        "last_used_at": key.last_used_at and rfc3339(key.last_used_at),
        "last_used_from": key.last_used_from,
    }


def _at_host(login: HostLogin) -> Facts:
    return {name: rfc3339(known) if isinstance(known, datetime) else known for name, known in asdict(login).items()}


def _passed(login: last_logins.Ended) -> Facts:
    names = ("ssh_address", "browser_address", "fingerprint", "client", "app")
    return {"at": rfc3339(login.at), **{name: login.facts.get(name) for name in names}}


def _facts(connection: Connection, query: Select[Any]) -> list[Facts]:
    return [_known(row) for row in connection.execute(query)]


def _known(row: Row[Any]) -> Facts:
    """Returns the values of a row as JSON values."""
    values = row._mapping  # noqa: SLF001 - SQLAlchemy's API
    return {name: rfc3339(value) if isinstance(value, datetime) else value for name, value in values.items()}


def _event(row: Row[Any]) -> Facts:
    """Returns an audit event with its facts beside its time and its name."""
    return {"at": rfc3339(row.at), "event": row.event, **json.loads(row.facts)}
