"""Runs one login through pam_sshaft and the agent at this terminal, before sshd knows of them (`sshaft host check`)."""

import ctypes
import os
import re
import signal
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from sshaft.authorized_keys import is_safe_word
from sshaft.errors import ConfigurationError
from sshaft.text import printable
from sshaft_agent.host_login.commands import libpam
from sshaft_agent.host_login.commands.libpam import SUCCESS, Style

_SERVICE = "sshaft-check"
_STACK = """\
auth    [success=done ignore=ignore default=die] {line}
account [success=done ignore=ignore default=die] {line}
account requisite pam_deny.so
"""
_IGNORED = {"auth": libpam.PERM_DENIED, "account": libpam.AUTH_ERR}
"""What this stack returns if the module ignores a step. The module itself never returns it there."""
_JOURNAL, _RESTART = "journalctl -u sshaft-agent", "systemctl restart sshaft-agent"


@dataclass(frozen=True)
class Step:
    """One step of a login and its result. `log` has what the module wrote to syslog; it is foreign text."""

    name: str
    status: int
    result: str
    seconds: float
    log: tuple[str, ...] = ()

    @property
    def is_ignored(self) -> bool:
        """Whether the module left this step to the other modules of the stack."""
        return self.status == _IGNORED.get(self.name)

    @property
    def lets_in(self) -> bool:
        return self.status == SUCCESS or (self.name == "account" and self.is_ignored)


@dataclass(frozen=True)
class Module:
    """The module's file and its arguments, as they stand in a PAM line."""

    path: Path
    socket: Path
    timeout: int
    config: Path | None = None

    def line(self) -> str:
        """Returns the end of a PAM line. Raises `ConfigurationError` for a path that would be more than one word."""
        for path in (self.path, self.socket, self.config):
            if path is not None and not is_safe_word(str(path)):
                raise ConfigurationError(f"{path}: a PAM line can name only paths of letters, digits and ._@+/:-")
        config = f" config={self.config}" if self.config else ""
        return f"{self.path} socket={self.socket} timeout={self.timeout}{config}"


class Terminal:
    """Shows what the module says, and reads what the person types. `shown` is all that was shown."""

    def __init__(self) -> None:
        self.shown = ""

    def __call__(self, style: Style, text: str) -> str | None:
        self.shown += f"{text}\n"
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            shown = "\n".join(printable(line, 2000) for line in text.split("\n"))
            if style not in (Style.PROMPT_ECHO_ON, Style.PROMPT_ECHO_OFF):
                if text:  # the agent probes a terminal with empty texts
                    click.echo(shown)
                return None
            click.echo(shown, nl=False)
            with _echo(on=style == Style.PROMPT_ECHO_ON):
                line = sys.stdin.readline()
        finally:
            signal.signal(signal.SIGINT, before)
        if not line:
            click.echo()
            raise EOFError
        return line.rstrip("\n")


@contextmanager
def _echo(*, on: bool) -> Iterator[None]:
    """Switches the echo of the terminal off for the block, unless `on`. Keeps what was typed already."""
    if on or not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    silent = [*before[:3], before[3] & ~termios.ECHO, *before[4:]]
    termios.tcsetattr(sys.stdin, termios.TCSADRAIN, silent)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
        click.echo()


def run(name: str, module: Module) -> bool:
    """Runs the steps of a login and prints each with its result. Whether the person gets in.

    Raises `ConfigurationError` if the login cannot start.
    """
    stack = _STACK.format(line=module.line())
    load(module.path)
    click.echo(f"module   {module.path}\nsocket   {module.socket}")
    terminal = Terminal()
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)  # Python's own waits until libpam returns
    try:
        with libpam.login(_SERVICE, stack, name, terminal) as login:
            for step_name, call in (
                ("auth", login.authenticate),
                ("account", login.account),
                ("setcred", login.set_credentials),
            ):
                step = _step(step_name, call, login.text_of)
                _print(step)
                if not step.lets_in:
                    click.echo(next_step(step, name, terminal.shown, is_root=os.geteuid() == 0))
                    return False
    except EOFError:
        raise ConfigurationError("the login ended: this terminal gave no answer") from None
    finally:
        signal.signal(signal.SIGINT, before)
    click.echo(f"{printable(name)} gets in. Next: sshaft host enable")
    return True


def refuse_silence(module: Module) -> None:
    """Asks the agent one question through the module. Raises `ConfigurationError` if there is no answer.

    Then the module would refuse everybody. The question is about an account that nobody logs in to.
    """
    with libpam.login(_SERVICE, f"account required {module.line()}\n", "nobody", lambda *_: None) as login:
        step = _step("account", login.account, login.text_of)
    if step.status in (libpam.AUTHINFO_UNAVAIL, libpam.SYSTEM_ERR, libpam.MODULE_UNKNOWN):
        said = "; ".join(step.log) or step.result
        raise ConfigurationError(f"through pam_sshaft the agent gives no answer, so nothing was changed: {said}")


def load(module: Path) -> None:
    """Loads the module once, because libpam does not say why it cannot. Raises `ConfigurationError`."""
    try:
        ctypes.CDLL(str(module))
    except OSError as error:
        raise ConfigurationError(f"the module cannot be loaded: {error}: make -C native install-pam") from None


def _step(name: str, call: Callable[[], int], text_of: Callable[[int], str]) -> Step:
    began = time.monotonic()
    with libpam.log_of_modules() as log:
        status = call()
    return Step(name, status, text_of(status), time.monotonic() - began, tuple(log))


def _print(step: Step) -> None:
    result = "ignored: the other modules of sshd decide" if step.is_ignored else step.result
    click.echo(f"{step.name:8} {printable(result)} ({step.seconds:.1f} s)")
    for line in step.log:
        click.echo(f"         {printable(line, 500)}")


def next_step(step: Step, name: str, shown: str, *, is_root: bool) -> str:
    """Returns what an operator does about a step that does not let the person in. `shown` is what the agent said."""
    found = re.search(r"reference:? ([0-9a-f]{8,32})\b", "\n".join([*step.log, shown]))
    journal = f"{_JOURNAL} -g {found[1]}" if found else _JOURNAL
    if step.is_ignored:
        return f"Host login does not decide for {printable(name)}: the other methods of sshd do."
    if step.status == libpam.AUTHINFO_UNAVAIL and not shown:
        if not is_root:
            return "The agent gives this account no answer. Run the command as root: only root may ask the agent."
        return f"The agent gives no answer. It must run with host_login in its config.json: {_RESTART}; {journal}"
    return {
        libpam.AUTHINFO_UNAVAIL: f"The agent cannot decide now. Its log says why: {journal}",
        libpam.AUTH_ERR: f"The agent refused the login. Its log says why: {journal}",
        libpam.MAXTRIES: f"The agent refused the login. Its log says why: {journal}",
        libpam.PERM_DENIED: f"The agent does not open this account. Its log says why: {journal}",
        libpam.USER_UNKNOWN: f"The agent knows no such account. Its log says why: {journal}",
        libpam.SYSTEM_ERR: "Module and agent do not understand each other. Install both from the same release.",
    }.get(step.status, f"libpam ended the login. The lines above and the log of the agent say more: {journal}")
