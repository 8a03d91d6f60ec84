"""`sshaft host accounts`: who has which account of this host, and what becomes of the account."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import click

from sshaft.command_line.output import Columns, Row, json_option, write_list
from sshaft.deadline import Deadline
from sshaft.text import printable
from sshaft_agent.commands import NotRunningError, directory_option
from sshaft_agent.host_login.commands.questions import NotDoneError, ask, ask_rows
from sshaft_agent.host_login.first_login import accounts_client
from sshaft_agent.host_login.first_login.accounts_client import AccountsError
from sshaft_agent.host_login.first_login.settings import CreateSettings

_SECONDS = 170
"""A change may wait for another one, and for `sshaft-accounts` three times."""


@click.group("accounts")
def accounts() -> None:
    """Which identity each account belongs to, and what becomes of the account."""


@accounts.command("list")
@directory_option
@json_option
def list_accounts(directory: Path, *, as_json: bool) -> None:
    """List the accounts, and the people that wait for `approve`.

    An account of several people has a line for each of them.
    """
    rows = chain(ask_rows(directory, "accounts"), ask_rows(directory, "requests"))
    write_list(rows, _COLUMNS, as_json=as_json, nothing="No account belongs to an identity, and nobody waits.")


def _notes(row: Row) -> str:
    """Returns what else an operator must know of an account or of a request."""
    return ", ".join(_request_notes(row) if "reference" in row else _account_notes(row))


def _account_notes(row: Row) -> Iterator[str]:
    if row["refusal"]:
        yield f"CLOSED: {row['refusal']}"
    if row["unchecked"]:
        yield f"CLOSED FOR KEYS: {row['unchecked']}"
    if row["to_do"] and not row["to_do"].endswith("again"):
        yield f"not done yet by sshaft-accounts: {row['to_do']}"
    if row["person"]:
        yield f"person {row['person']}"
    if row["checked_at"]:
        yield f"last good check {row['checked_at']}"
    if row["role_groups"]:
        yield f"groups by roles {','.join(row['role_groups'])}"


def _request_notes(row: Row) -> Iterator[str]:
    yield f"reference {row['reference']}"
    if row["name"]:
        yield row["name"]
    if row["email"]:
        yield f"{row['email']}{'' if row['email_verified'] else ' (not verified)'}"


_COLUMNS: Columns = {
    "ACCOUNT": "account",
    "STATE": "state",
    "SUBJECT": "subject",
    "ISSUER": "issuer",
    "SINCE": lambda row: row.get("bound_at") or row.get("first_at"),
    "LAST LOGIN": lambda row: row.get("last_login_at"),
    "EXPIRES": lambda row: row.get("expires_at"),
    "NOTES": _notes,
}


def _line(request: Row) -> str:
    """Returns a request as one line."""
    asked = f"{'denied, asked first' if request['state'] == 'denied' else 'waits since'} {request['first_at']}"
    words = (request["account"], request["subject"], request["issuer"], *_request_notes(request), asked)
    return "  ".join(printable(word, 300) for word in words if word)


@accounts.command()
@directory_option
@click.argument("name")
@click.option("--reference", default="", help="The person's reference. It is needed if several people wait for NAME.")
@click.option("--deny", is_flag=True, help="The person cannot ask again before the request has ended.")
def approve(directory: Path, name: str, reference: str, *, deny: bool) -> None:
    """Approve a person that waits for the account NAME (`create.approve`). The next login makes the account.

    The name belongs to this person's identity from now on. Before that login, `unbind` takes the approval back.
    """
    answer = ask(directory, "deny" if deny else "approve", account=name, reference=reference)
    outcome, requests = answer["outcome"], answer["requests"]
    shown = printable(name)
    for request in requests:
        click.echo(_line(request))
    if outcome == "several":
        raise NotDoneError(f"several people wait for {shown}: choose one by --reference")
    if outcome == "none":
        raise NotDoneError(
            f"nobody waits for {shown} with this reference" if reference else f"nobody waits for {shown}"
        )
    if outcome == "taken":
        raise NotDoneError(f"{shown} belongs to another identity already: sshaft host accounts list")
    if deny:
        click.echo("This person is denied. With --reference you can still approve.")
    else:
        click.echo(f"The account {shown} belongs to this person. The next login makes it: tell the person to log in.")


@accounts.command()
@directory_option
@click.argument("name")
@click.option("--reason", default="", help="For the log and for `list`.")
def suspend(directory: Path, name: str, reason: str) -> None:
    """Refuse new logins to the account NAME from now on, and end its sessions.

    It stays until `resume`. Exit status 65 if something is left to do.
    """
    left = _change(directory, "suspend", name, reason=reason)
    click.echo(f"{printable(name)} is suspended: new logins are refused" + ("." if left else ", and its sessions end."))
    _say(left)


@accounts.command()
@directory_option
@click.argument("name")
@click.option("--expires", default="", metavar="DATE", help="The first day on which nobody gets in, such as "
              "2030-01-31, or never.  [default: as before]")  # fmt: skip
def resume(directory: Path, name: str, expires: str) -> None:
    """Open the account NAME again, or give it another expiry."""
    left = _change(directory, "resume", name, expires=expires)
    click.echo(f"{printable(name)} is open{_until(expires)}.")
    _say(left)


def _until(expires: str) -> str:
    return f" until {expires}, 00:00 UTC" if expires not in ("", "never") else ""


@accounts.command()
@directory_option
@click.argument("name")
def remove(directory: Path, name: str) -> None:
    """Remove the account NAME from this host, after its sessions have ended. Its home directory stays.

    The agent forgets whose it was. If the provider and `allow` let the person in, the next login makes a new account.
    """
    _change(directory, "remove", name)
    click.echo(f"{printable(name)} is removed. The home directory stays; no other account gets its uid.")
    click.echo("To keep the person out, take the right to log in away at the provider.")


@accounts.command()
@directory_option
@click.argument("name")
@click.option("--add", multiple=True, metavar="GROUP", help="A group of this host; repeatable.")
@click.option("--remove", "removed", multiple=True, metavar="GROUP", help="A group that this command or a role added.")
def groups(directory: Path, name: str, add: tuple[str, ...], removed: tuple[str, ...]) -> None:
    """Add the account NAME to groups of this host, and remove it from groups. `groups` of accounts.json limits both.

    Sessions that run keep their groups.
    """
    if not (add or removed):
        raise click.UsageError("Give --add or --remove.")
    _change(directory, "groups", name, add=",".join(add), remove=",".join(removed))
    click.echo(f"The groups of {printable(name)} are changed. They count at the next login.")


@accounts.command()
@directory_option
@click.argument("name")
@click.option("--socket", type=click.Path(path_type=Path), default=CreateSettings().socket, show_default=True,
              help="Where sshaft-accounts listens.")  # fmt: skip
def adopt(directory: Path, name: str, socket: Path) -> None:
    """Let sshaft-accounts lock, change and remove the account NAME, which others have made. Run it as root.

    Nothing changes for the account now. Whose account it is says `bind`, or its first login.
    """
    try:
        accounts_client.ask(socket, "adopt", {"user": name}, Deadline.after(_SECONDS))
    except AccountsError as error:
        raise NotDoneError(str(error)) from None
    click.echo(f"sshaft-accounts may change {printable(name)} from now on.")
    try:
        _say(_change(directory, "adopted", name))
    except NotRunningError as error:
        raise NotDoneError(f"{error}. When it runs again, run this command again: the agent has to know too") from None


def _change(directory: Path, kind: str, name: str, **fields: str) -> str:
    """Returns what is left to do, or an empty text. Raises `NotDoneError` if the agent does not do it."""
    answer = ask(directory, kind, seconds=_SECONDS, account=name, **fields)
    if not answer["done"]:
        raise NotDoneError(answer["text"])
    return str(answer["text"])


def _say(left: str) -> None:
    if left:
        raise NotDoneError(left)


@accounts.command()
@directory_option
@click.argument("account")
@click.argument("issuer")
@click.argument("subject")
def bind(directory: Path, account: str, issuer: str, subject: str) -> None:
    """Give an account to an identity before its first login."""
    if not (account and issuer and subject):
        raise NotDoneError("ACCOUNT, ISSUER and SUBJECT must not be empty")
    if not ask(directory, "bind", account=account, issuer=issuer, subject=subject):
        raise NotDoneError(
            f"{printable(account)} belongs to another identity: sshaft host accounts unbind {printable(account)}"
        )
    click.echo(f"{printable(account)} belongs to {printable(subject)} of {printable(issuer)}.")


@accounts.command()
@directory_option
@click.argument("account")
def unbind(directory: Path, account: str) -> None:
    """Forget the identity of an account. The next identity that logs in to it takes it."""
    if not ask(directory, "unbind", account=account):
        raise NotDoneError(f"{printable(account)} belongs to no identity.")
    click.echo(f"{printable(account)} belongs to nobody now. The next identity that logs in to it takes it.")
