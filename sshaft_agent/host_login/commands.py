"""`sshaft host`: accounts and decisions of host login. Each command asks the running agent."""

import json
import sys
from pathlib import Path
from typing import IO, Any

import click

from sshaft import exit_status
from sshaft.errors import SshaftError
from sshaft.text import printable
from sshaft_agent.commands import NotRunningError, ask_agent, directory_option
from sshaft_agent.host_login import enable


class _NotDoneError(SshaftError):
    """What the operator asked for cannot be done so. Nothing has changed."""

    code = "not_done"
    exit_status = exit_status.DATA


def _ask(directory: Path, kind: str, **fields: str) -> Any:
    """Returns what the agent answers. Raises `NotRunningError`."""
    answered, answer = ask_agent(directory, kind, seconds=10, **fields)
    if answered not in ("answer", "status"):
        reason = answer.get("reason", answered)
        hint = "; is host_login in its config.json?" if reason == "bad_message" else ""
        raise NotRunningError(f"the agent cannot answer: {printable(reason)}{hint}")
    return json.loads(answer["json"])


@click.group()
def host() -> None:
    """Host login: which identity has which account, and why a login is refused."""


@host.command("enable")
@directory_option
@click.option(
    "--break-glass", multiple=True, metavar="NAME", help="An account that keeps its password login; repeatable."
)
def enable_host(directory: Path, break_glass: tuple[str, ...]) -> None:
    """Ask for host login at every login by sshd. Run it as root.

    It puts pam_sshaft before the other methods in /etc/pam.d/sshd, writes /etc/ssh/sshd_config.d/30-sshaft.conf, and
    checks both with sshd. If that fails, nothing has changed.
    """
    if "host_logins_waiting" not in _ask(directory, "status"):
        raise _NotDoneError("the agent serves no host login: is host_login in its config.json?")
    remaining = enable.enable(break_glass)
    click.echo("sshd asks for host login after its next reload: systemctl reload ssh")
    click.echo("Keep this session open, and try a login in another one.")
    click.echo(f"Other ways to log in that remain: {'; '.join(remaining)}.")


@host.command("disable")
def disable_host() -> None:
    """Take host login out of sshd again. Run it as root."""
    if not enable.disable():
        raise _NotDoneError("host login is not enabled here")
    click.echo("sshd is as before after its next reload: systemctl reload ssh")


@host.group("accounts")
def accounts() -> None:
    """Which identity each account belongs to: the first one that has logged in."""


@accounts.command("list")
@directory_option
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
def list_accounts(directory: Path, *, as_json: bool) -> None:
    """List the accounts that belong to an identity."""
    bindings = _ask(directory, "bindings")
    if as_json:
        click.echo(json.dumps(bindings))
        return
    for each in bindings:
        click.echo("  ".join(printable(str(each[name])) for name in ("account", "subject", "issuer", "bound_at")))


@accounts.command()
@directory_option
@click.argument("account")
@click.argument("issuer")
@click.argument("subject")
def bind(directory: Path, account: str, issuer: str, subject: str) -> None:
    """Give an account to an identity before its first login."""
    if not (account and issuer and subject):
        raise _NotDoneError("ACCOUNT, ISSUER and SUBJECT must not be empty")
    if not _ask(directory, "bind", account=account, issuer=issuer, subject=subject):
        raise _NotDoneError(
            f"{printable(account)} belongs to another identity: sshaft host accounts unbind {printable(account)}"
        )
    click.echo(f"{printable(account)} belongs to {printable(subject)} of {printable(issuer)}.")


@accounts.command()
@directory_option
@click.argument("account")
def unbind(directory: Path, account: str) -> None:
    """Forget the identity of an account. The next identity that logs in to it takes it."""
    if not _ask(directory, "unbind", account=account):
        raise _NotDoneError(f"{printable(account)} belongs to no identity.")
    click.echo(f"{printable(account)} belongs to nobody now. The next identity that logs in to it takes it.")


@host.command()
@directory_option
@click.argument("name")
@click.option("--claims", type=click.File(), required=True, help="The claims of an ID token, as JSON; - is stdin.")
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
def explain(directory: Path, name: str, claims: IO[str], *, as_json: bool) -> None:
    """Show how a login to the account NAME would be decided. Nothing is changed.

    Exit status 0 if the person would get in, 1 if not.
    """
    checks = _ask(directory, "explain", user=name, claims=claims.read())
    if checks is None:
        raise _NotDoneError("--claims is no JSON object")
    if as_json:
        click.echo(json.dumps(checks))
    else:
        for each in checks:
            click.echo(f"{'yes' if each['passed'] else 'NO '}  {each['rule']:13}  {printable(each['detail'], 500)}")
    sys.exit(0 if all(each["passed"] for each in checks) else 1)
