"""Lets only members of the help desk in. Each request is judged anew, by the session, the user and the settings."""

from dataclasses import dataclass
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from sshaft.log import get_logger
from sshaft_identity.common.language import N_, _
from sshaft_identity.pages.sign_in_oidc import BEGIN
from sshaft_identity.pages.signed_in import role_of, signed_in
from sshaft_identity.pages.wanted import remember_wanted
from sshaft_identity.people.roles import Role
from sshaft_identity.people.sessions import Session, count_order
from sshaft_identity.web.browsers import client_address, form_of
from sshaft_identity.web.html import PageError, render
from sshaft_identity.web.state import AppState, state_of

DESK = "/desk"


class NoFreshPassError(Exception):
    """Ends a request that needs a fresh SSH login for its session."""


class OldGroupsError(Exception):
    """Ends a request of a member by group: the OpenID Provider must name the groups of the person again."""


@dataclass(frozen=True, slots=True)
class Member:
    """A signed-in member of the help desk. `has_pass`: an SSH login for this session is fresh."""

    session: Session
    role: Role
    has_pass: bool
    address: str | None

    @property
    def name(self) -> str:
        return self.session.user

    @property
    def may_change(self) -> bool:
        return self.role is Role.DESK

    @property
    def facts(self) -> dict[str, Any]:
        """Returns the facts for the audit event of an action. The person concerned must not see the address."""
        return {"by": "desk", "actor": self.name, "actor_role": self.role, "desk_address": self.address}

    def page_values(self, here: str) -> dict[str, Any]:
        """Returns the values that every page of the help desk needs."""
        return {
            "user": self.name, "form_token": self.session.form_token, "here": "desk", "place": here, "desk": True,
            "may_change": self.may_change, "has_pass": self.has_pass,
        }  # fmt: skip


async def member_of(request: Request) -> Member:
    """Returns the member. Raises the same 404 as for an unknown path if the person has no role, or the desk is off."""
    session = await signed_in(request)
    role = await role_of(request, session)
    if role is None:
        if await role_of(request, session, however_old=True) is not None:
            raise OldGroupsError
        raise HTTPException(404)
    return Member(session, role, session.has_fresh_pass(state_of(request).clock()), client_address(request))


async def answer_old_groups(request: Request, _error: Exception) -> Response:
    """Leads to the OpenID Provider and back. The page does it, for a policy can forbid that the answer to a form does.

    A browser that is signed in at the provider comes back by itself. Nothing of the request is done.
    """
    page = render(
        request,
        "said.html",
        403,
        title=_("One moment"),
        sentence=_("Your organisation is asked again for your groups. Then you come back. Nothing was done yet."),
        leads_to=state_of(request).settings.base_path + BEGIN,
        lead_words=_("Go on"),
    )
    remember_wanted(request, page)
    return page


async def member_and_form(request: Request) -> tuple[Member, dict[str, str]]:
    """Returns the member and the form. Raises `PageError` if the form is not from a page of this session."""
    member = await member_of(request)
    form = await form_of(request)
    if not member.session.owns(form.get("form_token", "")):
        raise PageError(403, N_("Not from here"), N_("This form is of another sign-in. Open the page again and retry."))
    return member, form


def check_may_change(member: Member, person: str) -> None:
    """Raises `PageError` if the member may not change anything of this person, `NoFreshPassError` without a pass."""
    if not member.may_change:
        get_logger().warning("desk.refused", actor=member.name, user=person, reason="reader")
        raise PageError(
            403, N_("You may only look"), N_("Your role at the help desk changes nothing. Nothing was done.")
        )
    if person == member.name:
        get_logger().warning("desk.refused", actor=member.name, user=person, reason="self")
        raise PageError(
            403, N_("Not for yourself"), N_("The help desk helps others. Use “My keys”, or ask a colleague.")
        )
    check_pass(member)


def check_pass(member: Member) -> None:
    """Raises `NoFreshPassError` if no SSH login for this session is fresh."""
    if not member.has_pass:
        raise NoFreshPassError


async def take_order(request: Request, member: Member) -> None:
    """Counts an order, just before it is done. Raises `NoFreshPassError` if the SSH login allows no more, or is over.

    A session that has ended meanwhile gives no order.
    """
    check_pass(member)
    if not await run_in_threadpool(_took_order, state_of(request), member):
        raise NoFreshPassError


def _took_order(state: AppState, member: Member) -> bool:
    with state.store.database.write() as connection:
        return count_order(connection, member.session)
