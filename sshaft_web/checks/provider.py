"""Examines the OpenID Provider: its metadata, this client, and the addresses that are registered there."""

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from urllib.parse import parse_qs, urlsplit

import requests

from sshaft.command_line.severity import Severity
from sshaft.deadline import Deadline
from sshaft.errors import RemoteServiceError
from sshaft.text import printable
from sshaft_oidc import code_flow
from sshaft_oidc.provider import Metadata, Provider, error_of
from sshaft_oidc.remote_keys import OpenIdError
from sshaft_web import back_channel
from sshaft_web.checks.findings import Finding
from sshaft_web.configuration import Settings
from sshaft_web.people.provider import OFFLINE, WebProvider

PART = "provider"
_SECONDS = 10.0
_NOBODY_SIGNED_IN = {"login_required", "interaction_required", "consent_required", "account_selection_required"}
"""Errors of OpenID Connect Core 1.0 §3.1.2.6. Only a provider that takes the request sends the browser back so."""
_found = partial(Finding, PART)


def examine(settings: Settings, provider: WebProvider) -> Iterator[Finding]:
    """Yields findings. It blocks while it asks the provider."""
    try:
        metadata = provider.client.metadata(Deadline.after(_SECONDS))
    except (OpenIdError, RemoteServiceError) as error:
        remedy = (
            "compare provider.issuer with the issuer in the provider's metadata, to the letter; see ca_file for TLS"
        )
        yield _found("metadata", Severity.ERROR, str(error), remedy)
        yield _addresses(settings, provider)
        return
    yield _found("metadata", Severity.OK, f"{metadata.issuer} answers")
    yield from _metadata(metadata)
    yield _client(provider.client, metadata, provider.redirect_uri)
    yield _addresses(settings, provider)
    if metadata.authorization_endpoint is not None:
        yield _sign_in(provider)


def _metadata(metadata: Metadata) -> Iterator[Finding]:
    if metadata.authorization_endpoint is None:
        yield _found("code flow", Severity.ERROR, "the metadata name no authorization_endpoint: nobody can sign in",
                     "use another provider, or enable the code flow there")  # fmt: skip
    if "S256" not in (metadata.code_challenge_methods_supported or []):
        yield _found("PKCE", Severity.WARNING, "the metadata do not name PKCE with S256; it is sent in any case",
                     "enable PKCE for this client")  # fmt: skip
    else:
        yield _found("PKCE", Severity.OK, "S256")
    if OFFLINE in (metadata.scopes_supported or []):
        yield _found("renewal", Severity.OK, f"the provider offers {OFFLINE}")
    else:
        yield _found("renewal", Severity.NOTE, f"the metadata do not name {OFFLINE}: if no refresh token comes back, "
                     "people sign in anew when the access token ends")  # fmt: skip
    if metadata.revocation_endpoint is None:
        yield _found("revocation", Severity.NOTE, "the metadata name no revocation_endpoint: a sign-out leaves the "
                     "tokens valid until they expire")  # fmt: skip
    else:
        yield _found("revocation", Severity.OK, "a sign-out ends the tokens")


def _client(client: Provider, metadata: Metadata, redirect_uri: str) -> Finding:
    """Sends a code that nobody has given out. A provider that names the code as the fault has taken the client."""
    code, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(48)
    try:
        answer = code_flow.ask_for_tokens(client, code, redirect_uri, verifier, Deadline.after(_SECONDS))
        error = error_of(answer)
    except (OpenIdError, RemoteServiceError) as failure:
        return _found("client", Severity.WARNING, f"not tested: {failure}", f"look at {metadata.token_endpoint}")
    name = printable(client.credentials.client_id)
    if error == "invalid_grant":
        proof = "" if client.credentials.method == "none" else " and its proof"
        return _found("client", Severity.OK, f"the provider takes the client {name}{proof}")
    if error in {"invalid_client", "unauthorized_client"}:
        return _found("client", Severity.ERROR, f"the provider refuses the client {name}: {error}",
                      "compare client_id, the secret and token_endpoint_auth_method; allow the code flow")  # fmt: skip
    return _found("client", Severity.NOTE, f"not tested: the provider answers {error} to a code that nobody has")


def _addresses(settings: Settings, provider: WebProvider) -> Finding:
    logout = settings.public_url + back_channel.PATH
    return _found("addresses", Severity.NOTE, f"register the redirect address {provider.redirect_uri} and, for "
                  f"sign-outs at the provider, the back-channel logout address {logout}")  # fmt: skip


def _sign_in(provider: WebProvider) -> Finding:
    """Begins a sign-in of which no person may be asked (`prompt=none`), as a browser does.

    A provider sends the browser back only to a registered address.
    """
    found, settings, redirect_uri = partial(_found, "sign-in"), provider.settings, provider.redirect_uri
    attempt, wishes = code_flow.new_attempt(datetime.now(UTC)), {"prompt": "none", **provider.audience}
    try:
        status, goal = _status_and_location(provider.flow.authorization_url(attempt, wishes), settings.ca_file)
    except (OpenIdError, RemoteServiceError, requests.RequestException) as error:
        return found(Severity.WARNING, f"not tested: the page of the provider gives no answer ({type(error).__name__})")
    if goal.startswith(f"{redirect_uri}?"):
        refusal = parse_qs(urlsplit(goal).query).get("error", ["login_required"])[0]
        if refusal in _NOBODY_SIGNED_IN:
            return found(Severity.OK, "the provider knows the redirect address")
        scopes = " ".join(settings.scopes)
        remedy = f"allow this client the scopes {scopes} and the audience of web.json"
        return found(Severity.ERROR, f"the provider refuses the request: {refusal}", remedy)
    if 400 <= status < 500:
        remedy = f"register the redirect address {redirect_uri} for this client"
        return found(Severity.ERROR, f"the provider refuses the request ({status})", remedy)
    return found(Severity.NOTE, "not tested: the provider shows a page of its own; sign in once by hand")


def _status_and_location(url: str, ca_file: str | None) -> tuple[int, str]:
    with requests.Session() as session:
        session.trust_env = False  # as in all our requests: neither a proxy nor a password comes from the environment
        answer = session.get(url, allow_redirects=False, stream=True, timeout=_SECONDS, verify=ca_file or True)
        return answer.status_code, answer.headers.get("Location", "")
