"""Checks which accounts can read or change config.json and the secret files that it names."""

import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from sshaft import config, files
from sshaft.config import Config
from sshaft.errors import ConfigurationError
from sshaft_doctor import paths
from sshaft_doctor.accounts import Account
from sshaft_doctor.findings import Finding, error, needs_root, note

PLACES = (Path("/etc/sshaft/config.json"), Path("/sshaft/config.json"))
_SECRETS = ("client_secret_file", "private_key_file", "client_certificate_key_file")


@dataclass(frozen=True)
class Readers:
    """The accounts of this host. In stand-alone mode (`agent` is None) the other two read the configuration."""

    agent: Account | None
    keys: Account | None = None
    login: Account | None = None


def find(named: Path | None, of_command: str | None) -> Path | None:
    """Returns the operator's file, the file that the keys command names, or the first one at the usual places."""
    if named is not None or of_command:
        return named or Path(of_command or "")
    return next((place for place in PLACES if os.path.lexists(place)), None)


def load(path: Path | None) -> tuple[Config | None, list[Finding]]:
    """Returns the configuration, or None and the reason."""
    if path is None:
        what = "not checked: no config.json at " + " or ".join(map(str, PLACES))
        return None, [note("service.config", what, "", "name it: sshaft doctor --config FILE")]
    if not os.access(path, os.R_OK) and _is_there(path):
        return None, [needs_root("service.config", f"what is in {path}")]
    try:
        return config.load(path), []
    except ConfigurationError as failure:
        return None, [error("service.config", str(failure), str(path), "correct the file as it says")]


def _is_there(path: Path) -> bool:
    try:
        path.lstat()
    except PermissionError:
        return True  # it may be in a folder that this process cannot enter
    except OSError:
        return False
    return True


def examine(path: Path, readers: Readers) -> list[Finding]:
    """Checks that only the agent's account can read the configuration and each secret file."""
    trusted = {0} | ({readers.agent.uid} if readers.agent else {-1})
    found = []
    for file in dict.fromkeys([path, *named(path)]):
        # the account of the keys command may own its file where it reads it itself
        own = trusted if readers.agent else {0, *(a.uid for a in (readers.keys, readers.login) if a)}
        found += paths.examine("path.config", file, own)
        found += _readers(file, readers)
    return found


def named(path: Path) -> list[Path]:
    """Returns the secret files that a configuration names, even if `config.load` refuses the configuration."""
    try:
        data = json.loads(files.read_text(path))
    except (OSError, ValueError):
        return []
    host_login = data.get("host_login") if isinstance(data, dict) else None
    members = host_login if isinstance(host_login, dict) else {}
    tokens = members.get("tokens")
    parts = [data, members, members.get("approval"), *(tokens if isinstance(tokens, list) else [])]
    return [
        Path(part[name])
        for part in parts
        if isinstance(part, dict)
        for name in _SECRETS
        if isinstance(part.get(name), str)
    ]


def _readers(file: Path, readers: Readers) -> list[Finding]:
    try:
        found = paths.walk(file)[-1]
    except OSError:
        return []  # `paths.examine` has reported it
    where, mode = str(file), f"mode {stat.S_IMODE(found.mode):04o}"
    if found.mode & 0o007:
        return [error("path.secret", f"{file} is open to everybody ({mode})", where, f"chmod o= {file}")]
    if readers.agent is None:
        accounts = [account for account in (readers.keys, readers.login) if account]
        return [f for a in accounts for f in paths.reach("path.config", file, a, 4, f"chgrp and chmod g+r {file}")]
    remedy = f"chown {readers.agent.name} {file} && chmod 0400 {file}"
    for account in (readers.keys, readers.login):
        if account and account.uid not in (0, readers.agent.uid) and found.lets(account, 4):
            return [error("path.secret", f"{account.name} can read {file} ({mode})", where, remedy)]
    return paths.reach("path.config", file, readers.agent, 4, remedy)
