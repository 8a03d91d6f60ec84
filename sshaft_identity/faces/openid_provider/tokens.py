"""Serves the token and userinfo endpoints of the OpenID Provider (OpenID Connect Core 1.0 §3.1.3, §5.3)."""

import hashlib
import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse, Response

from sshaft_identity.challenges.challenge import State
from sshaft_identity.clients.clients import Client
from sshaft_identity.face_support import id_tokens
from sshaft_identity.face_support.assurance import AcrRequest
from sshaft_identity.face_support.face_requests import FaceRequests
from sshaft_identity.faces.openid_provider.authorize import Details
from sshaft_identity.faces.openid_provider.options import NAME
from sshaft_identity.web import refused_requests
from sshaft_identity.web.browsers import client_address
from sshaft_identity.web.call import Call
from sshaft_identity.web.oauth import OAuthError
from sshaft_identity.web.problem import ProblemError

_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")


def authorization_code(call: Call, client: Client, form: Mapping[str, str]) -> dict[str, Any]:
    """Answers the grant of RFC 6749 §4.1.3: redeems a code, once, for the client that got it."""
    state, now = call.state, call.state.clock()
    requests = FaceRequests(state.store.database, NAME)
    invalid_code = OAuthError("invalid_grant", "there is no valid code of this client")
    code = form.get("code", "")
    request = requests.of_handle(code)
    if request is None or request.client_id != client.client_id or NAME not in client.faces:
        raise invalid_code
    if not requests.redeem_handle(request.id, code, now):
        # §4.1.2: the first use may have been a theft
        state.store.access_tokens.revoke_login(request.id)
        raise OAuthError("invalid_grant", "the code was used or replaced: its tokens are revoked")
    details = Details.model_validate(request.details)
    if request.handle_until is None or now >= request.handle_until:
        raise invalid_code
    if form.get("redirect_uri") != details.redirect_uri:
        raise OAuthError("invalid_grant", "redirect_uri differs from the request")
    if not _verifier_matches(form.get("code_verifier"), details.code_challenge):
        raise OAuthError("invalid_grant", "code_verifier does not match the request")
    challenge = state.store.challenges.get(request.id)
    if challenge is None or challenge.user is None or challenge.state is not State.CONSUMED:
        raise invalid_code
    more = {} if details.nonce is None else {"nonce": details.nonce}
    return id_tokens.token_response(
        call, client, challenge, details.scope, AcrRequest(details.acr, details.essential), more
    )


def _verifier_matches(verifier: str | None, challenge: str | None) -> bool:
    """Whether the verifier matches (RFC 7636 §4.6). A request without a challenge has no verifier (RFC 9700 §2.1.1)."""
    if verifier is None:
        return challenge is None
    digest = urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
    return _VERIFIER.fullmatch(verifier) is not None and digest == challenge


def userinfo(call: Call) -> Response:
    """`GET` or `POST /oauth2/userinfo` (§5.3), with the access token that came with the ID token."""
    kind, _, token = call.request.headers.get("authorization", "").partition(" ")
    found, reason = None, "the access token belongs to no user"
    if kind.lower() == "bearer":
        found = call.state.store.access_tokens.person_of(token.strip(), call.state.clock())
    if found is not None and not found[0].may_call_from(client_address(call.request)):
        call.caller, found, reason = found[0].client_id, None, "this client may not call from there"
    claims = found and id_tokens.user_claims(call, *found, " ".join(found[0].scopes))
    if claims is None:
        refused_requests.note(call, NAME, "invalid_token", reason)
        raise ProblemError("invalid_token", headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})
    return JSONResponse(claims)
