"""`sshaft host`: accounts and decisions of host login. Each command asks the running agent."""

import json
import sys
from pathlib import Path
from typing import IO

import click

from sshaft import exit_status
from sshaft.command_line.colour import coloured
from sshaft.text import printable
from sshaft_agent.commands import directory_option
from sshaft_agent.host_login.commands import check, enable, first_login
from sshaft_agent.host_login.commands.accounts import accounts
from sshaft_agent.host_login.commands.approvals import approvals
from sshaft_agent.host_login.commands.convert import convert
from sshaft_agent.host_login.commands.first_login import Create
from sshaft_agent.host_login.commands.questions import NotDoneError, ask
from sshaft_agent.sockets import host_path

_MOST_NAMES = 20
_STAY = "These accounts stay, and need nothing of sshaft, which gave none of them a password"
_OPEN = (
    "Only the agent refused these accounts, so their keys open them again, until usermod --expiredate 1 NAME closes one"
)
_file = click.Path(path_type=Path)


@click.group()
def host() -> None:
    """Host login: which identity has which account, and why a login is refused."""


host.add_command(accounts)
host.add_command(approvals)
host.add_command(convert)


@host.command("enable")
@directory_option
@click.option(
    "--break-glass", multiple=True, metavar="NAME", help="An account that keeps its password login; repeatable."
)
@click.option(
    "--require-approval",
    is_flag=True,
    help="Keys and certificates, too, open only accounts that somebody was approved for. Root and the accounts of "
    "--break-glass are left to the other modules.",
)
def enable_host(directory: Path, break_glass: tuple[str, ...], *, require_approval: bool) -> None:
    """Ask for host login at every login by sshd. Run it as root.

    It puts pam_sshaft before the other methods in /etc/pam.d/sshd, writes /etc/ssh/sshd_config.d/30-sshaft.conf, and
    checks both with sshd. With host_login.create it also puts sshaft behind the other sources of passwd in
    /etc/nsswitch.conf. If anything fails, nothing has changed. Run again, it counts with its new options alone.
    """
    if "host_logins_waiting" not in ask(directory, "status"):
        raise NotDoneError("the agent serves no host login: is host_login in its config.json?")
    socket, answer = host_path(directory.absolute()), ask(directory, "create")
    create = Create.of(answer) if answer else None
    remaining = enable.enable(enable.Options(socket, break_glass, require_approval=require_approval, create=create))
    click.echo("New logins pass pam_sshaft from now on. sshd takes its settings at its next reload:")
    click.echo("systemctl reload ssh (Red Hat's systems: systemctl reload sshd)")
    click.echo("Keep this session open, and try a login in another one.")
    click.echo(f"Ways to log in that need no agent: {'; '.join(remaining)}.")
    if require_approval:
        click.echo("Keys open every other account only when somebody was approved for it. This holds for accounts of")
        click.echo("services, too: name them by --break-glass.")
    if create is not None:
        click.echo("People whose account this host does not have can log in, too: it is made at their first login.")
        click.echo("sshaft doctor checks the rest.")


@host.command("disable")
@directory_option
def disable_host(directory: Path) -> None:
    """Take host login out of sshd again. Run it as root."""
    if not enable.disable():
        raise NotDoneError("host login is not enabled here")
    click.echo("New logins do not pass pam_sshaft any more. sshd takes its settings at its next reload:")
    click.echo("systemctl reload ssh (Red Hat's systems: systemctl reload sshd)")
    click.echo("Do it now: until then, keyboard-interactive takes the passwords of this host.")
    _tell_what_becomes_of_accounts(directory)


def _tell_what_becomes_of_accounts(directory: Path) -> None:
    made = first_login.accounts_that_stay()
    locked = [name for name, is_locked in (made or {}).items() if is_locked]
    opens = [name for name in first_login.accounts_that_open(directory) if name not in locked]
    if made is None:
        click.echo("Accounts of first logins stay. sshaft-accounts does not say which ones there are.")
    for what, names in (
        (_STAY, list(made or {})),
        ("These accounts stay locked", locked),
        (_OPEN, opens),
    ):
        if names:
            more = f" and {len(names) - _MOST_NAMES} others" if len(names) > _MOST_NAMES else ""
            click.echo(f"{what}: {', '.join(map(printable, names[:_MOST_NAMES]))}{more}.")


@host.command("check")
@directory_option
@click.argument("name")
@click.option("--module", type=_file, help="The PAM module.  [default: the installed pam_sshaft.so]")
@click.option("--socket", type=_file, help="The agent's socket.  [default: host/agent.sock in the runtime directory]")
@click.option("--timeout", type=click.IntRange(1, 3600), default=enable.TIMEOUT_SECONDS, show_default=True,
              help="The seconds that the module has.")  # fmt: skip
@click.option("--config", type=_file, help="The configuration that config= of the PAM line is to name.  [default: the "
              "agent's own]")  # fmt: skip
def check_host(
    directory: Path, name: str, module: Path | None, socket: Path | None, timeout: int, config: Path | None
) -> None:  # fmt: skip
    """Log in to the account NAME here, through the PAM module and the agent, before sshd asks them. Run it as root.

    The files of PAM and of sshd are not used and not changed. But the login is a real one: if it passes, the account
    belongs to the identity that approved it (`sshaft host accounts`). With host_login.create, an account that the host
    does not have is made, if sshd asks for host login already.

    Exit status 0 if every step passes, 1 if one does not.
    """
    used = module.absolute() if module is not None else enable.installed_module()
    path = socket.absolute() if socket is not None else host_path(directory.absolute())
    asked = check.Module(used, path, timeout, config and config.absolute())
    first_login.show_new_name(name, path.with_name("names.sock"))
    sys.exit(exit_status.OK if check.run(name, asked) else exit_status.FAILED)


@host.command()
@directory_option
@click.argument("name")
@click.option("--claims", type=click.File(), help="The claims of an ID token, as JSON; - is stdin.")
@click.option(
    "--token", type=click.File(), help="An ID token, or an access token where identity_from is another; - is stdin."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
def explain(directory: Path, name: str, claims: IO[str] | None, token: IO[str] | None, *, as_json: bool) -> None:
    """Show how a login to the account NAME would be decided. Nothing is changed.

    The agent checks a token as at a login, also at the provider. Exit status 0 if the person would get in, 1 if not.
    """
    if (claims is None) == (token is None):
        raise click.UsageError("Give --claims or --token.")
    given = {"claims": claims.read()} if claims else {"token": token.read()} if token else {}
    checks = ask(directory, "explain", seconds=20, user=name, **given)
    if checks is None:
        raise NotDoneError("--claims is no JSON object")
    if as_json:
        click.echo(json.dumps(checks))
    else:
        for each in checks:
            mark = coloured("yes" if each["passed"] else "NO ")
            click.echo(f"{mark}  {each['rule']:13}  {printable(each['detail'], 500)}")
    sys.exit(exit_status.OK if all(each["passed"] for each in checks) else exit_status.FAILED)
