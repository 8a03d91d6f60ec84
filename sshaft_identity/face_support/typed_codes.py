"""Serves the providers at which people type the code that ssh has printed. Each face translates its provider's calls.

Only the client and the user link the calls of such a provider. So a call refers to the pending challenge of the client
and the user; there is at most one.
"""

import re
from datetime import timedelta
from typing import Any

from sshaft_identity.challenges.challenge import Binding, Challenge, Context, State, Verdict
from sshaft_identity.challenges.challenges import Wish
from sshaft_identity.clients.clients import Client
from sshaft_identity.common.fields import USER_PATTERN, one_line
from sshaft_identity.web import logins, refused_requests
from sshaft_identity.web.call import Call
from sshaft_identity.web.oauth import OAuthError, client_of
from sshaft_identity.web.problem import ProblemError

_CODE = re.compile(r"[0-9]{1,16}")


def client_of_basic(call: Call, face: str) -> Client:
    """Returns the client that HTTP Basic authenticates. Raises `ProblemError`."""
    try:
        client = client_of(call, {})
    except OAuthError as error:
        refused_requests.note(call, face, error.error, error.description)
        challenge = {"WWW-Authenticate": 'Basic realm="sshaft"'}
        raise ProblemError("invalid_client", detail=error.description, headers=challenge) from None
    if face not in client.faces:
        refused_requests.note(call, face, "unauthorized_client", "the client is not registered for this face")
        raise ProblemError("unauthorized_client")
    return client


def json_members(call: Call, face: str) -> dict[str, Any]:
    """Returns the members of the JSON object in the body. Raises `ProblemError`."""
    body = call.json_object()
    if body is None:
        refused_requests.note(call, face, "invalid_request", "the body is not a JSON object")
        raise ProblemError("invalid_request", detail="the body must be a JSON object")
    return body


def text_member(body: dict[str, Any], path: str) -> str:
    """Returns the text of a member, or "" if there is no text. In `path` a dot leads into an object: `a.b`."""
    found: Any = body
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, str) else ""


def check_user_name(call: Call, face: str, user: str) -> bool:
    """Whether the text can be a user name here. Records the refusal if not."""
    if re.fullmatch(USER_PATTERN, user):
        return True
    call.state.unknown_users.note(user, call.caller, call.state.clock())
    refused_requests.note(call, face, "invalid_request", "the text is not a user name of this service")
    return False


def begin_login(call: Call, client: Client, user: str, app: str | None, ip: str | None = None) -> Challenge:
    """Opens the challenge: from now on ssh prints a code for this user. Nobody learns whether the user exists."""
    wish = Wish(
        user=user,
        lifetime=timedelta(seconds=call.state.settings.lifetime),
        client=client.client_id,
        context=Context(app or client.client_id, one_line(ip or "") or None),
        binding=Binding.CODE_BACK,
    )
    return logins.open_login(call, wish).challenge


def pending_challenge(call: Call, client: Client, user: str) -> Challenge | None:
    """Returns the pending challenge of the user that this client has opened."""
    now = call.state.clock()
    running = call.state.store.challenges.pending(user, client.client_id)
    usable = (each for each in running if each.binding is Binding.CODE_BACK and each.state_at(now) is State.PENDING)
    return next(usable, None)


def redeem_code(call: Call, face: str, client: Client, user: str, code: str) -> bool:
    """Whether ssh has printed this code for the pending login. The right code passes the login and takes its result."""
    challenge = pending_challenge(call, client, user)
    if challenge is None:
        refused_requests.note(call, face, "no_challenge", "this user has no pending login")
        return False
    if not verify_code(call, face, challenge, code):
        return False
    after = logins.consume(call, challenge.id, client.client_id)
    if after is None or after.user != user:
        refused_requests.note(call, face, "not_accepted", "the result was taken before")
        return False
    return True


def verify_code(call: Call, face: str, challenge: Challenge, code: str) -> bool:
    """Whether the code that the person typed passes this challenge."""
    code = "".join(code.split())
    if not _CODE.fullmatch(code):
        refused_requests.note(call, face, "invalid_request", "the code is not a number")
        return False
    answer = logins.verify(call, challenge, code)
    if answer.verdict not in (Verdict.ACCEPTED, Verdict.INVALID_CODE):  # the audit log has the wrong code already
        refused_requests.note(call, face, answer.verdict, "the login can no longer pass")
    return answer.verdict is Verdict.ACCEPTED
