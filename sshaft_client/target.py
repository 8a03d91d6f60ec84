"""Asks ssh where its words lead: `ssh -G` reads the configuration files and the options as ssh itself does."""

import os
import pwd
import subprocess
from collections.abc import Sequence
from typing import NamedTuple


class Target(NamedTuple):
    """What ssh would connect to."""

    host: str
    user: str | None
    """The account that the person names, by `user@host`, an option or a configuration file; None: nobody names one."""
    order: str
    """The ways to log in that the person chooses (PreferredAuthentications). Empty: nobody chooses."""
    is_batch: bool
    """Whether ssh must not ask the person anything (BatchMode)."""
    control: str
    """The socket of a connection that several programs share (ControlPath). Empty: none."""


def of(words: Sequence[str]) -> Target | None:
    """Returns the target of `ssh WORDS`, or None: ssh connects to nothing, or prints an error."""
    found = subprocess.run(["ssh", "-G", *words], stdin=subprocess.DEVNULL, capture_output=True, check=False)  # noqa: S603, S607 - the ssh of the person
    if found.returncode != 0:
        return None
    return read(found.stdout.decode(errors="replace"), pwd.getpwuid(os.geteuid()).pw_name)


def read(printed: str, own_name: str) -> Target | None:
    """Returns the target in the output of `ssh -G`. `own_name` is what ssh takes where nobody names an account."""
    settings: dict[str, str] = {}
    for line in printed.splitlines():
        name, _, value = line.partition(" ")
        settings.setdefault(name, value)
    host, user = settings.get("hostname"), settings.get("user")
    if not host:
        return None
    order, is_batch = settings.get("preferredauthentications", ""), settings.get("batchmode") == "yes"
    return Target(host, None if user == own_name else user, order, is_batch, settings.get("controlpath", ""))


def is_connected(target: Target, words: Sequence[str]) -> bool:
    """Whether `ssh WORDS` would use a connection that is there."""
    if not target.control or not os.path.exists(target.control):  # noqa: PTH110 - pathlib takes time
        return False
    asked = subprocess.run(["ssh", "-O", "check", *words], stdin=subprocess.DEVNULL, capture_output=True, check=False)  # noqa: S603, S607
    return asked.returncode == 0
