"""ID tokens (OpenID Connect Core 1.0 §2): signed by RS256, which every verifier knows, and good for five minutes."""

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
from sshaft_identity.face_support.assurance import Wanted, reached
from sshaft_identity.signing.signing_keys import Algorithm
from sshaft_identity.web.call import Call
from sshaft_identity.web.oauth import OAuthError, issue_token
from sshaft_identity.web.state import AppState

LIFETIME = timedelta(minutes=5)
SCOPES = ("openid", "profile")


def claims_of(challenge: Challenge) -> dict[str, Any]:
    """What every ID token says of the passed challenge; who it is for, and what else, is the face's to say."""
    if challenge.approval is None:
        raise ValueError("only a passed challenge proves anything")
    return {"auth_time": int(challenge.approval.accepted_at.timestamp()), "amr": challenge.approval.amr}


def signed(state: AppState, now: datetime, claims: dict[str, Any]) -> str:
    """`claims` with `iss`, `iat` and `exp`. Raises `ConfigurationError` where there is no RS256 key."""
    whole = {"iss": state.settings.base_url, "iat": int(now.timestamp()), "exp": int((now + LIFETIME).timestamp())}
    token = state.store.signing_keys.sign(whole | claims, now, "JWT", Algorithm.RS256)
    if token is None:
        raise ConfigurationError("there is no RS256 signing key: run `sshaft identity init`")
    return token


def hinted(call: Call, client: Client, hint: str) -> str:
    """The `sub` of an id_token_hint (§3.1.2.1): an ID token that we gave this client, be it over or not."""
    ours = call.state.store.signing_keys.jwks(call.state.clock())["keys"]
    keys = KeySet([JWKRegistry.import_key({**each}) for each in ours if each["alg"] == Algorithm.RS256])
    try:
        token = jwt.decode(hint, keys, algorithms=[Algorithm.RS256])
    except (JoseError, ValueError):
        raise OAuthError("invalid_request", "the id_token_hint is none of ours") from None
    claims = token.claims
    is_ours = token.header.get("typ") == "JWT" and claims.get("iss") == call.state.settings.base_url
    if not is_ours or claims.get("aud") != client.client_id or not isinstance(claims.get("sub"), str):
        raise OAuthError("invalid_request", "the id_token_hint is none that this client was given")
    return str(claims["sub"])


def answer(
    call: Call, client: Client, challenge: Challenge, scope: str, wanted: Wanted, more: dict[str, str] | None = None
) -> dict[str, Any]:
    """What the token endpoint gives for a login whose result the client has just taken: an access token and the ID
    token, with `more` claims.
    """
    if challenge.user is None:
        raise ValueError("only a login of somebody has a result")
    tokens = issue_token(call, client, scope.split(), user=challenge.user, login=challenge.id)
    claims = claims_of(challenge) | person(call, client, challenge.user, scope) | (more or {})
    claims |= {"aud": client.client_id, "at_hash": _half_hash(tokens["access_token"])}
    acr = reached(wanted, challenge)
    claims |= {} if acr is None else {"acr": acr}
    get_logger().info("login.completed", challenge=challenge.id, user=challenge.user, client=client.client_id)
    return tokens | {"id_token": signed(call.state, call.state.clock(), claims)}


def person(call: Call, client: Client, user: str, scope: str) -> dict[str, str]:
    """Who it was. A client that knows people by a name of its own is not told the user name."""
    known = {"sub": call.state.store.subjects.of(client, user)}
    return (
        known
        if client.pairwise_sector is not None or "profile" not in scope.split()
        else known | {"preferred_username": user}
    )


def _half_hash(token: str) -> str:
    """§3.1.3.6."""
    return urlsafe_b64encode(hashlib.sha256(token.encode()).digest()[:16]).decode().rstrip("=")
