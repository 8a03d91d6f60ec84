"""Signs the result of a challenge. A program that does not call this service can verify the result."""

import secrets
from datetime import datetime, timedelta
from typing import Any

from sshaft_identity.challenges.challenge import Challenge
from sshaft_identity.signing.signing_keys import Algorithm, SigningKeys

LIFETIME = timedelta(minutes=5)
TYPE = "challenge-result+jwt"
"""Explicit typing (RFC 8725 §3.11): the result has the claims of an ID token and must not be accepted as one."""


def claims_of(challenge: Challenge, issuer: str, now: datetime) -> dict[str, Any]:
    """Returns the claims for an accepted challenge. There is no `acr` if the SSH login proves none."""
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
    """Returns the signed result; None if the service has no ES256 key."""
    return keys.sign(claims_of(challenge, issuer, now), now, TYPE, Algorithm.ES256)
