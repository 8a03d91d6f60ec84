"""Examines whether checks of people without a login (`host_login.recheck`) can be made, and have an effect on keys."""

from typing import Any

from sshaft_doctor.findings import Finding, warning
from sshaft_doctor.host_login import stack_checks
from sshaft_doctor.host_login.pam_stack import Stack

_CHECK = "host.recheck"


def examine_stack(stack: Stack) -> list[Finding]:
    """Checks that sshd asks the agent also after a key."""
    if stack_checks.ours(stack, "account") or not stack.files:
        return []
    what = "recheck is set, and the stack has no account line of pam_sshaft.so: keys of people who leave stay usable"
    return [warning(_CHECK, what, str(stack.files[0]), "sshaft host enable --require-approval, and its other options")]


def examine_metadata(recheck: Any, metadata: dict[str, Any], url: str) -> list[Finding]:
    """Checks what the metadata says of refresh tokens. What it does not mention is not judged."""
    found = []
    if "refresh_token" not in _listed(metadata, "grant_types_supported", "refresh_token"):
        what = "recheck is set, and the provider does not list the grant refresh_token"
        found.append(warning(_CHECK, what, url, "allow refresh tokens at the provider, or take recheck out"))
    is_asked = isinstance(recheck, dict) and recheck.get("offline_access", True)
    if is_asked and "offline_access" not in _listed(metadata, "scopes_supported", "offline_access"):
        what = "recheck asks for the scope offline_access, and the provider does not list it"
        right = 'allow the scope at the provider, or write "offline_access": false in recheck'
        found.append(warning(_CHECK, what, url, right))
    return found


def _listed(metadata: dict[str, Any], member: str, otherwise: str) -> list[Any]:
    listed = metadata.get(member)
    return listed if isinstance(listed, list) else [otherwise]
