"""Defines `sshaft identity session list` and `token list`: who and what is signed in now."""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from sqlalchemy import select

from sshaft.command_line.output import Columns, json_option, write_list
from sshaft_identity.commands.shared import checked_store
from sshaft_identity.common.times import rfc3339, utc_now
from sshaft_identity.database import pages
from sshaft_identity.database.database import Database
from sshaft_identity.database.tables import access_tokens, sessions

_SESSION_COLUMNS: Columns = {
    "USER": "user",
    "METHOD": "method",
    "SINCE": "authenticated_at",
    "UNTIL": "expires_at",
    "KEY": "fingerprint",
    "GROUPS": "groups",
}
_TOKEN_COLUMNS: Columns = {"CLIENT": "client_id", "SCOPES": "scopes", "USER": "user", "UNTIL": "expires_at"}


@click.group()
def session() -> None:
    """Browsers that are signed in to "My keys". `user sign-out` ends those of a user."""


@session.command("list")
@click.argument("user", required=False)
@json_option
@click.pass_obj
def list_sessions(directory: Path, user: str | None, as_json: bool) -> None:
    """Print the browsers that are signed in, of USER or of everybody.

    GROUPS are those that have a role at the help desk. No token is printed: the database has none.
    """
    with checked_store(directory) as (store, _):
        rows = _each_session(store.database, user, utc_now())
        write_list(rows, _SESSION_COLUMNS, as_json=as_json, nothing="No browser is signed in.")


def _each_session(database: Database, user: str | None, now: datetime) -> Iterator[dict[str, Any]]:
    query = select(sessions).where(sessions.c.expires_at > now)
    if user is not None:
        query = query.where(sessions.c.user_name == user)
    order = sessions.c.user_name, sessions.c.authenticated_at, sessions.c.token_hash
    for row in pages.rows(database, query, *order):
        yield {
            "user": row.user_name,
            "method": row.method,
            "authenticated_at": rfc3339(row.authenticated_at),
            "expires_at": rfc3339(row.expires_at),
            "fingerprint": row.fingerprint,
            "issuer": row.issuer,
            "groups": json.loads(row.groups or "[]"),
            "passed_at": row.passed_at and rfc3339(row.passed_at),
        }


@click.group()
def token() -> None:
    """Access tokens that clients have and that are still valid. `client revoke` ends those of a client."""


@token.command("list")
@click.argument("client", required=False)
@json_option
@click.pass_obj
def list_tokens(directory: Path, client: str | None, as_json: bool) -> None:
    """Print the valid access tokens, of CLIENT or of all clients, without the tokens themselves.

    USER is the person whose login gave the token, if one did.
    """
    with checked_store(directory) as (store, _):
        rows = _each_token(store.database, client, utc_now())
        write_list(rows, _TOKEN_COLUMNS, as_json=as_json, nothing="No access token is valid.")


def _each_token(database: Database, client: str | None, now: datetime) -> Iterator[dict[str, Any]]:
    query = select(access_tokens).where(access_tokens.c.expires_at > now)
    if client is not None:
        query = query.where(access_tokens.c.client_id == client)
    order = access_tokens.c.client_id, access_tokens.c.expires_at, access_tokens.c.token_hash
    for row in pages.rows(database, query, *order):
        yield {
            "client_id": row.client_id,
            "scopes": row.scope.split(),
            "user": row.user_name,
            "challenge": row.login,
            "expires_at": rfc3339(row.expires_at),
        }
