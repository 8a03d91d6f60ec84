"""The token and userinfo endpoints of the OpenID Provider (OpenID Connect Core 1.0 §3.1.3, §5.3)."""

import hashlib
import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse, Response

from sshaft_identity.challenges.challenge import State
from sshaft_identity.clients.clients import Client
from sshaft_identity.face_support import id_tokens
from sshaft_identity.face_support.assurance import Wanted
from sshaft_identity.face_support.face_requests import FaceRequests
from sshaft_identity.faces.openid_provider.authorize import Details
from sshaft_identity.faces.openid_provider.options import NAME
from sshaft_identity.web import refused_requests
from sshaft_identity.web.call import Call
from sshaft_identity.web.oauth import OAuthError
from sshaft_identity.web.problem import ProblemError

_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")


def authorization_code(call: Call, client: Client, form: Mapping[str, str]) -> dict[str, Any]:
    """The grant of RFC 6749 §4.1.3: a code, once, from the client that it was given to."""
    state, now = call.state, call.state.clock()
    requests = FaceRequests(state.store.database, NAME)
    wrong = OAuthError("invalid_grant", "no such code, or not this client's, or over, or used before")
    request = requests.of_handle(form.get("code", ""))
    if request is None or request.client_id != client.client_id or NAME not in client.faces:
        raise wrong
    if not requests.use(request.id, now):
        # §4.1.2: whoever came first may be the thief
        state.store.access_tokens.revoke_login(request.id)
        raise OAuthError("invalid_grant", "the code came before: what was given for it is void")
    details = Details.model_validate(request.details)
    if request.handle_until is None or now >= request.handle_until:
        raise wrong
    if form.get("redirect_uri") != details.redirect_uri:
        raise OAuthError("invalid_grant", "redirect_uri is not that of the request")
    if not _is_verifier(form.get("code_verifier"), details.code_challenge):
        raise OAuthError("invalid_grant", "code_verifier is not that of the request")
    challenge = state.store.challenges.get(request.id)
    if challenge is None or challenge.user is None or challenge.state is not State.CONSUMED:
        raise wrong
    more = {} if details.nonce is None else {"nonce": details.nonce}
    return id_tokens.answer(call, client, challenge, details.scope, Wanted(details.acr, details.essential), more)


def _is_verifier(verifier: str | None, challenge: str | None) -> bool:
    """RFC 7636 §4.6; without a challenge there must be no verifier either (RFC 9700 §2.1.1)."""
    if challenge is None or verifier is None:
        return challenge is None and verifier is None
    digest = urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
    return _VERIFIER.fullmatch(verifier) is not None and digest == challenge


def userinfo(call: Call) -> Response:
    """OpenID Connect Core 1.0 §5.3, by the access token that came with the ID token."""
    kind, _, token = call.request.headers.get("authorization", "").partition(" ")
    found = None
    if kind.lower() == "bearer" and token:
        found = call.state.store.access_tokens.person_of(token.strip(), call.state.clock())
    if found is None:
        refused_requests.note(call, NAME, "invalid_token", "the access token speaks of nobody")
        raise ProblemError("invalid_token", headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})
    client, user = found
    return JSONResponse(id_tokens.person(call, client, user, " ".join(client.scopes)))
