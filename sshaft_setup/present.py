"""Reads what the host has: config.json, identity.json and the sshd_config of the separate sshd."""

import os
import re
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sshaft.addresses import bracketed
from sshaft.config import parse_object, read_file
from sshaft.errors import ConfigurationError
from sshaft_setup.places import Places
from sshaft_setup.roles import Role

Members = Mapping[str, Any]
_PORT = re.compile(r"^Port[ \t]+(\d+)[ \t]*$", re.MULTILINE)
FACTOR = (
    "token_endpoint",
    "mfa_list_endpoint",
    "mfa_accept_endpoint",
    "mfa_reject_endpoint",
    "client_id",
    "token_scope",
)
"""The members of the SSH factor that the operator answers."""


@dataclass(frozen=True)
class Present:
    """The members of both files, empty where there is none, and the sshd_config. None: there is none."""

    config: Members
    identity: Members
    sshd_config: str | None
    has_accounts: bool
    """Whether accounts.json is there."""

    @property
    def host_login(self) -> dict[str, Any]:
        return dict(self.config.get("host_login", {}))

    def answers(self, role: Role) -> dict[str, str]:
        """Returns the answers to the questions of the role that the host has already."""
        found = _of_host_login(self.host_login) if role == Role.HOST_LOGIN else {}
        if role == Role.FACTOR:
            found |= {name: str(self.config[name]) for name in FACTOR if name in self.config}
        if role.has_identity:
            found |= self.of_identity
        if role.has_factor and self.sshd_config is not None:
            found["sshd"] = "separate"
            found |= {"ssh_port": self.separate_port} if self.separate_port else {}
        elif role.has_factor and "token_endpoint" in self.config:
            found["sshd"] = "existing"
        return found

    @property
    def of_identity(self) -> dict[str, str]:
        """Returns the answers that identity.json has."""
        return _of_identity(self.identity)

    @property
    def separate_port(self) -> str:
        """Returns the port of the separate sshd, or an empty text."""
        port = _PORT.search(self.sshd_config or "")
        return port[1] if port else ""


def read(places: Places) -> Present:
    """Returns what the host has. Raises `ConfigurationError` for a file that is no JSON object."""
    config: dict[str, Any] = {}
    if places.config.exists():
        text, _status = read_file(places.config)
        config = parse_object(places.config, text)
    host_login = config.get("host_login", {})
    if not isinstance(host_login, dict):
        raise ConfigurationError(f"{places.config}: host_login names another file: change that file by hand")
    if not isinstance(host_login.get("allow", {}), dict):
        raise ConfigurationError(f"{places.config}: host_login.allow is not a JSON object; correct it first")
    sshd_config = places.sshd_config.read_text(errors="replace") if places.sshd_config.exists() else None
    return Present(config, _identity(places), sshd_config, places.accounts.exists())


def with_port(sshd_config: str, port: str) -> str:
    """Returns the sshd_config with another port. Every other line stays as it is."""
    changed, count = _PORT.subn(f"Port {port}", sshd_config, count=1)
    return changed if count else f"Port {port}\n{sshd_config}"


def _identity(places: Places) -> dict[str, Any]:
    """Returns the members of identity.json, read by the owner of its folder, who may have put a link there."""
    path = places.identity_settings
    if not places.identity.is_dir() or not path.is_file():
        return {}
    owner = places.identity.stat()
    if os.geteuid() == 0:
        rights: dict[str, Any] = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
    else:
        rights = {}
    done = subprocess.run(["/bin/cat", str(path)], capture_output=True, check=False, **rights)
    if done.returncode != 0:
        raise ConfigurationError(f"{path}: {done.stderr.decode(errors='replace').strip()}")
    return parse_object(path, done.stdout.decode(errors="replace"))


def _of_identity(members: Members) -> dict[str, str]:
    found = {name: str(members[name]) for name in ("public_url", "ssh_host", "ssh_port") if members.get(name)}
    if members:
        found["listen"] = f"{bracketed(str(members.get('host', '127.0.0.1')))}:{members.get('port', 8080)}"
        found["database"] = str(members.get("database") or "")
    return found


def _of_host_login(members: Members) -> dict[str, str]:
    found = {name: str(members[name]) for name in ("issuer", "client_id") if name in members}
    allow = members.get("allow", {})
    people = [f"{kind}:{name}" for kind in ("group", "user") for name in _list(allow.get(f"{kind}s"))]
    if people or allow.get("everyone"):
        found["allow"] = shlex.join(people) or "everyone"
    if members:
        found["create"] = "yes" if "create" in members else "no"
    return found


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
