"""Starts the services of a role, or makes them read their new configuration."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from sshaft_setup.roles import Role

_SYSTEMD = Path("/run/systemd/system")
"""sd_booted(3)"""
_SOCKET_OF_ACCOUNTS = "sshaft-accounts.socket"
_SSHD = "sshaft-sshd"


def units(role: Role, answers: Mapping[str, str]) -> list[str]:
    """Returns the units that the role needs, in the order of their start."""
    found = ["sshaft-identity"] if role.has_identity else []
    if answers.get("create") == "yes":
        found.append(_SOCKET_OF_ACCOUNTS)
    if role.has_agent:
        found.append("sshaft-agent")
    if answers.get("sshd") == "separate":
        found.append(_SSHD)
    return found


def are_managed() -> bool:
    """Whether systemd runs this host."""
    return _SYSTEMD.is_dir()


def package_of(unit: str) -> str:
    """Returns the Debian package that has the unit."""
    return "sshaft" if unit == "sshaft-agent" else unit.removesuffix(".socket")


def is_installed(unit: str) -> bool:
    return _systemctl("cat", "--quiet", unit, output=subprocess.DEVNULL) == 0


def runs(unit: str) -> bool:
    return _systemctl("is-active", "--quiet", unit) == 0


def start(names: Sequence[str], *, have_changed: bool, restart: bool) -> None:
    """Starts the units, now and at each boot. Those that run already read what has changed.

    `restart`: the identity service has a new address or database, which it reads only at its start.
    """
    for name in filter(is_installed, names):
        is_running = runs(name)
        again = "restart" if restart and name == "sshaft-identity" else "reload"
        words = [again, name] if is_running else ["enable", "--now", name]
        if not is_running or have_changed:
            click.echo(f"systemctl {' '.join(words)}")
            _systemctl(*words)  # it says what fails


def _systemctl(*words: str, output: int | None = None) -> int:
    command = ["systemctl", *words]
    return subprocess.run(command, check=False, stdin=subprocess.DEVNULL, stdout=output, stderr=output).returncode
