"""Decides from the answers which steps a set-up has. Without a change there is no step."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sshaft.config import read_object
from sshaft_setup import asking, changes, present, programs, steps
from sshaft_setup.places import Places
from sshaft_setup.present import Members, Present
from sshaft_setup.questions import option_of
from sshaft_setup.roles import Role
from sshaft_setup.steps import InitIdentity, MakeHostKey, Step, WriteConfig, WriteFile

_INIT_OPTIONS = ("public_url", "listen", "database", "ssh_host", "ssh_port")
_ORDINARY_PORT = "22"


@dataclass(frozen=True)
class Wanted:
    """What the operator wants. `secret` None: it stays as it is."""

    role: Role
    answers: Mapping[str, str]
    secret: str | None = None


def steps_of(wanted: Wanted, found: Present, places: Places) -> list[Step]:
    """Returns the steps, in order. What may be refused comes first: then nothing else has changed."""
    current = found.answers(wanted.role)
    wishes = asking.changed(wanted.answers, current)
    planned: list[Step] = []
    if wanted.role.has_identity:
        planned += _identity(wanted.answers, found, places)
    if wanted.role.has_agent:
        planned += _config(wanted, wishes, found, places)
    if wanted.answers.get("create") == "yes" and not found.has_accounts:
        planned.append(WriteFile(places.accounts, b"{}\n", places.backups))
    if wanted.role.has_factor and wanted.answers["sshd"] == "separate":
        planned += _separate_sshd(wanted.answers["ssh_port"], found, places)
    if wanted.role == Role.LOCAL_FACTOR and not found.identity.get("ssh_host_keys"):
        planned += _host_key(wanted.answers["sshd"], places)
    return planned


def _identity(answers: Mapping[str, str], found: Present, places: Places) -> list[Step]:
    port = {"ssh_port": _ORDINARY_PORT} if answers.get("sshd") == "existing" else {}
    wishes = asking.changed({**answers, **port}, found.of_identity)
    options = [word for name in _INIT_OPTIONS if wishes.get(name) for word in (option_of(name), wishes[name])]
    if found.identity and not options:
        return []
    return [InitIdentity(places, tuple(options))]


def _host_key(sshd: str, places: Places) -> list[Step]:
    """Returns the step by which the pages tell people the host key. The key of the separate sshd is made before it."""
    if sshd == "existing" and not places.existing_host_key.exists():
        return []
    key = places.host_key if sshd == "separate" else places.existing_host_key
    return [InitIdentity(places, ("--ssh-host-key", f"{key}.pub"))]


def _separate_sshd(port: str, found: Present, places: Places) -> list[Step]:
    planned: list[Step] = [] if places.host_key.exists() else [MakeHostKey(places.host_key)]
    if found.sshd_config is None:
        new = programs.run("sshd-config", "--port", port, "--keys-command", places.keys_command)
    else:
        new = present.with_port(found.sshd_config, port) if port != found.separate_port else ""
    if new:
        planned.append(WriteFile(places.sshd_config, new.encode(), places.backups))
    return planned


def _config(wanted: Wanted, wishes: Mapping[str, str], found: Present, places: Places) -> list[Step]:
    if wanted.role == Role.LOCAL_FACTOR:
        if _is_of_this_service(found.config, wanted.answers["public_url"]):
            return []

        def with_client(folder: Path) -> Members:
            return changes.with_factor(found.config, steps.at_identity_on_this_host(places, folder), places.login_path)

        new = {"client_id": steps.CLIENT, "client_secret": "", "token_endpoint": wanted.answers["public_url"] + "/..."}
        shown = changes.with_factor(found.config, new, places.login_path)
        return [WriteConfig(places, found.config, with_client, shown)]
    if wanted.role == Role.FACTOR:
        after = changes.with_factor(found.config, _factor(wanted), places.login_path)
    else:
        secret_file = str(places.secret) if wanted.secret is not None else None
        after = changes.with_host_login(found.config, wishes, secret_file)
    if after == found.config and wanted.secret is None:
        return []
    secret = wanted.secret if wanted.role == Role.HOST_LOGIN else None
    return [WriteConfig(places, found.config, lambda _folder: after, after, secret)]


def _is_of_this_service(config: Members, public_url: str) -> bool:
    is_ours = config.get("client_id") == steps.CLIENT
    return is_ours and str(config.get("token_endpoint", "")).startswith(f"{public_url}/")


def _factor(wanted: Wanted) -> dict[str, Any]:
    """Returns the members of the SSH factor: those of the file that the operator named, or those of the answers."""
    if name := wanted.answers["factor_file"]:
        members = read_object(Path(name))
        return {name: value for name, value in members.items() if name not in ("login_path", "host_login")}
    members = {name: wanted.answers[name] for name in present.FACTOR if wanted.answers[name]}
    return members if wanted.secret is None else {**members, "client_secret": wanted.secret}
