"""Makes a page for each command of `sshaft` from what `--help` shows."""

import inspect
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import click

from sshaft import exit_status
from sshaft.__main__ import CLIENT
from sshaft.command_line import cli
from sshaft_client import help_text
from tools.manual.documented import texts_below
from tools.manual.roff import NewPage, Page

_STATUSES = (
    "OK", "FAILED", "USAGE", "DATA", "UNAVAILABLE", "SOFTWARE", "TEMPORARY", "NO_PERMISSION", "CONFIGURATION",
    "INTERRUPTED", "NO_READER",
)  # fmt: skip
_FILES = {"agent": "config", "host": "config", "doctor": "config", "setup": "config", "identity": "identity",
          "host-api": "host-api", "web": "web"}  # fmt: skip


class Command(NamedTuple):
    path: tuple[str, ...]
    """Begins with `sshaft`."""
    command: click.Command
    context: click.Context

    @property
    def page_name(self) -> str:
        return "-".join(self.path)


def every_command() -> Iterator[Command]:
    """Yields `sshaft`, its commands and theirs. Those of the client are not among them: they do without click."""
    yield from _commands(("sshaft",), cli, None)


def _commands(path: tuple[str, ...], command: click.Command, parent: click.Context | None) -> Iterator[Command]:
    context = click.Context(command, info_name=path[-1], parent=parent, **command.context_settings)
    if command.hidden:
        return
    yield Command(path, command, context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            if (below := command.get_command(context, name)) is not None:
                yield from _commands((*path, name), below, context)


def pages(new_page: NewPage) -> Iterator[Page]:
    """Yields the pages of section 1."""
    for each in every_command():
        yield _page(each, new_page)
    for name in CLIENT:
        yield _client_page(name, new_page)


def _page(each: Command, new_page: NewPage) -> Page:
    command, context = each.command, each.context
    page = new_page(each.page_name, 1, _summary(command.get_short_help_str(200)))
    page.heading("Synopsis")
    page.synopsis(" ".join(each.path), command.collect_usage_pieces(context))
    page.heading("Description")
    paragraphs, own_statuses = _paragraphs(command)
    for paragraph in paragraphs:
        page.paragraph(paragraph)
    _add_options(page, command, context)
    below = _names_below(each)
    if below:
        page.heading("Commands")
        for name, text in below.items():
            page.tagged(f"{each.page_name}-{name}(1)", text)
    _add_environment(page, command)
    page.heading("Exit status")
    for paragraph in own_statuses:
        page.paragraph(paragraph)
    _add_statuses(page, [name for name in _STATUSES if _may_end(each, name, own_statuses)])
    page.references(_references(each, list(below)))
    return page


def _paragraphs(command: click.Command) -> tuple[list[str], list[str]]:
    """Returns the paragraphs of the help text, and what it says of the exit status of this command."""
    parts = [
        re.split(r"(?=\bExit status)", paragraph.replace("\b", ""), maxsplit=1)
        for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(command.help or ""))
    ]
    return [part[0] for part in parts if part[0].strip()], [part[1] for part in parts if len(part) > 1]


def _may_end(each: Command, status: str, own_statuses: list[str]) -> bool:
    """Whether the command may end with this status."""
    if status == "FAILED":
        return any(re.search(r"\b1\b", text) for text in own_statuses)
    return status != "NO_READER" or each.path[-1] in {"list", "export"}


def _add_statuses(page: Page, names: Iterable[str]) -> None:
    texts = texts_below(exit_status)
    for name in names:
        page.tagged(str(getattr(exit_status, name)), texts[name].partition(" `sshaft-login`")[0])


def _add_options(page: Page, command: click.Command, context: click.Context) -> None:
    page.heading("Options")
    for each in command.get_params(context):
        record = each.get_help_record(context)
        if record is not None and (isinstance(each, click.Option) or record[1]):
            page.tagged(*record)


def _add_environment(page: Page, command: click.Command) -> None:
    named = [each for each in command.params if isinstance(each, click.Option) and isinstance(each.envvar, str)]
    if named:
        page.heading("Environment")
    for each in named:
        page.tagged(str(each.envvar), f"as `{each.opts[-1]}`, which counts more")


def _names_below(each: Command) -> dict[str, str]:
    if not isinstance(each.command, click.Group):
        return {}
    found = {}
    for name in each.command.list_commands(each.context):
        command = each.command.get_command(each.context, name)
        if command is not None and not command.hidden:
            found[name] = command.get_short_help_str(200)
    return dict(sorted((found | (CLIENT if each.path == ("sshaft",) else {})).items()))


def _references(each: Command, below: list[str]) -> Iterator[str]:
    yield from (f"{each.page_name}-{name}(1)" for name in below)
    if len(each.path) > 1:
        yield f"{'-'.join(each.path[:-1])}(1)"
        if each.path[1] in _FILES:
            yield f"sshaft-{_FILES[each.path[1]]}.json(5)"
    else:
        yield from ("sshaft-config.json(5)", "sshaft-identity.json(5)", "pam_sshaft(8)", "libnss_sshaft(8)")


def _client_page(name: str, new_page: NewPage) -> Page:
    usage, text = help_text.USAGE[name]
    page = new_page(f"sshaft-{name}", 1, _summary(CLIENT[name]))
    page.heading("Synopsis")
    page.synopsis(f"sshaft {name}", usage.split())
    page.heading("Description")
    page.paragraph(text)
    page.paragraph(help_text.INTRODUCTION)
    page.heading("Options")
    page.paragraph(f"{help_text.TOKEN_FROM}:")
    for tag, meaning in help_text.TOKEN_OPTIONS:
        page.tagged(tag, meaning)
    page.paragraph(help_text.WITHOUT_OPTIONS)
    for tag, meaning in help_text.OTHER_OPTIONS:
        page.tagged(tag, meaning)
    page.heading("Environment")
    for tag, meaning in help_text.VARIABLES:
        page.tagged(tag, meaning)
    page.heading("Exit status")
    if name == "ssh":
        page.paragraph("That of ssh, or of the command that ran on the host. If the login could not begin:")
        _add_statuses(page, ["NO_LOGIN_BY_SSH"])
    else:
        if name != "info":
            page.paragraph(f"That of {name}. If {name} could not begin:")
        _add_statuses(
            page, ["USAGE", "DATA", "UNAVAILABLE", "SOFTWARE", "CONFIGURATION", "INTERRUPTED", "NO_LOGIN_BY_SSH"]
        )
    page.references(["sshaft(1)", "sshaft-client.json(5)", *(f"sshaft-{other}(1)" for other in CLIENT if other != name),
                     *([] if name == "info" else [f"{name}(1)"])])  # fmt: skip
    return page


def _summary(text: str) -> str:
    return (text[:1].lower() + text[1:] if text[1:2].islower() else text).rstrip(".")
