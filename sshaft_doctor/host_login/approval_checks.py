"""Asks the identity service of `host_login.approval` as the agent does: its name, and an access token for approvals."""

import json
from typing import Any

from pydantic import TypeAdapter, ValidationError

from sshaft.config import Url
from sshaft.deadline import Deadline
from sshaft.errors import IDENTITY, SshaftError
from sshaft.http_client import HttpClient
from sshaft.oauth.authorized_client import AuthorizedClient
from sshaft.oauth.client_authentication import ClientCredentials
from sshaft.text import printable
from sshaft_doctor.findings import Finding, error, note, ok
from sshaft_oidc.settings import ClientSettings

_CHECK = "host.approval"
_SCOPE = "approvals"
_SECONDS = 10.0
_URL = TypeAdapter(Url)


def examine(host_login: dict[str, Any], where: str) -> list[Finding]:
    """Returns findings about approvals. The agent itself refuses a wrong configuration."""
    approval = host_login.get("approval")
    if not isinstance(approval, dict):
        return []
    check = f"sshaft agent check --config {where}"
    try:
        url = _URL.validate_python(approval.get("url")).rstrip("/")
        members = {name: approval[name] for name in ClientSettings.model_fields if name in approval}
        settings = ClientSettings.model_validate_json(json.dumps(members | {"issuer": url}))
    except (ValidationError, TypeError):
        return [error(_CHECK, "host_login.approval has no usable url and client_id", where, check)]
    try:
        http = settings.http_client(IDENTITY)
        found = _ask(settings, approval.get("client_secret"), http, where)
    except SshaftError as failure:
        return [error(_CHECK, str(failure), where, check)]
    return [*found, *_fallback(host_login, where)]


def _ask(settings: ClientSettings, secret: object, http: HttpClient, where: str) -> list[Finding]:
    url = f"{settings.issuer}/.well-known/openid-configuration"
    credentials = settings.credentials()
    if isinstance(secret, str):
        credentials = ClientCredentials(settings.client_id, settings.token_endpoint_auth_method, secret)
    client = AuthorizedClient(http, credentials, f"{settings.issuer}/oauth2/token", _SCOPE)
    try:
        name = _issuer_of(http.send("GET", url, Deadline.after(_SECONDS)).body)
        if name != settings.issuer:
            what = f"the identity service calls itself {printable(name)}: every approval is refused"
            return [error(_CHECK, what, url, f"write url in approval of {where} as the service names itself")]
        client.access_tokens.get(Deadline.after(_SECONDS))
    except SshaftError as failure:
        remedy = f"check url, client_id and the secret in {where}; the client needs the scope {_SCOPE}"
        return [error(_CHECK, str(failure), url, remedy)]
    finally:
        client.close()
    return [ok(_CHECK, "the identity service lets this host ask for approvals", settings.issuer)]


def _issuer_of(body: bytes) -> str:
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    issuer = found.get("issuer") if isinstance(found, dict) else None
    return issuer if isinstance(issuer, str) else "nothing"


def _fallback(host_login: dict[str, Any], where: str) -> list[Finding]:
    """Tells that whoever keeps the host from its identity service chooses the method."""
    methods = host_login.get("methods")
    has_device = "issuer" in host_login and (not isinstance(methods, list) or "device" in methods)
    if host_login.get("when_away") != "next" or not has_device:
        return []
    what = "when_away is next: while the identity service cannot be reached, people log in by the device grant"
    return [note("host.when_away", what, where, '"when_away": "deny", if only approvals may let people in')]
