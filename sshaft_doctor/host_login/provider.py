"""Asks the OpenID Provider of host login for its metadata: whether it answers, and whether the clocks agree."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from sshaft.config import Url, read_object
from sshaft.deadline import Deadline
from sshaft.errors import ConfigurationError, SshaftError
from sshaft.http_client import HttpClient
from sshaft_doctor import service
from sshaft_doctor.findings import Finding, error, note, ok, warning
from sshaft_doctor.host_login import approval_checks, recheck_checks, remember_checks

_SECONDS = 10.0
_MAX_ANSWER = 256 * 1024
_STATE, _KEY = "/var/lib/sshaft-agent", "/var/lib/sshaft-agent-key/refresh-tokens.key"
_ISSUER = TypeAdapter(Url)
_NEEDED = "device_authorization_endpoint", "device login", "allow the device grant (RFC 8628) at the provider"
_OTHER_FORM = "choose another form in host_login.tokens"
_NEEDED_OF_FORM = {
    "jwt": ("jwks_uri", "keys", _OTHER_FORM),
    "introspection": ("introspection_endpoint", "introspection", _OTHER_FORM),
    "userinfo": ("userinfo_endpoint", "UserInfo", _OTHER_FORM),
}
"""The endpoint, what it is for, and what to do without it."""


def read_and_ask(config: Path) -> dict[str, Any]:
    """Returns a JSON object about config.json.

    `is_there`: whether the file has `host_login`; `create`: that member, with `roles` and the shells of `assurance`;
    `is_rechecked`: whether it has `recheck`; `remember`: that of `remember_checks.mode`; `reports`: whether the agent
    reports sessions to an identity service; `issuers`: those of `tokens`; `private`: files and folders that only the
    agent may read; `findings`.
    """
    try:
        settings = read_object(config).get("host_login")
    except ConfigurationError:
        return {"is_there": False, "findings": []}
    if settings is None:
        return {"is_there": False, "findings": []}
    members = settings if isinstance(settings, dict) else {}
    create = members.get("create")
    if isinstance(create, dict):
        create |= {"roles": members.get("roles", []), "assurance": _shells(members)}
    found = [each.as_json() for each in examine(settings, str(config))]
    return {
        "is_there": True,
        "findings": found,
        "create": create,
        "is_rechecked": members.get("recheck") is not None,
        "remember": remember_checks.mode(members),
        "reports": isinstance(members.get("approval"), dict),
        "issuers": [str(each.get("issuer")) for each in _objects(members.get("tokens"))],
        "private": _private(settings) if isinstance(settings, dict) else [],
    }


def _private(settings: dict[str, Any]) -> list[str]:
    """Returns the folder with the agent's database, and the file with the key of the refresh tokens."""
    recheck = settings.get("recheck")
    named = (
        settings.get("state_directory", _STATE),
        recheck.get("key_file", _KEY) if isinstance(recheck, dict) else None,
    )
    return [each for each in named if isinstance(each, str)]


def _shells(settings: dict[str, Any]) -> list[Any]:
    """Returns the shells that `assurance` of each provider chooses from."""
    rules = [each.get("assurance") for each in (settings, *_objects(settings.get("tokens")))]
    found = [
        shell
        for rule in _objects(rules)
        for shell in (rule.get("otherwise"), *(each.get("shell") for each in _objects(rule.get("shells"))))
    ]
    return [each for each in found if each is not None]


def _objects(found: Any) -> list[dict[str, Any]]:
    """Returns the objects of a list. Another value has none."""
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def examine(settings: Any, where: str) -> list[Finding]:
    """Returns findings about the providers. `sshaft agent check` and the agent refuse a wrong configuration."""
    if isinstance(settings, str):
        what = f"not checked: host_login names a file of another module, {settings}"
        return [note("host.provider", what, where)]
    entries = _objects(settings.get("tokens")) if isinstance(settings, dict) else []
    others = entries or (isinstance(settings, dict) and settings.get("approval"))
    found = [] if others and "issuer" not in settings else _examine_one(settings, where, _NEEDED)
    for each in entries:
        found += _examine_one(each, where, _NEEDED_OF_FORM.get(each.get("form", "jwt"), _NEEDED_OF_FORM["jwt"]))
    return found + (approval_checks.examine(settings, where) if isinstance(settings, dict) else [])


def _examine_one(settings: Any, where: str, needed: tuple[str, str, str]) -> list[Finding]:
    """Returns findings about one provider. `needed` is the endpoint that its metadata must have."""
    try:
        issuer = _ISSUER.validate_python(settings.get("issuer"))
        ca_file = settings.get("ca_file")
        http = HttpClient(ca_file=Path(ca_file) if ca_file else None, max_answer=_MAX_ANSWER, peer="provider")
    except (AttributeError, TypeError, ValidationError):
        return [error("host.provider", "host_login names no issuer", where, f"sshaft agent check --config {where}")]
    url = issuer.rstrip("/") + "/.well-known/openid-configuration"
    try:
        answer = http.send("GET", url, Deadline.after(_SECONDS))
    except SshaftError as failure:
        remedy = f"check issuer and ca_file in {where}, the name service and the network of this host"
        return [error("host.provider", str(failure), url, remedy)]
    finally:
        http.close()
    why = "an ID token counts only at its time, so logins may be refused"
    found = service.clock(
        answer.headers.get("Date"), datetime.now(UTC), url, check="host.clock", whose="the provider's", why=why
    )
    if "endpoints" not in settings:
        found += _metadata(answer.status, answer.body, settings, url, needed)
    return found or [ok("host.provider", "the provider answers", url)]


def _metadata(
    status: int, body: bytes, settings: dict[str, Any], url: str, needed: tuple[str, str, str]
) -> list[Finding]:
    """Checks what the agent takes from the metadata (OpenID Connect Discovery 1.0 section 3, RFC 8628 section 4)."""
    endpoint, what_for, remedy = needed
    try:
        metadata = json.loads(body) if status == 200 else None
    except ValueError:
        metadata = None
    if not isinstance(metadata, dict):
        what = f"the provider publishes no metadata there (status {status})"
        return [error("host.provider", what, url, "correct issuer, or name its endpoints in host_login")]
    if metadata.get("issuer") != settings["issuer"]:
        what = f"the metadata names another issuer: {str(metadata.get('issuer'))[:200]}"
        return [warning("host.provider", what, url, "write issuer as the metadata does, to the letter")]
    if not metadata.get(endpoint):
        what = f"the provider offers no {what_for} ({endpoint} is not in its metadata)"
        return [error("host.provider", what, url, remedy)]
    recheck = settings.get("recheck")
    return [] if recheck is None else recheck_checks.examine_metadata(recheck, metadata, url)
