"""`sshaft ssh`: finds the service, makes the account ready, and becomes the system's ssh, which logs in."""

import os
import re
import sys

from sshaft.host_api import service as services
from sshaft.text import printable
from sshaft_client import beside, help_text, tokens
from sshaft_client import options as options_of
from sshaft_client import target as targets
from sshaft_client.broker import Answers, Broker
from sshaft_client.target import Target

_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]*")
_WAY = "keyboard-interactive"
_ORDER = f"{_WAY},publickey,gssapi-with-mic,hostbased,password"
"""The token comes first: a server ends a login after a few keys."""


def run(program: str, *words: str) -> None:
    """Runs `sshaft ssh WORDS`. Returns only by an exception, or after the help."""
    options, ssh_words = options_of.parse(words)
    if options.help:
        help_text.show(program)
        return
    if options.print_config:
        if len(ssh_words) != 1 or not _HOST.fullmatch(ssh_words[0]):
            raise options_of.UsageError("--print-config wants one HOST; see --help")
        help_text.show_config(ssh_words[0])
        return
    target = targets.of(ssh_words) if options_of.logs_in(ssh_words) else None
    if target is None or targets.is_connected(target, ssh_words):
        beside.become("ssh", ssh_words)  # it needs no token, or says what is wrong
    service = services.of(target.host, options.endpoint, ca_file=options.ca_file, allow_http=options.allow_http)
    token = tokens.obtain(options, service)
    name = service.account(token)
    if target.user not in {None, name}:
        sys.stderr.write(f"sshaft: {service.url} calls your account {name}; trying {printable(str(target.user))}.\n")
    broker = Broker()
    answers = Answers(
        os.getpid(),
        lambda: service.answers(token),
        lambda: service.why_refused(token),
        may_ask=not target.is_batch,
    )
    broker.start(answers)
    own = [*_settings(target), *([] if target.user else ["-l", name])]
    beside.become("ssh", [*own, *ssh_words], _environment() | broker.environment())


def _settings(target: Target) -> list[str]:
    """Returns the settings with which ssh asks our askpass. Those of the person, or of Ansible, come after them."""
    order = target.order or _ORDER
    order = order if _WAY in order.split(",") else f"{_WAY},{order}"
    settings = {"PreferredAuthentications": order, "KbdInteractiveAuthentication": "yes", "BatchMode": "no"}
    return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]


def _environment() -> dict[str, str]:
    """Returns the environment of this process without tokens: ssh and what it starts need none."""
    return {name: value for name, value in os.environ.items() if name not in tokens.VARIABLES}
