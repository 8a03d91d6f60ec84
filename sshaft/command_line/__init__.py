"""Defines `sshaft`, the operator's command."""

import errno
import importlib
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import click
from click.exceptions import NoSuchCommand
from click.shell_completion import CompletionItem

import sshaft
from sshaft import exit_status, launchers
from sshaft.__main__ import CLIENT
from sshaft.command_line.colour import coloured
from sshaft.errors import SshaftError
from sshaft.text import printable

PROGRAMS = {
    "agent": ("sshaft_agent.commands", "agent", "Run the agent on the host of sshd, or print its status."),
    "client-config": (
        "sshaft_client.client_config",
        "client_config",
        "Print the lines of ~/.ssh/config for a short ssh command.",
    ),
    "demo": ("sshaft_demo.commands", "demo", "Run one login for real, on this machine, with throwaway keys."),
    "doctor": ("sshaft_doctor.commands", "doctor", "Check the host of sshd, and print what to change."),
    "host": ("sshaft_agent.host_login.commands", "host", "Host login: accounts, and why a login is refused."),
    "host-api": ("sshaft_host_api.commands", "host_api", "Token login: the HTTP API that its clients ask."),
    "identity": ("sshaft_identity.commands.identity", "identity", "The identity service: users, keys, challenges."),
    "setup": ("sshaft_setup.commands", "setup", "Set this host up: ask, write, check, and say what is left."),
    "sshd-config": (
        "sshaft_doctor.commands",
        "sshd_config",
        "Write the hardened sshd_config for a version of OpenSSH.",
    ),
    "web": ("sshaft_web.commands", "web", "SSH in the browser: terminals and files on the hosts of web.json."),
}
_EXTRAS = {"host": "host", "host-api": "host-api", "web": "web"}
"""The optional dependencies of a program in pyproject.toml."""


class _Programs(click.Group):
    """Loads a program when it is called: the agent must start where the identity service is not installed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *PROGRAMS])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in CLIENT and ctx.resilient_parsing:  # a shell completes its words
            words: click.Command = importlib.import_module("sshaft_client.completion").command(cmd_name)
            return words
        if cmd_name not in PROGRAMS:
            return super().get_command(ctx, cmd_name)
        module, attribute, _help = PROGRAMS[cmd_name]
        try:
            command: click.Command = getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            if error.name is None or error.name.startswith("sshaft"):
                raise
            extra = _EXTRAS.get(cmd_name, "identity")
            raise click.ClickException(f"{cmd_name} needs {error.name}: pip install 'sshaft[{extra}]'") from None
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except NoSuchCommand as error:  # click compares the word with the loaded commands alone
            raise NoSuchCommand(error.command_name, possibilities=dict(self._texts()), ctx=ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        with formatter.section("Commands"):
            formatter.write_dl(self._texts())

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        names = [CompletionItem(name, help=text) for name, text in self._texts() if name.startswith(incomplete)]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]

    def _texts(self) -> list[tuple[str, str]]:
        """Returns each command with its line of help. It loads no program."""
        commands = {name: command.get_short_help_str(90) for name, command in self.commands.items()}
        return sorted((commands | CLIENT | {name: text for name, (_, _, text) in PROGRAMS.items()}).items())


@click.group(cls=_Programs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(sshaft.__version__, prog_name="sshaft")
def cli() -> None:
    """An SSH login as an authentication factor of a web login."""


@cli.command("install-commands")
@click.argument("directory", type=click.Path(path_type=Path))
def install_commands(directory: Path) -> None:
    """Write sshaft-keys and sshaft-login, the commands that sshd starts, into DIRECTORY.

    /usr/libexec/sshaft is a good place. Only root may be able to change DIRECTORY, the folders above it and the
    installed packages of sshaft. Otherwise nothing is written: another account could change every login.
    """
    launchers.check(directory, launchers.module_folders())
    for path in launchers.install(directory):
        click.echo(path)


def main(arguments: list[str]) -> Any:
    """Runs the command. Turns an error into one line on stderr and a status of sysexits.h."""
    try:
        status = cli.main(arguments, prog_name="sshaft", standalone_mode=False)
    except Exception as error:  # noqa: BLE001 - the last handler: no stack trace
        message, status = message_and_status(error)
        _discard_unwritten_output()
        said = f"{coloured('sshaft:', err=True)} {printable(message, 2000)}" if message else str(error)
        click.echo(said, err=True)
    return status if isinstance(status, int) else exit_status.OK


def message_and_status(error: Exception) -> tuple[str, int]:
    """Returns the message and the exit status. The message is empty if the error is the help text itself."""
    match error:
        case SshaftError():
            return str(error), error.exit_status
        case click.exceptions.NoArgsIsHelpError():
            return "", exit_status.USAGE
        case click.UsageError():
            command = error.ctx.command_path if error.ctx else "sshaft"
            return f"{error.format_message()} See '{command} --help'.", exit_status.USAGE
        case click.ClickException():
            return error.format_message(), exit_status.SOFTWARE
        case click.Abort():
            return "interrupted", exit_status.INTERRUPTED
    return _message_of_python(error)


def _message_of_python(error: Exception) -> tuple[str, int]:
    """Returns the message and the exit status for an error of Python, which no program has turned into its own."""
    match error:
        case UnicodeEncodeError(encoding="utf-8"):  # Python keeps other bytes of an argument as lone surrogates
            return "an argument is not UTF-8", exit_status.USAGE
        case OSError(filename=str() as name, strerror=str() as reason):
            return f"{name}: {reason}", exit_status.UNAVAILABLE
        case OSError(errno=errno.ENOSPC):
            return "the output cannot be written: no space left on device", exit_status.UNAVAILABLE
    at = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(at.filename).name}:{at.lineno}"
    return f"a fault of this program, at {where}: {type(error).__name__}: {error}", exit_status.SOFTWARE


def _discard_unwritten_output() -> None:
    """Drops what standard output refuses. Python would try to write it again at its end and return status 120."""
    try:
        click.echo(nl=False)  # flushes
    except OSError:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
