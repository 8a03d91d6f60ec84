"""Makes ID tokens (OpenID Connect Core 1.0 §2). They are signed by RS256, which every client supports."""

import hashlib
from base64 import urlsafe_b64encode
from datetime import datetime, timedelta
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, KeySet

from sshaft.errors import ConfigurationError
from sshaft.log import get_logger
from sshaft_identity.challenges.challenge import Challenge
from sshaft_identity.clients.clients import Client
from sshaft_identity.face_support.assurance import AcrRequest, acr_of
from sshaft_identity.signing.signing_keys import Algorithm
from sshaft_identity.web.call import Call
from sshaft_identity.web.oauth import OAuthError, issue_token
from sshaft_identity.web.state import AppState

_ID_TOKEN_LIFETIME = timedelta(minutes=5)
SCOPES = ("openid", "profile")


def authentication_claims(challenge: Challenge) -> dict[str, Any]:
    """Returns the claims about the passed challenge that every ID token has. The face adds the others."""
    if challenge.approval is None:
        raise ValueError("the challenge has not passed")
    return {"auth_time": int(challenge.approval.accepted_at.timestamp()), "amr": challenge.approval.amr}


def sign_id_token(state: AppState, now: datetime, claims: dict[str, Any]) -> str:
    """Signs `claims` with a default `iss`, `iat` and `exp`. Raises `ConfigurationError` if there is no RS256 key."""
    usual = {
        "iss": state.settings.base_url,
        "iat": int(now.timestamp()),
        "exp": int((now + _ID_TOKEN_LIFETIME).timestamp()),
    }
    token = state.store.signing_keys.sign(usual | claims, now, "JWT", Algorithm.RS256)
    if token is None:
        raise ConfigurationError("there is no RS256 signing key: run `sshaft identity init`")
    return token


def subject_of_hint(call: Call, client: Client, hint: str) -> str:
    """Returns the `sub` of an id_token_hint (§3.1.2.1): an ID token that this client got from us, expired or not.

    Raises `OAuthError`.
    """
    ours = call.state.store.signing_keys.jwks(call.state.clock())["keys"]
    keys = KeySet([JWKRegistry.import_key({**each}) for each in ours if each["alg"] == Algorithm.RS256])
    try:
        token = jwt.decode(hint, keys, algorithms=[Algorithm.RS256])
    except (JoseError, ValueError):
        raise OAuthError("invalid_request", "the id_token_hint is not an ID token of this service") from None
    claims = token.claims
    is_ours = token.header.get("typ") == "JWT" and claims.get("iss") == call.state.settings.base_url
    if not is_ours or claims.get("aud") != client.client_id or not isinstance(claims.get("sub"), str):
        raise OAuthError("invalid_request", "the id_token_hint is not an ID token of this client")
    return str(claims["sub"])


def token_response(
    call: Call,
    client: Client,
    challenge: Challenge,
    scope: str,
    acr_request: AcrRequest,
    more: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Returns the token response (§3.1.3.3) for a login whose result the client has just taken: an access token, and
    the ID token with `more` claims.
    """
    if challenge.user is None:
        raise ValueError("the login has no user")
    person = user_claims(call, client, challenge.user, scope)
    if person is None:
        raise OAuthError("invalid_grant", "the person is no longer a user")
    tokens = issue_token(call, client, scope.split(), user=challenge.user, login=challenge.id)
    claims = authentication_claims(challenge) | person | (more or {})
    claims |= {"aud": client.client_id, "at_hash": _at_hash(tokens["access_token"])}
    acr = acr_of(acr_request, challenge)
    claims |= {} if acr is None else {"acr": acr}
    get_logger().info("login.completed", challenge=challenge.id, user=challenge.user, client=client.client_id)
    return tokens | {"id_token": sign_id_token(call.state, call.state.clock(), claims)}


def subject_of(call: Call, client: Client, user: str) -> str | None:
    """Returns the `sub` of the user for the client, or None if nobody has this name."""
    identifier = call.state.store.users.id_of(user)
    return None if identifier is None else call.state.store.subjects.of(client, identifier)


def user_claims(call: Call, client: Client, user: str, scope: str) -> dict[str, str] | None:
    """Returns the claims that name the user; None if nobody has this name any more.

    A client with pairwise subjects does not get the user name.
    """
    subject = subject_of(call, client, user)
    if subject is None:
        return None
    claims = {"sub": subject}
    if client.pairwise_sector is None and "profile" in scope.split():
        claims["preferred_username"] = user
    return claims


def _at_hash(token: str) -> str:
    """Returns the `at_hash` of an access token (§3.1.3.6)."""
    return urlsafe_b64encode(hashlib.sha256(token.encode()).digest()[:16]).decode().rstrip("=")
