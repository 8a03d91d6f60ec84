"""Serves the pages "My keys" and "My activity" to a person who is signed in."""

from datetime import datetime
from functools import partial
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from sshaft.log import get_logger
from sshaft_identity.common.errors import RegistryError
from sshaft_identity.common.fields import one_line
from sshaft_identity.common.language import N_, _
from sshaft_identity.pages.happenings import happening_values
from sshaft_identity.pages.signed_in import (
    ACTIVITY,
    KEYS,
    SIGN_IN,
    NotSignedInError,
    account_values,
    facts_of,
    session_and_form,
    signed_in,
    tell,
)
from sshaft_identity.pages.words import ago, key_kind, moment, source
from sshaft_identity.people.keys import MAX_NAME, RegisteredKey
from sshaft_identity.web import cookies
from sshaft_identity.web.html import PageError, redirect, render
from sshaft_identity.web.state import state_of

_SIGN_IN_AGAIN = f"{SIGN_IN}?note=again"
_DONE_SENTENCES = {
    "renamed": N_("The key has its new name."),
    "removed": N_(
        "The key is removed. It passes no login any more. Other browsers that signed in by ssh are signed out."
    ),
}


async def keys(request: Request) -> Response:
    session, state = await signed_in(request), state_of(request)
    own_keys = await run_in_threadpool(state.store.keys.of, session.user)
    now, done = state.clock(), _DONE_SENTENCES.get(request.query_params.get("done", ""))
    return render(
        request,
        "keys.html",
        keys=[_key_values(key, now) for key in own_keys],
        can_enrol=state.open_enrolment is not None,
        max_name=MAX_NAME,
        done=done and _(done),
        **await account_values(request, session, "keys"),
    )


async def rename(request: Request) -> Response:
    session, form = await session_and_form(request)
    state = state_of(request)
    fingerprint, name = form.get("fingerprint", ""), one_line(form.get("name", ""))
    rename_key = state.store.keys.rename
    if not await run_in_threadpool(rename_key, session.user, fingerprint, name, state.clock(), **facts_of(request)):
        raise _no_such_key()
    return redirect(request, f"{KEYS}?done=renamed")


async def ask_to_remove(request: Request) -> Response:
    """Asks before a key is removed, with a stronger warning for the last key."""
    session, state = await signed_in(request), state_of(request)
    own_keys = await run_in_threadpool(state.store.keys.of, session.user)
    key = next((each for each in own_keys if each.key.fingerprint == request.query_params.get("fingerprint")), None)
    if key is None:
        raise _no_such_key()
    if not session.is_fresh(state.clock()):
        return redirect(request, _SIGN_IN_AGAIN)
    added = [_key_values(each, state.clock()) for each in own_keys if each.added_with == key.key.fingerprint]
    values: dict[str, Any] = {"key": _key_values(key, state.clock()), "is_last": len(own_keys) == 1, "added": added}
    return render(request, "remove_key.html", **values, **await account_values(request, session, "keys"))


async def remove(request: Request) -> Response:
    session, form = await session_and_form(request)
    state, fingerprint = state_of(request), form.get("fingerprint", "")
    if not session.is_fresh(state.clock()):
        return redirect(request, _SIGN_IN_AGAIN)
    own_keys = await run_in_threadpool(state.store.keys.of, session.user)
    if [each.key.fingerprint for each in own_keys] == [fingerprint] and form.get("last") != "yes":
        raise PageError(409, N_("Your last key"), N_("This key is now your last one. Go back and remove it there."))
    remove_key = partial(state.store.revocation.remove_key, fingerprint, state.clock(), user=session.user, keep=session)
    removed = await run_in_threadpool(partial(remove_key, **facts_of(request)))
    if removed is None:
        raise _no_such_key()
    tell(state, removed.ended)
    get_logger().info("key.removed", user=session.user, fingerprint=fingerprint, **removed.ended.facts)
    if session.fingerprint == fingerprint:
        return _signed_out(request, "removed")
    return redirect(request, f"{KEYS}?done=removed")


async def enrol(request: Request) -> Response:
    """Opens an enrolment for the signed-in person and redirects to its page."""
    session, _form = await session_and_form(request)
    state = state_of(request)
    if state.open_enrolment is None:
        raise PageError(404, N_("Not here"), N_("New keys are registered by your administrator."))
    if not session.is_fresh(state.clock()):
        return redirect(request, _SIGN_IN_AGAIN)
    try:
        return RedirectResponse(await run_in_threadpool(state.open_enrolment, session, state.clock()), 303)
    except RegistryError:  # the session has ended, or its user
        raise NotSignedInError from None


async def activity(request: Request) -> Response:
    session, state = await signed_in(request), state_of(request)
    before = request.query_params.get("before", "")
    number = int(before) if before.isascii() and before.isdigit() and len(before) < 19 else None
    page = await run_in_threadpool(state.activity.of, session.user, number)
    names = {each.key.fingerprint: each.name for each in await run_in_threadpool(state.store.keys.of, session.user)}
    rows = [happening_values(each, names, state.clock()) for each in page.happenings]
    values: dict[str, Any] = {"happenings": rows, "older": page.older, "is_first": number is None}
    return render(request, "activity.html", **values, **await account_values(request, session, "activity"))


async def sign_out(request: Request, *, everywhere: bool = False) -> Response:
    session, _form = await session_and_form(request)
    state = state_of(request)
    now, facts, revocation = state.clock(), facts_of(request), state.store.revocation
    if everywhere:
        # what the person does at hosts may be worth keeping: the page of the hosts ends that
        sign_out_browsers = partial(revocation.sign_out, session.user, now, sessions_at_hosts=False, **facts)
        tell(state, await run_in_threadpool(sign_out_browsers))
    else:
        tell(state, await run_in_threadpool(revocation.end_session, session, now, **facts))
    get_logger().info("session.ended", user=session.user, everywhere=everywhere)
    return _signed_out(request, "everywhere" if everywhere else "signed_out")


def _signed_out(request: Request, note: str) -> Response:
    response = redirect(request, f"{SIGN_IN}?note={note}")
    cookies.clear(request, response, cookies.SESSION)
    return response


def _key_values(key: RegisteredKey, now: datetime) -> dict[str, Any]:
    """Returns the values that the page shows of a key."""
    used = None if key.last_used_at is None else ago(key.last_used_at, now)
    return {
        "fingerprint": key.key.fingerprint,
        "name": key.name or key_kind(key.key.type),
        "given_name": key.name,
        "kind": key_kind(key.key.type),
        "is_hardware": key.key.is_security_key,
        "attested": key.attested,
        "how": source(key.source),
        "since": moment(key.created_at),
        "since_iso": key.created_at.isoformat(),
        "used": used,
        "used_at": None if key.last_used_at is None else moment(key.last_used_at),
        "used_from": key.last_used_from,
        "expires": None if key.expires_at is None else moment(key.expires_at),
        "is_expired": key.expires_at is not None and key.expires_at <= now,
    }


def _no_such_key() -> PageError:
    return PageError(404, N_("No such key"), N_("You have no such key, or no longer. Go back to your keys."))


ROUTES = [
    Route(KEYS, keys, methods=["GET"]),
    Route("/account/keys/rename", rename, methods=["POST"]),
    Route("/account/keys/remove", ask_to_remove, methods=["GET"]),
    Route("/account/keys/remove", remove, methods=["POST"]),
    Route("/account/keys/enrol", enrol, methods=["POST"]),
    Route(ACTIVITY, activity, methods=["GET"]),
    Route("/account/sign-out", sign_out, methods=["POST"]),
    Route("/account/sign-out-everywhere", partial(sign_out, everywhere=True), methods=["POST"]),
]
