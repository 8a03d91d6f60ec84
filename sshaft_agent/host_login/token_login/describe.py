"""Describes the host to clients: which tokens it takes, and whose."""

from typing import Any

from sshaft_agent.host_login.settings import HostSettings
from sshaft_agent.host_login.token_login.settings import TokenProvider

_ONE_BY_ONE = "Users are authorised on an individual basis. Please contact a service administrator to request access."


def info(settings: HostSettings) -> dict[str, Any]:
    """Returns what everybody may know."""
    return {"login_info": settings.login_info, "providers": [_advertised(each) for each in settings.token_providers]}


def _advertised(settings: TokenProvider) -> dict[str, Any]:
    """Returns what programs ask the provider for. mccli compares it with the token, so it must be what tokens have."""
    advertise, audience = settings.advertise, settings.audience or ()
    return {
        "issuer": settings.issuer,
        "scopes": settings.scopes if advertise.scopes is None else advertise.scopes,
        "audience": (audience[0] if len(audience) == 1 else "") if advertise.audience is None else advertise.audience,
    }


def authorisation(settings: TokenProvider) -> dict[str, Any]:
    """Returns what anybody with a token of this provider may know: who may log in, as motley_cue says it."""
    allow, audience = settings.allow, settings.audience or ()
    vos, match = (allow.entitlements, allow.entitlement_match) if allow.entitlements else (allow.groups, "one")
    kind, text = "individual users", _ONE_BY_ONE
    if allow.everyone:
        kind, text = "all users", "All users from this OP are authorised."
    elif vos is not None:
        kind, text = "VO-based", f"Users who are in {match} of the supported VOs are authorised"
    return {
        "issuer": settings.issuer, "type": kind, "info": text, "vos": vos or (),
        "audience": audience[0] if len(audience) == 1 else audience or "",
    }  # fmt: skip
