"""ID tokens (OpenID Connect Core 1.0 §2): signed by RS256, which every verifier knows, and good for five minutes."""

from datetime import datetime, timedelta
from typing import Any

from sshaft.errors import ConfigurationError
from sshaft_identity.app_state import AppState
from sshaft_identity.challenge import Challenge
from sshaft_identity.signing_keys import Algorithm

LIFETIME = timedelta(minutes=5)


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
