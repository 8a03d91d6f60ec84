"""`sshaft host approvals`: the approvals that this host remembers."""

from pathlib import Path

import click

from sshaft.command_line.output import Columns, Row, json_option, write_list
from sshaft_agent.commands import directory_option
from sshaft_agent.host_login.commands.questions import NotDoneError, ask, ask_rows


@click.group("approvals")
def approvals() -> None:
    """Approvals that this host remembers (`host_login.approval.remember`)."""


def _state(row: Row) -> str:
    return f"does not count: {row['fault']}" if row["fault"] else "counts"


_COLUMNS: Columns = {
    "ID": "id",
    "ACCOUNT": "account",
    "SERVICE": "service",
    "NETWORK": "network",
    "KEY": lambda row: row.get("key_fingerprint") or "no key",
    "UNTIL": "until",
    "LAST USED": "used_at",
    "SUBJECT": "subject",
    "STATE": _state,
}


@approvals.command("list")
@directory_option
@json_option
def list_approvals(directory: Path, *, as_json: bool) -> None:
    """List the remembered approvals: who logs in from where, and until when, without a new approval."""
    write_list(ask_rows(directory, "remembered"), _COLUMNS, as_json=as_json, nothing="No approval is remembered.")


@approvals.command()
@directory_option
@click.argument("approval", metavar="[ID]", required=False)
@click.option("--account", metavar="NAME", help="All approvals of this account.")
@click.option("--all", "everything", is_flag=True, help="All approvals of this host.")
def remove(directory: Path, approval: str | None, account: str | None, *, everything: bool) -> None:
    """Forget the approval ID of `list`: the next login needs a new one. Sessions that run go on. Run it as root.

    Exit status 65 if there is no such approval.
    """
    if [approval is not None, account is not None, everything].count(True) != 1:
        raise click.UsageError("Give ID, --account or --all.")
    if approval is not None:
        count = ask(directory, "forget", id=approval)
    elif account is not None:
        count = ask(directory, "forget", account=account)
    else:
        count = ask(directory, "forget")
    if not count and not everything:
        raise NotDoneError(f"no such approval is remembered: {approval or account}")
    click.echo(f"{count} remembered approval{'' if count == 1 else 's'} removed.", err=True)
