"""Checks what first logins need of this host, and asks for a name that the host does not know as sshd would."""

import ctypes
import json
import pwd
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import click

from sshaft import agent_socket
from sshaft.deadline import Deadline
from sshaft.errors import ConfigurationError
from sshaft.text import printable
from sshaft_agent.host_login.first_login import accounts_client

_NAMES = Path("/run/sshaft/host/names.sock")
"""libnss_sshaft asks there, and nowhere else."""
_MODULE = "libnss_sshaft.so.2"
_SECONDS = 10
_SOCKET = Path("/run/sshaft-accounts.sock")
"""sshaft-accounts listens there by default."""
_SET_UP = "Set it up first: systemctl enable --now sshaft-accounts.socket; echo '{}' >/etc/sshaft/accounts.json"
_LET_AGENT_ASK = "name the agent's account by SocketGroup of sshaft-accounts.socket, and by `agent` in accounts.json"
_INSTALL = "make -C native install-nss"
_NO_UID = """\
this host has no such account, and the agent reserves no uid for it, so sshd turns the name away:
         - host_login has no create, or its names does not fit, or
         - the stack has no account line yet: sshaft host enable --require-approval, or
         - a group has this name, or a limit is reached: journalctl -u sshaft-agent -g host_name"""


@dataclass(frozen=True)
class Create:
    """The members of `host_login.create` that concern sshd and PAM.

    `silence` says why sshaft-accounts gives the agent no answer.
    """

    pam_file: Path
    reservation_seconds: int
    socket: Path
    silence: str

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Self:
        """Returns what the agent has said."""
        pam_file, socket = Path(answer["pam_file"]), Path(answer["socket"])
        return cls(pam_file, int(answer["reservation_seconds"]), socket, str(answer["silence"]))


def refuse(create: Create, pam: Path, *, require_approval: bool) -> None:
    """Raises `ConfigurationError` if the agent could reserve no uid, or could make no account."""
    if not require_approval:
        raise ConfigurationError(
            "host_login.create needs --require-approval: without the account line, a key or a certificate would open "
            "a name that nobody was approved for. With the line, keys open no account before somebody was approved "
            "for it; name the accounts of services by --break-glass"
        )
    if create.pam_file.resolve() != pam.resolve():
        raise ConfigurationError(f"host_login.create.pam_file is {create.pam_file}, and sshd uses {pam}")
    _refuse_module()
    _refuse_names()
    if create.silence:
        raise ConfigurationError(_why_silent(create))


def _why_silent(create: Create) -> str:
    """Returns what to do about a silent sshaft-accounts. Root asks it too, but only at the usual path.

    An agent in the wrong hands could name a path where root's question does harm.
    """
    if create.socket != _SOCKET:
        return f"{create.silence}. {_SET_UP}; {_LET_AGENT_ASK}"
    if silence := accounts_client.silence(create.socket, Deadline.after(_SECONDS)):
        return f"{silence}. {_SET_UP}"
    return f"{create.silence}. Root gets an answer, and the agent gets none: {_LET_AGENT_ASK}"


def refuse_grace(create: Create, settings: Mapping[str, str]) -> None:
    """Raises `ConfigurationError` if a login may last longer than the uid that is reserved for it."""
    grace, reserved = int(settings.get("logingracetime", "0")), create.reservation_seconds
    if not 0 < grace < reserved:
        raise ConfigurationError(
            f"LoginGraceTime is {grace} s: it must not be 0, and less than host_login.create.reservation_seconds "
            f"({reserved}). Otherwise a login could last longer than the uid that is reserved for it"
        )


def accounts_that_stay() -> dict[str, bool] | None:
    """Returns the accounts of sshaft-accounts that the host has, and whether each is locked. None: nobody knows.

    It asks the program, which knows them also when the agent and the network are gone.
    """
    said = _said("sshaft_accounts", "--list")
    if said is None:
        return None
    lines = (line.split(" ") for line in said.splitlines())
    return {name: state == "locked" for name, uid, state in lines if _uid_of(name) == int(uid)}


def accounts_that_open(directory: Path) -> list[str]:
    """Returns the accounts that nobody but the agent refuses. A stopped or frozen agent names none."""
    said = _said("sshaft", "host", "accounts", "list", "--json", "--runtime-directory", str(directory))
    rows = json.loads(said or "[]")
    return sorted({row["account"] for row in rows if row.get("refusal") and (not row["is_managed"] or row["to_do"])})


def _said(*module: str) -> str | None:
    """Returns what one of our programs prints, or None if it fails or takes long."""
    command = [sys.executable, "-I", "-m", *module]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True)  # noqa: S603 - ours
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def _uid_of(name: str) -> int | None:
    """Returns the uid of an account of this host."""
    try:
        return pwd.getpwnam(name).pw_uid
    except (KeyError, ValueError):  # a NUL in the name
        return None


def _refuse_module() -> None:
    """Loads the module as libc does. Raises `ConfigurationError`, also if others than root can change the file."""
    try:
        ctypes.CDLL(_MODULE)
    except OSError as error:
        raise ConfigurationError(f"the NSS module cannot be loaded: {error}: {_INSTALL}") from None
    loaded = Path("/proc/self/maps").read_text(errors="replace")
    for path in sorted(set(re.findall(rf"/.*/{re.escape(_MODULE)}$", loaded, re.MULTILINE))):
        status = Path(path).stat()
        if status.st_uid != 0 or status.st_mode & 0o022:
            raise ConfigurationError(f"{path}: other accounts than root can change this file: {_INSTALL}")


def _refuse_names() -> None:
    """Asks the agent for the name that nobody has. Raises `ConfigurationError` without an answer."""
    try:
        _ask_for("", _NAMES)
    except agent_socket.AgentUnavailableError as error:
        raise ConfigurationError(f"{error} libnss_sshaft asks there, and nowhere else") from None


def _ask_for(name: str, path: Path) -> tuple[str, dict[str, str]]:
    """Returns what libnss_sshaft would hear of a name. Raises `AgentUnavailableError`."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(_SECONDS)
    try:
        return agent_socket.ask(str(path), "name", {"user": name, "rhost": ""})
    finally:
        signal.alarm(0)


def show_new_name(name: str, path: Path) -> None:
    """Asks for a name that the host does not know, as sshd would, and shows the answer. The agent reserves a uid."""
    if _uid_of(name) is not None:
        return
    try:
        kind, fields = _ask_for(name, path)
    except agent_socket.AgentUnavailableError:
        return  # the login says so, too
    if kind == "name":
        facts = [printable(fields.get(field, "")) for field in ("uid", "home", "shell")]
        click.echo(f"name     this host has no such account; an approval makes it: {' '.join(facts)}")
    else:
        click.echo(f"name     {_NO_UID}")
