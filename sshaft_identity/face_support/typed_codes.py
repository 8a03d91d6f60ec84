"""Serves the providers at which people type the code that ssh has printed. Each face translates its provider's calls.

Only the client and the user link the calls of many such providers. So a code is compared with each pending challenge
of the client and the user for which ssh has printed a code.
"""

import re
from datetime import timedelta
from typing import Any

from sshaft_identity.challenges.challenge import Binding, Challenge, Context, State, Verdict
from sshaft_identity.challenges.challenges import Wish
from sshaft_identity.clients.clients import Client
from sshaft_identity.common import addresses
from sshaft_identity.common.fields import USER_PATTERN
from sshaft_identity.web import logins, refused_requests
from sshaft_identity.web.call import Call
from sshaft_identity.web.oauth import OAuthError, client_of
from sshaft_identity.web.problem import ProblemError

_CODE = re.compile(r"[0-9]{1,16}")
_WORDS = {Verdict.NOT_PRESENTED: "ssh has not printed a code for this login yet"}


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


def begin_login(
    call: Call, client: Client, user: str, app: str | None, ip: str | None = None, *, found_by_code: bool = False
) -> Challenge:
    """Opens the challenge: from now on ssh prints a code for this user. Nobody learns whether the user exists."""
    wish = Wish(
        user=user,
        lifetime=timedelta(seconds=call.state.settings.lifetime),
        client=client.client_id,
        context=Context(app or client.client_id, addresses.read(ip or "")),
        binding=Binding.CODE_BACK,
        found_by_code=found_by_code,
    )
    return logins.open_login(call, wish).challenge


def pending_challenges(call: Call, client: Client, user: str) -> list[Challenge]:
    """Returns the pending challenges of the user that this client has opened: one, or more if strangers began some."""
    now = call.state.clock()
    running = call.state.store.challenges.pending(user, client.client_id)
    return [each for each in running if each.binding is Binding.CODE_BACK and each.state_at(now) is State.PENDING]


def redeem_code(call: Call, face: str, client: Client, meant: list[Challenge], code: str) -> bool:
    """Whether ssh has printed this code for a login in `meant`. The right code passes it and takes its result."""
    passed = verify_code(call, face, meant, code)
    if passed is None:
        return False
    after = logins.consume(call, passed.id, client.client_id)
    if after is None:
        refused_requests.note(call, face, "not_accepted", "the result was taken before")
    return after is not None


def is_code(text: str) -> bool:
    """Whether a person may have typed this text as a code."""
    return _CODE.fullmatch("".join(text.split())) is not None


def verify_code(call: Call, face: str, meant: list[Challenge], code: str) -> Challenge | None:
    """Returns the challenge in `meant` that the typed code passes, or None."""
    if not meant:
        refused_requests.note(call, face, "no_challenge", "this user has no such pending login")
        return None
    if not is_code(code):
        refused_requests.note(call, face, "invalid_request", "the code is not a number")
        return None
    answer = logins.verify(call, meant, "".join(code.split()))
    if answer.verdict not in (Verdict.ACCEPTED, Verdict.INVALID_CODE):  # the audit log has the wrong code already
        refused_requests.note(call, face, answer.verdict, _WORDS.get(answer.verdict, "the login can no longer pass"))
    return answer.challenges[0] if answer.verdict is Verdict.ACCEPTED else None
