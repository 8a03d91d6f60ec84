"""Defines `sshaft identity user list` and `user show`: what the service knows about people, and who is locked out."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from sqlalchemy import Connection, Row, Select, Table, select

from sshaft.text import printable
from sshaft_identity.challenges.challenge import State
from sshaft_identity.challenges.limits import Limits, locked_users
from sshaft_identity.commands.shared import checked_store, echo_json
from sshaft_identity.common.errors import RegistryError
from sshaft_identity.common.times import rfc3339, utc_now
from sshaft_identity.database.tables import audit_events, challenges, enrolments, sessions, ssh_keys, users
from sshaft_identity.enrolment.enrolment import State as EnrolmentState

Facts = dict[str, Any]


def _columns(table: Table, *names: str) -> Select[Any]:
    return select(*(table.c[name] for name in names))


_KEYS = _columns(ssh_keys, "fingerprint", "type", "name", "created_at", "expires_at", "added_with")
_BROWSERS = _columns(sessions, "method", "authenticated_at", "expires_at", "fingerprint")
_ENROLMENTS = _columns(enrolments, "id", "state", "expires_at", "opened_in", "fingerprint").where(
    enrolments.c.state.in_([EnrolmentState.OPEN, EnrolmentState.PRESENTED])
)
_LOGINS = _columns(challenges, "id", "state", "client_id", "app", "created_at", "expires_at").where(
    challenges.c.state.in_([State.PENDING, State.ACCEPTED])
)
_LAST_EVENTS = _columns(audit_events, "at", "event", "facts").order_by(audit_events.c.id.desc()).limit(10)


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print the users as JSON, with their ids.")
@click.pass_obj
def list_users(directory: Path, as_json: bool) -> None:
    """Print the users, one a line. `locked-until` stands behind a user whom wrong codes have locked out."""
    now = utc_now()
    with checked_store(directory) as (store, settings), store.database.read() as connection:
        locked = _locked(connection, settings.limits, now)
        found = connection.execute(select(users.c.name, users.c.id).order_by(users.c.name)).all()
    if as_json:
        echo_json([{"name": name, "id": identifier, "locked_until": locked.get(name)} for name, identifier in found])
        return
    for name, _ in found:
        click.echo(f"{name} locked-until={locked[name]}" if name in locked else name)


@click.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print the same as JSON.")
@click.pass_obj
def show_user(directory: Path, name: str, as_json: bool) -> None:
    """Print what the service knows about the user NAME.

    Prints the keys, the browsers that are signed in, the enrolments and logins that wait, the last events, and until
    when wrong codes have locked NAME out. `user unlock NAME` ends a lock-out.
    """
    with checked_store(directory) as (store, settings), store.database.read() as connection:
        report = report_of(connection, name, settings.limits, utc_now())
    if as_json:
        echo_json(report)
        return
    for title, value in report.items():
        if isinstance(value, list):
            click.echo(f"{title}: {len(value)}")
            for each in value:
                click.echo("  " + " ".join(f"{fact}={printable(str(known))}" for fact, known in each.items()))
        else:
            click.echo(f"{title}: {value or '-'}")


def report_of(connection: Connection, name: str, limits: Limits, now: datetime) -> Facts:
    """Returns the facts about a user, as JSON values. Raises `RegistryError` if there is no such user."""
    user = connection.execute(select(users).where(users.c.name == name)).one_or_none()
    if user is None:
        raise RegistryError(f"there is no user {printable(name)}")
    return {
        "name": name,
        "id": user.id,
        "created_at": rfc3339(user.created_at),
        "locked_until": _locked(connection, limits, now).get(name),
        "keys": _facts(connection, _KEYS.where(ssh_keys.c.user_name == name)),
        "browsers": _facts(connection, _BROWSERS.where(sessions.c.user_name == name, sessions.c.expires_at > now)),
        "enrolments": _facts(
            connection, _ENROLMENTS.where(enrolments.c.user_name == name, enrolments.c.expires_at > now)
        ),
        "logins": _facts(connection, _LOGINS.where(challenges.c.user_name == name, challenges.c.expires_at > now)),
        "last_events": _facts(
            connection, _LAST_EVENTS.where(audit_events.c.user_name == name, audit_events.c.user_id == user.id)
        ),
    }


def _locked(connection: Connection, limits: Limits, now: datetime) -> dict[str, str]:
    """Returns until when each locked user is locked out."""
    return {user: rfc3339(until) for user, until in locked_users(connection, limits, now).items()}


def _facts(connection: Connection, query: Select[Any]) -> list[Facts]:
    return [_known(row) for row in connection.execute(query)]


def _known(row: Row[Any]) -> Facts:
    """Returns the values that are known, as JSON values. The facts of an audit event are spread."""
    found = {name: value for name, value in row._mapping.items() if value is not None}  # noqa: SLF001 - SQLAlchemy's API
    found |= json.loads(found.pop("facts", "{}"))
    return {name: rfc3339(value) if isinstance(value, datetime) else value for name, value in found.items()}
