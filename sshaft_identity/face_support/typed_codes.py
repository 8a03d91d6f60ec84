"""What the faces share whose providers let people type the code that ssh has printed: who asks, a login that begins,
and whether a code is right. Which words they ask and answer in is theirs.

Nothing links a provider's calls but client and user, so the pending challenge of the two is meant: there is one at
most.
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


def proven(call: Call, face: str) -> Client:
    """The client, by HTTP Basic. Raises `ProblemError`."""
    try:
        client = client_of(call, {})
    except OAuthError as error:
        refused_requests.note(call, face, error.error, error.description)
        challenge = {"WWW-Authenticate": 'Basic realm="sshaft"'}
        raise ProblemError("invalid_client", detail=error.description, headers=challenge) from None
    if face not in client.faces:
        refused_requests.note(call, face, "unauthorized_client", "the client has not this face")
        raise ProblemError("unauthorized_client")
    return client


def members(call: Call, face: str) -> dict[str, Any]:
    """Of the JSON object that was sent. Raises `ProblemError`."""
    body = call.json_object()
    if body is None:
        refused_requests.note(call, face, "invalid_request", "the body is no JSON object")
        raise ProblemError("invalid_request", detail="the body must be a JSON object")
    return body


def text_at(body: dict[str, Any], path: str) -> str:
    """The text of a member, `a.b` being a member of a member; empty where there is none."""
    found: Any = body
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, str) else ""


def is_user(call: Call, face: str, user: str) -> bool:
    """Whether somebody could be called that here."""
    if re.fullmatch(USER_PATTERN, user):
        return True
    refused_requests.note(call, face, "invalid_request", "no user name of this service was given")
    return False


def begin(call: Call, client: Client, user: str, app: str | None, ip: str | None = None) -> Challenge:
    """From now on ssh prints a code for this user. Unknown ones are asked alike."""
    wish = Wish(
        user=user,
        lifetime=timedelta(seconds=call.state.settings.lifetime),
        client=client.client_id,
        context=Context(app or client.client_id, one_line(ip or "") or None),
        binding=Binding.CODE_BACK,
    )
    return logins.open_login(call, wish).challenge


def waiting(call: Call, client: Client, user: str) -> Challenge | None:
    """The login of the user that this client has begun."""
    now = call.state.clock()
    running = call.state.store.challenges.pending(user, client.client_id)
    usable = (each for each in running if each.binding is Binding.CODE_BACK and each.state_at(now) is State.PENDING)
    return next(usable, None)


def is_right(call: Call, face: str, client: Client, user: str, code: str) -> bool:
    """Whether this is the code that ssh has printed for the login that waits. A right one counts once."""
    challenge = waiting(call, client, user)
    if challenge is None:
        refused_requests.note(call, face, "no_challenge", "no login of this user waits")
        return False
    if not passes(call, face, challenge, code):
        return False
    after = logins.consume(call, challenge.id, client.client_id)
    if after is None or after.user != user:
        refused_requests.note(call, face, "not_accepted", "its result was taken before")
        return False
    return True


def passes(call: Call, face: str, challenge: Challenge, code: str) -> bool:
    """Whether the code that was typed lets this challenge pass."""
    code = "".join(code.split())
    if not _CODE.fullmatch(code):
        refused_requests.note(call, face, "invalid_request", "the code is no number")
        return False
    answer = logins.verify(call, challenge, code)
    if answer.verdict not in (Verdict.ACCEPTED, Verdict.INVALID_CODE):  # a wrong code is in the audit log already
        refused_requests.note(call, face, answer.verdict, "the login cannot pass any more")
    return answer.verdict is Verdict.ACCEPTED
