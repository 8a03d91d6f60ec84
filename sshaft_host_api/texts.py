"""The texts of the contract. Clients compare some of them, and read the user name out of one."""

from typing import TypedDict
from urllib.parse import quote

from sshaft_host_api.answers import Account, Change


class Description(TypedDict):
    """What /, /user and /admin say about themselves."""

    description: str
    usage: str
    endpoints: dict[str, str]


DESCRIPTION = "This is the user API for mapping remote identities to local identities."
"""mccli takes a service only with exactly this text."""

ROOT: Description = {
    "description": DESCRIPTION,
    "usage": "All endpoints are available via a bearer token.",
    "endpoints": {
        "/info": "Service-specific information.",
        "/info/authorisation": (
            "Authorisation information for specific OP; requires valid access token from a supported OP."
        ),
        "/info/op": (
            "Information about a specific OP specified via a query parameter 'url'; does not require an access token."
        ),
        "/user": "User API; requires valid access token of an authorised user.",
        "/admin": "Admin API; requires valid access token of an authorised user with admin role.",
        "/verify_user": "Verifies if a given token belongs to a given local account via 'username'.",
    },
}
USER: Description = {
    "description": DESCRIPTION,
    "usage": "All endpoints are available using an OIDC Access Token as a bearer token.",
    "endpoints": {
        "/user/get_status": "Get information about your local account.",
        "/user/status": "Get local account status including resolved sub, iss and username.",
        "/user/deploy": "Provision local account.",
        "/user/suspend": "Suspend local account.",
        "/user/generate_otp": "Generates a one-time token for given access token.",
    },
}
ADMIN: Description = {
    "description": "This is the admin API for mapping remote identities to local identities.",
    "usage": (
        "All endpoints are available using an OIDC Access Token as a bearer token and need subject and issuer of "
        "account to be modified, via 'sub' and 'iss' variables."
    ),
    "endpoints": {
        "/admin/suspend": "Suspends a local account.",
        "/admin/resume": "Restores a suspended local account.",
    },
}
_STATUS = {
    "not_deployed": "No message",
    "pending": "User deployment is pending approval.",
    "rejected": "User deployment was rejected.",
    "unknown": "The state of the account is not known.",
}
_REQUESTS = {
    "new": "Request for deployment was submitted for approval.",
    "updated": "Updated request for deployment was submitted for approval.",
    "unchanged": "Request for deployment was already submitted for approval. No new request was sent.",
}


def status(account: Account) -> str:
    """Returns the message of /user/get_status. The name of an account stands in it as its second word."""
    return _STATUS.get(account.state) or f"username {account.name}"


def deployed(account: Account) -> str:
    """Returns the message of /user/deploy."""
    match account.state:
        case "deployed":
            return _changes(account.change)
        case "pending":
            return _REQUESTS[account.change.request]
        case "rejected":
            return "User deployment was rejected. No new deployment request will be sent."
    return status(account)


def _changes(change: Change) -> str:
    added = f" and was added to groups {','.join(change.added)}" if change.added else ""
    removed = f" and was removed from groups {','.join(change.removed)}" if change.removed else ""
    return f"User {'was created' if change.created else 'already existed'}{added}{removed}."


def suspended(account: Account) -> str:
    return _set(account, "suspended", "Suspending")


def resumed(account: Account) -> str:
    return _set(account, "resumed", "Resuming")


def _set(account: Account, done: str, doing: str) -> str:
    user = f"'{quote(account.subject, safe='')}@{quote(account.issuer, safe='')}'"
    if account.change.done:
        return f"User {user} was {done}."
    return f"{doing} user {user} was not possible from the '{account.state}' state. User was not changed."
