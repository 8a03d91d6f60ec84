"""Computes the new members of config.json. Members that nobody asked to change stay as they are."""

import shlex
from collections.abc import Mapping
from typing import Any

from sshaft_setup.present import Members

_SECRETS = ("client_secret", "client_secret_file", "private_key_file")
_PEOPLE = ("groups", "users", "everyone")


def has_secret(members: Members) -> bool:
    """Whether a client has a secret or a key, here or in a file."""
    return any(name in members for name in _SECRETS)


def with_factor(config: Members, factor: Members, login_path: str) -> dict[str, Any]:
    """Returns config.json with these members of the SSH factor. A new secret takes the place of the old one."""
    kept = {name: value for name, value in config.items() if not (name in _SECRETS and has_secret(factor))}
    return {**kept, **factor, "login_path": config.get("login_path", login_path)}


def with_host_login(config: Members, wishes: Mapping[str, str], secret_file: str | None) -> dict[str, Any]:
    """Returns config.json with the changed answers in `host_login`. `secret_file` None: the secret stays as it is."""
    before = config.get("host_login", {})
    after = dict(before) | {name: wishes[name] for name in ("issuer", "client_id") if name in wishes}
    if secret_file is not None:
        after = {name: value for name, value in after.items() if name not in _SECRETS}
        after["client_secret_file"] = secret_file
    if "allow" in wishes:
        after["allow"] = _allow(before.get("allow", {}), wishes["allow"])
    if wishes.get("create") == "yes":
        after.setdefault("create", {})
    elif wishes.get("create") == "no":
        after.pop("create", None)
    return {**config, "host_login": after} if after != before else dict(config)


def _allow(before: Members, people: str) -> dict[str, Any]:
    """Returns `allow` with other people. Its other conditions stay."""
    after = {name: value for name, value in before.items() if name not in _PEOPLE}
    words = [word.partition(":") for word in shlex.split(people)]
    named = {kind: [name for each, _, name in words if each == kind] for kind in ("group", "user")}
    chosen = {"everyone": True} if people == "everyone" else {"groups": named["group"], "users": named["user"]}
    return {name: value for name, value in chosen.items() if value} | after


def without_secrets(value: Any) -> Any:
    """Returns a value of config.json as it may be shown: no secret can be read."""
    if isinstance(value, Mapping):
        return {
            name: "(not shown)" if name == "client_secret" else without_secrets(each) for name, each in value.items()
        }
    return [without_secrets(each) for each in value] if isinstance(value, list | tuple) else value
