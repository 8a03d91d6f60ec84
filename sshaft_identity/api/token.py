"""Serves `POST /oauth2/token`: authenticates the client and lets its grant answer (RFC 6749 §3.2)."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse, Response

from sshaft_identity.clients.clients import Client
from sshaft_identity.web.call import Call, Work
from sshaft_identity.web.oauth import Grant, OAuthError, answers_errors, client_of, form_of, issue_token


def token_endpoint(grants: Mapping[str, Grant]) -> Work:
    """Returns the endpoint. `grants`: by their `grant_type`."""

    @answers_errors
    def token(call: Call) -> Response:
        form = form_of(call)
        client = client_of(call, form)
        kind = form.get("grant_type", "")
        if kind not in grants:
            error = "unsupported_grant_type" if kind else "invalid_request"
            raise OAuthError(error, f"grant_type must be one of {', '.join(grants)}")
        return JSONResponse(grants[kind](call, client, form), headers={"Pragma": "no-cache"})

    return token


def client_credentials(call: Call, client: Client, form: Mapping[str, str]) -> dict[str, Any]:
    """Answers the grant of RFC 6749 §4.4, which every agent and every application uses first."""
    scopes = frozenset(form.get("scope", "").split()) or client.scopes
    if not scopes <= client.scopes:
        raise OAuthError("invalid_scope", "the client is not registered for this scope")
    return issue_token(call, client, scopes)
