"""Tells the formats of other modules apart by their members."""

import importlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from sshaft_agent.host_login.foreign import cpp, feudal, lines, motley_cue, python, rust
from sshaft_agent.host_login.foreign.members import Converted, MemberError

_SSH_OIDC = (
    "is the configuration of pam-ssh-oidc, which asks a server: convert the motley_cue.conf of that server, "
    "or let pam-ssh-oidc ask sshaft host-api"
)
_FEUDAL = "is the configuration of feudalAdapter: give motley_cue.conf first, and this file behind it"
_MOTLEY_CUE = re.compile(r"(?m)^\[(?:mapper|authorisation\.[^]]*)\]")
_FEUDAL_ADAPTER = re.compile(r"(?m)^\[(?:ldf_adapter|backend\.local_unix)\]")
Open = Callable[[str], dict[str, Any]]
"""Reads the JSON object in a file."""


def read_object(data: Mapping[str, Any], open_object: Open) -> Converted:
    """Returns what a JSON file means. Raises `MemberError`, and the errors of `open_object`."""
    if "oauth" in data:
        return cpp.read(data, open_object)
    if "oauth_device_url" in data or "oauth_token_url" in data:
        return rust.read(data)
    raise MemberError("is in no format that sshaft knows: it has no host_login, oauth or oauth_device_url")


def is_json(text: str) -> bool:
    """Whether the text can only be a JSON object."""
    return text.lstrip().startswith("{")


def refuse_other_than_json(text: str) -> None:
    """Raises `MemberError` for a format that must be converted first, or has no counterpart yet."""
    _refuse_token_login(text)
    if not is_json(text):
        raise MemberError("is no JSON object; `sshaft host convert` reads other formats")


def read_text(text: str, accounts: str | None = None) -> Converted:
    """Returns what a file means that is not JSON. `accounts`: feudal_adapter.conf. Raises `MemberError`."""
    _refuse_token_login(text)
    if _MOTLEY_CUE.search(text):
        return _read_motley_cue(text, accounts)
    if accounts is not None:
        raise MemberError("is not motley_cue.conf: only that has feudal_adapter.conf behind it")
    if _FEUDAL_ADAPTER.search(text):
        raise MemberError(_FEUDAL)
    if re.search(r"(?m)^oauth:", text):
        return python.read(_yaml(text))
    return lines.read(lines.pairs(text))


def _read_motley_cue(text: str, accounts: str | None) -> Converted:
    found = motley_cue.read(text)
    if accounts is not None:
        return feudal.add(found, accounts)
    if any("assurance" in each for each in found.members["tokens"]):
        raise MemberError("assurance_based_shell_* chooses shells: give feudal_adapter.conf behind it, which has them")
    return found


def _refuse_token_login(text: str) -> None:
    if not is_json(text) and "[user_verification]" in text:
        raise MemberError(_SSH_OIDC)


def _yaml(text: str) -> dict[str, Any]:
    try:
        yaml = importlib.import_module("yaml")  # only this command needs it
    except ModuleNotFoundError:
        raise MemberError("is YAML: apt install python3-yaml, or pip install pyyaml, and try again") from None
    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f": line {mark.line + 1}" if mark else ""
        raise MemberError(f"is no valid YAML{where}") from None
    if not isinstance(data, dict):
        raise MemberError("is no YAML mapping")
    try:
        return dict(json.loads(json.dumps(data)))  # names may be numbers, and a list may hold itself
    except (TypeError, ValueError, RecursionError):
        raise MemberError("is YAML with other values than texts, numbers, lists and mappings") from None
