"""The signed result of a challenge: what `consume` hands out, for a program that did not ask us itself to check."""

import secrets
from datetime import datetime, timedelta
from typing import Any

from sshaft_identity.challenges.challenge import Challenge
from sshaft_identity.signing.signing_keys import Algorithm, SigningKeys

LIFETIME = timedelta(minutes=5)
TYPE = "challenge-result+jwt"
"""RFC 8725 §3.11: it has the members of an ID token, and must not be taken for one."""


def claims_of(challenge: Challenge, issuer: str, now: datetime) -> dict[str, Any]:
    """What the result of a passed challenge says; `acr` only where there is something to claim."""
    approval = challenge.approval
    if approval is None or challenge.user is None or challenge.client is None:
        raise ValueError("a result is of a challenge that a client opened and somebody passed")
    claims = {
        "iss": issuer,
        "aud": challenge.client,
        "sub": challenge.user,
        "iat": int(now.timestamp()),
        "exp": int((now + LIFETIME).timestamp()),
        "jti": secrets.token_urlsafe(16),
        "auth_time": int(approval.accepted_at.timestamp()),
        "amr": approval.amr,
        "challenge": challenge.id,
    }
    return claims if challenge.acr is None else claims | {"acr": challenge.acr}


def result_of(challenge: Challenge, keys: SigningKeys, issuer: str, now: datetime) -> str | None:
    """The signed result; None where the service has no ES256 key."""
    return keys.sign(claims_of(challenge, issuer, now), now, TYPE, Algorithm.ES256)
