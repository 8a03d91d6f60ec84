"""Finds and binds the user of a Microsoft account. Tenant and object id identify an account, never its name."""

import re
from datetime import datetime

from sqlalchemy import insert, or_, select

from sshaft_identity.audit.log import record_event
from sshaft_identity.common.fields import USER_PATTERN
from sshaft_identity.database.database import Database
from sshaft_identity.database.tables import entra_accounts
from sshaft_identity.faces.entra.hints import Hint
from sshaft_identity.faces.entra.options import EntraClient
from sshaft_identity.web.oauth import OAuthError


def user_of(database: Database, hint: Hint, options: EntraClient) -> str:
    """Returns the user that is bound to the account, or the user name that follows from the account's name.

    The user need not exist: then the login never passes. Raises `OAuthError` if the name belongs to another account.
    """
    with database.read() as connection:
        account = (entra_accounts.c.tenant == hint.tid) & (entra_accounts.c.object_id == hint.oid)
        bound: str | None = connection.scalar(select(entra_accounts.c.user_name).where(account))
        if bound is not None:
            return bound
        name = hint.preferred_username or ""
        if options.domain and name.lower().endswith(f"@{options.domain}".lower()):
            name = name[: -len(options.domain) - 1]
        others = select(entra_accounts.c.object_id).where(
            entra_accounts.c.user_name == name, entra_accounts.c.tenant == hint.tid
        )
        is_taken = connection.scalar(others) is not None
    if is_taken or not re.fullmatch(USER_PATTERN, name):
        raise OAuthError(
            "access_denied", "the name of the account is not a user name here, or belongs to another account"
        )
    return name


def bind_account(database: Database, tenant: str, object_id: str, user: str, now: datetime) -> bool:
    """Binds the account to the user, even if Microsoft changes the name of the account later.

    Returns False if the account is bound to another user, or the user to another account of the tenant.
    """
    account = {"tenant": tenant, "object_id": object_id, "user_name": user}
    columns = entra_accounts.c
    with database.write(alone="entra accounts") as connection:
        either = or_(columns.object_id == object_id, columns.user_name == user)
        known = connection.execute(select(entra_accounts).where(columns.tenant == tenant, either)).all()
        if not known:
            connection.execute(insert(entra_accounts).values(account | {"created_at": now}))
            record_event(connection, "user.bound", now, user=user, tenant=tenant, subject=object_id)
    return all(row.object_id == object_id and row.user_name == user for row in known)
