"""Completes the words of `sshaft ssh`, `scp`, `sftp` and `info` in a shell. Nothing else of the client loads click."""

import re
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from sshaft_client import help_text

_FILE_OPTIONS = {"--token-file", "--ca-file"}
_HOST = re.compile(r"^\s*Host\s+(.+)$", re.MULTILINE | re.IGNORECASE)


def command(name: str) -> click.Command:
    """Returns a command that completes the words of a program. It cannot be run."""
    return _Words(
        name, context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
    )


class _Words(click.Command):
    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        if ctx.args[-1:] and ctx.args[-1] in _FILE_OPTIONS:
            return [CompletionItem(incomplete, type="file")]
        if incomplete.startswith("-"):
            options = (*help_text.TOKEN_OPTIONS, *help_text.OTHER_OPTIONS)
            items = [CompletionItem(names.split()[0], help=meaning) for names, meaning in options]
            return [item for item in items if item.value.startswith(incomplete)]
        if self.name == "scp":
            return [CompletionItem(incomplete, type="file")]
        return [CompletionItem(host) for host in _hosts() if host.startswith(incomplete)]


def _hosts() -> list[str]:
    """Returns the hosts that the person has named in ~/.ssh/config."""
    try:
        text = (Path.home() / ".ssh/config").read_text(errors="replace")
    except OSError:
        return []
    names = {name for line in _HOST.findall(text) for name in line.split()}
    return sorted(name for name in names if not set(name) & set("*?!"))
