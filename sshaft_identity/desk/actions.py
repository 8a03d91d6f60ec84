"""Does what a member of the help desk orders for another person. Each order needs the role, a fresh pass and a form.

Orders that take something away, and the invitation, ask once more before they are done.
"""

from collections.abc import Callable
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sshaft.log import get_logger
from sshaft_identity.common.errors import RegistryError
from sshaft_identity.common.language import N_, _
from sshaft_identity.desk.access import DESK, Member, check_may_change, member_and_form, take_order
from sshaft_identity.desk.person import is_member, name_of, no_such_person
from sshaft_identity.enrolment.revocation import Ended
from sshaft_identity.host_logins import ending as host_logins
from sshaft_identity.pages.signed_in import tell
from sshaft_identity.pages.words import moment
from sshaft_identity.web.html import PageError, redirect, render
from sshaft_identity.web.state import AppState, state_of


@dataclass(frozen=True, slots=True)
class Order:
    """One order of a member for a person, with the form that brought it. `login`: what to end at a host."""

    state: AppState
    member: Member
    person: str
    fingerprint: str
    login: str

    def log(self, action: str) -> None:
        get_logger().info(f"desk.{action}", actor=self.member.name, user=self.person, fingerprint=self.fingerprint)


@dataclass(frozen=True, slots=True)
class Action:
    """`do` returns the note to show. `question`: the title and the sentence that ask first; None: it is just done."""

    do: Callable[[Order], str]
    button: str
    question: tuple[str, str] | None = None


def _unlock(order: Order) -> str:
    challenges, now = order.state.store.challenges, order.state.clock()
    return "unlocked" if challenges.unlock(order.person, now, **order.member.facts) else "nothing_locked"


def _remove_key(order: Order) -> str:
    remove, now = order.state.store.revocation.remove_key, order.state.clock()
    removed = remove(order.fingerprint, now, user=order.person, **order.member.facts)
    if removed is None:
        raise PageError(404, N_("No such key"), N_("This person has no such key, or no longer. Open the page again."))
    tell(order.state, removed.ended)
    return "key_removed"


def _remove_all_keys(order: Order) -> str:
    """Cancels the invitations first and signs out last, so that no key comes back by what was begun before."""
    state, facts = order.state, order.member.facts
    store, now = state.store, state.clock()
    store.enrolments.cancel(order.person, now, **facts)
    while keys := store.keys.of(order.person):
        for each in keys:
            removed = store.revocation.remove_key(each.key.fingerprint, now, user=order.person, **facts)
            if removed is not None:
                tell(state, removed.ended)
    tell(state, _signed_out(order))
    return "keys_removed"


def _end_host_login(order: Order) -> str:
    database, now = order.state.store.database, order.state.clock()
    if not host_logins.end(database, order.person, order.login, now, **order.member.facts):
        raise PageError(404, N_("No longer there"), N_("It has ended already. Open the page again."))
    return "host_login_ended"


def _sign_out(order: Order) -> str:
    tell(order.state, _signed_out(order))
    return "signed_out"


def _signed_out(order: Order) -> Ended:
    try:
        return order.state.store.revocation.sign_out(order.person, order.state.clock(), **order.member.facts)
    except RegistryError:
        raise no_such_person() from None


ACTIONS = {
    "unlock": Action(_unlock, N_("Unlock")),
    "remove-key": Action(
        _remove_key,
        N_("Remove the key"),
        (
            N_("Remove this key?"),
            N_("It passes no login any more. Browsers that signed in by ssh are signed out."),
        ),
    ),
    "remove-all-keys": Action(
        _remove_all_keys,
        N_("Remove all keys"),
        (
            N_("Remove all keys?"),
            N_("The person can pass no login without a new key. Invitations, browsers and the logins at hosts end."),
        ),
    ),
    "sign-out": Action(
        _sign_out,
        N_("Sign out everywhere"),
        (
            N_("Sign out everywhere?"),
            N_(
                "Every browser is signed out. The logins at hosts end, and those that have passed but are not "
                "completed."
            ),
        ),
    ),
    "end-host-login": Action(
        _end_host_login,
        N_("End it"),
        (N_("End this at the host?"), N_("The host ends the login with all its programs, or forgets the approval.")),
    ),
}
_INVITE_SENTENCE = N_(
    "Whoever gets the link can register a key, and pass all logins of this person with it. Make sure that you speak "
    "with the right person, and send the link in a way that reaches nobody else. An open invitation is replaced."
)
_INVITE = (N_("Invite this person?"), _INVITE_SENTENCE)


async def act(request: Request) -> Response:
    """Does one of `ACTIONS`. The answer is a redirect, so that a reload repeats nothing."""
    order, form = await _order(request)
    name = request.path_params["action"]
    action = ACTIONS.get(name)
    if action is None:
        raise PageError(404, N_("No such action"), N_("The help desk does not know this. Go back and try again."))
    if action.question is not None and form.get("sure") != "yes":
        return _ask(request, order, name, action.button, action.question)
    await take_order(request, order.member)
    note = await run_in_threadpool(action.do, order)
    order.log(name.replace("-", "_"))
    return redirect(request, f"{_page(request)}?note={note}")


async def invite(request: Request) -> Response:
    """Invites the person. Only this answer shows the link: it is stored nowhere."""
    order, form = await _order(request)
    state = order.state
    if not state.settings.desk.may_invite:
        raise PageError(403, N_("Not here"), N_("The help desk may not invite people here. Ask an administrator."))
    if is_member(state, request.path_params["person"]):
        sentence = N_("Members of the help desk are invited by an administrator only. Nothing was done.")
        raise PageError(403, N_("A member of the help desk"), sentence)
    if form.get("sure") != "yes":
        return _ask(request, order, "invite", N_("Invite"), _INVITE)
    await take_order(request, order.member)
    try:
        opened = await run_in_threadpool(_invited, order)
    except RegistryError:
        raise no_such_person() from None
    order.log("invite")
    return render(
        request,
        "desk_invited.html",
        person=order.person,
        address=state.settings.enrolment_url(opened[0]),
        until=opened[1],
        back=_page(request),
        **order.member.page_values("people"),
    )


def _invited(order: Order) -> tuple[str, str]:
    opened = order.state.store.enrolments.open(
        order.person, order.state.clock(), inviter="desk", **order.member.facts
    )  # fmt: skip
    return opened.page_token, moment(opened.enrolment.expires_at)


async def _order(request: Request) -> tuple[Order, dict[str, str]]:
    """Returns the order and its form, after all checks that every order needs."""
    member, form = await member_and_form(request)
    state = state_of(request)
    person = await run_in_threadpool(name_of, state, request.path_params["person"])
    check_may_change(member, person)
    return Order(state, member, person, form.get("fingerprint", "")[:128], form.get("login", "")[:64]), form


def _ask(request: Request, order: Order, action: str, button: str, question: tuple[str, str]) -> Response:
    return render(
        request,
        "desk_ask.html",
        person=order.person,
        question=[_(each) for each in question],
        button=_(button),
        action=f"{_page(request)}/{action}",
        back=_page(request),
        fingerprint=order.fingerprint,
        login=order.login,
        **order.member.page_values("people"),
    )


def _page(request: Request) -> str:
    return f"{DESK}/people/{request.path_params['person']}"


ROUTES = [
    Route(f"{DESK}/people/{{person}}/invite", invite, methods=["POST"]),
    Route(f"{DESK}/people/{{person}}/{{action}}", act, methods=["POST"]),
]
