"""Runs what time brings: terminals and sessions that end, tokens to renew, and abandoned uploads."""

import asyncio

from sshaft.errors import RemoteServiceError
from sshaft.log import get_logger
from sshaft_oidc.refresh_grant import GrantEndedError
from sshaft_oidc.remote_keys import OpenIdError
from sshaft_web.people.sessions import End, Session
from sshaft_web.state import AppState

_SECOND = 1.0
_RENEWAL_SECONDS = 5.0
_REMOVAL_SECONDS = 30.0


def start(state: AppState) -> list["asyncio.Task[None]"]:
    """Starts the tasks, which run until they are cancelled."""
    return [asyncio.create_task(each(state)) for each in (_keep_time, _keep_renewing, _keep_removing)]


async def _keep_time(state: AppState) -> None:
    while True:
        await asyncio.sleep(_SECOND)
        state.terminals.tick()
        state.sessions.finish_expired()


async def _keep_renewing(state: AppState) -> None:
    while True:
        await asyncio.sleep(_RENEWAL_SECONDS)
        await renew(state)


async def _keep_removing(state: AppState) -> None:
    while True:
        await asyncio.sleep(_REMOVAL_SECONDS)
        await state.terminals.remove_abandoned_uploads()


async def renew(state: AppState) -> None:
    """Renews or checks the tokens of sessions with open terminals. A session that the provider has ended ends here."""
    busy = {id(each.session) for each in state.terminals}
    sessions = [each for each in state.sessions if id(each) in busy or each.tokens.revocation.is_new]
    due = [_renew(state, each) for each in sessions if id(each) in busy and each.tokens.are_due]
    due += [_check(state, each) for each in sessions if each.tokens.revocation.is_due]
    await asyncio.gather(*due)


async def _renew(state: AppState, session: Session) -> None:
    try:
        await session.tokens.access_token()
    except GrantEndedError:
        state.sessions.finish(session, End.REVOKED)
    except (OpenIdError, RemoteServiceError) as error:  # an outage: the terminals stay, the next round asks again
        get_logger().warning("tokens.not_renewed", reason=str(error), error=error.code)


async def _check(state: AppState, session: Session) -> None:
    try:
        if await session.tokens.revocation.is_revoked():
            state.sessions.finish(session, End.REVOKED)
    except (OpenIdError, RemoteServiceError) as error:
        get_logger().warning("tokens.not_checked", reason=str(error), error=error.code)
