"""Defines `sshaft setup`."""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from sshaft import exit_status, files
from sshaft.errors import SshaftError
from sshaft.text import printable
from sshaft_setup import asking, plan, present, programs, services, todo
from sshaft_setup.changes import has_secret
from sshaft_setup.places import AGENT, IDENTITY, Places, account
from sshaft_setup.plan import Wanted
from sshaft_setup.present import Present
from sshaft_setup.questions import QUESTIONS
from sshaft_setup.roles import Role
from sshaft_setup.steps import Step

_SIGNALS = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)


class NotPermittedError(SshaftError):
    """Only root may set the host up."""

    code = "not_permitted"
    exit_status = exit_status.NO_PERMISSION


def _with_questions(command: Callable[..., None]) -> Callable[..., None]:
    """Gives the command an option for each question."""
    for each in reversed(QUESTIONS):
        command = click.option(each.option, each.name, help=each.help)(command)
    return command


@click.command()
@click.option("--role", type=click.Choice([each.value for each in Role]), help="What this host should be.")
@_with_questions
@click.option(
    "--client-secret-file",
    type=click.Path(path_type=Path, allow_dash=True),
    help="The file with the secret of the client; - is stdin. A role with a secret asks for it otherwise.",
)
@click.option("--yes", is_flag=True, help="Ask nothing: take the options, what the host has, and the usual answers.")
@click.option("--dry-run", is_flag=True, help="Show what would be done, and change nothing.")
@click.option("--no-start", is_flag=True, help="Start and reload no service.")
@click.pass_context
def setup(
    context: click.Context,
    /,
    *,
    role: str | None,
    client_secret_file: Path | None,
    yes: bool,
    dry_run: bool,
    no_start: bool,
    **given: str | None,
) -> None:
    """Set this host up: ask what it should be, write its configuration, and say what is left to do elsewhere.

    It asks for what the options do not say. Run again, it changes only what is asked: the usual answers are those that
    the host has. A copy of each changed file goes to /var/backups/sshaft. Nothing is written before the last question.

    sshd and PAM stay as they are. For host login, `sshaft host enable` changes them afterwards.

    Exit status 0 if everything was written, also if `sshaft doctor` has found errors; 1 if you did not want it.
    """
    if os.geteuid() != 0 and not dry_run:
        raise NotPermittedError(
            "set-up writes below /etc: run it as root. With --dry-run it only shows what it would do"
        )
    if not yes and not sys.stdin.isatty():
        raise click.UsageError("Nobody can answer: standard input is no terminal. Give --yes, and the options.")
    if role is None and yes:
        raise click.UsageError("Missing option '--role'.")
    places = Places()
    found = present.read(places)
    asked = {name: value for name, value in given.items() if value is not None}
    try:
        wanted = _wanted(role, asked, client_secret_file, found, yes=yes)
        planned = plan.steps_of(wanted, found, places)
        _show(planned)
        is_wanted = dry_run or yes or not planned or click.confirm("\nGo on?", default=True)
    except click.Abort:
        click.echo("\nNothing was changed.", err=True)
        raise
    if dry_run:
        return
    if not is_wanted:
        click.echo("Nothing was changed.", err=True)
        context.exit(exit_status.FAILED)
    changed = asking.changed(wanted.answers, found.answers(wanted.role))
    with _uninterrupted():
        for name in ([IDENTITY] if wanted.role.has_identity else []) + ([AGENT] if wanted.role.has_agent else []):
            account(name)  # refuses a host without it before anything is written
        for step in planned:
            step.take()
    units = services.units(wanted.role, wanted.answers)
    if not no_start and services.are_managed():
        services.start(units, have_changed=bool(planned), restart=bool(changed.keys() & {"listen", "database"}))
    _finish(wanted, places, units)


def _wanted(role: str | None, given: dict[str, str], secret_file: Path | None, found: Present, *, yes: bool) -> Wanted:
    chosen = Role(role) if role else asking.role_at_terminal()
    ask = asking.without_questions if yes else asking.at_terminal
    answers = asking.answers(chosen, given, found.answers(chosen), ask)
    return Wanted(chosen, answers, _secret(chosen, answers, secret_file, found, yes=yes))


def _secret(role: Role, answers: dict[str, str], path: Path | None, found: Present, *, yes: bool) -> str | None:
    """Returns the new secret of the client. None: it stays as it is, or the client has none."""
    has_question = role == Role.HOST_LOGIN or (role == Role.FACTOR and not answers["factor_file"])
    if path is not None:
        if not has_question:
            raise click.UsageError("--client-secret-file does not fit the options before it.")
        secret = (sys.stdin.read() if str(path) == "-" else files.read_text(path)).strip()
        if not secret:
            raise click.UsageError(f"--client-secret-file: {path} is empty.")
        return secret
    if not has_question or yes:
        return None
    members = found.host_login if role == Role.HOST_LOGIN else found.config
    return asking.secret_at_terminal(has_one=has_secret(members), may_be_empty=role == Role.HOST_LOGIN) or None


def _show(planned: Sequence[Step]) -> None:
    if not planned:
        click.echo("\nThe configuration is as you want it: nothing to change.")
        return
    click.echo("\nTo do:")
    for step in planned:
        click.echo(step.describe())


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Lets Ctrl-C wait: the steps belong together, and the programs that they run inherit this."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _finish(wanted: Wanted, places: Places, units: Sequence[str]) -> None:
    """Runs the doctor, and says what is left."""
    found = present.read(places)
    if wanted.role.has_agent:
        click.echo("\nsshaft doctor")
        if programs.show("doctor") != exit_status.OK:
            click.echo("Some of these findings may end with what is left to do. Run the doctor again after it.")
    click.echo("\nWhat is left to do:")
    for where, lines in todo.left(wanted.role, wanted.answers, found.config, found.identity, _left(units)):
        click.echo(f"\n{printable(where)}:")
        for line in lines:
            click.echo(f"  {printable(line, 500)}")


def _left(units: Sequence[str]) -> todo.Units:
    """Returns the units that do not run."""
    if not services.are_managed():
        return todo.Units(units, ())
    missing = [name for name in units if not services.is_installed(name)]
    return todo.Units([name for name in units if name not in missing and not services.runs(name)], missing)
