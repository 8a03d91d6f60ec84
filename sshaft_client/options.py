"""Reads our options, which stand before those of ssh. Everything from the first other word on belongs to ssh."""

import getopt
from collections.abc import Sequence
from typing import NamedTuple

from sshaft import exit_status
from sshaft.errors import SshaftError
from sshaft.text import printable

_NAMES = {
    "--token-file": "token_file",
    "--oa-account": "account",
    "--oidc": "account",
    "--iss": "issuer",
    "--issuer": "issuer",
    "--client-id": "client_id",
    "--endpoint": "endpoint",
    "--mc-endpoint": "endpoint",
    "--ca-file": "ca_file",
}
_FLAGS = {"--allow-http": "allow_http", "--help": "help", "--print-config": "print_config"}
_TOKEN = "--token"


class UsageError(SshaftError):
    """The command line is wrong."""

    code = "usage"
    exit_status = exit_status.USAGE


class Options(NamedTuple):
    """Our options. None: not given."""

    token_file: str | None = None
    account: str | None = None
    """An account of oidc-agent."""
    issuer: str | None = None
    """The OpenID Provider: of an account of oidc-agent, or for a login of our own."""
    client_id: str | None = None
    """This program at the OpenID Provider, for a login of our own."""
    endpoint: str | None = None
    """The address of the service; without it, the usual addresses on the host are tried."""
    ca_file: str | None = None
    """PEM bundle to trust instead of the system's authorities."""
    allow_http: bool = False
    """Whether the token may cross the network without encryption."""
    help: bool = False
    print_config: bool = False
    """Whether to print lines of ssh_config instead of a login."""


def parse(words: Sequence[str]) -> tuple[Options, list[str]]:
    """Returns our options and the words of ssh. Raises `UsageError`.

    ssh has no long options, so a word that begins with `--` and has a name is ours. `--` alone is of ssh.
    """
    given: dict[str, str | bool] = {}
    rest = list(words)
    while rest and rest[0].startswith("--") and rest[0] != "--":
        name, equals, value = rest.pop(0).partition("=")
        if name == _TOKEN:
            raise UsageError("--token shows the token to everybody on this computer; use --token-file, see --help")
        if name in _FLAGS and not equals:
            given[_FLAGS[name]] = True
        elif name in _NAMES:
            if not equals and not rest:
                raise UsageError(f"{printable(name)} needs a value; see --help")
            given[_NAMES[name]] = value if equals else rest.pop(0)
        else:
            raise UsageError(f"{printable(name)} is no option of sshaft{_similar(name)}; see --help")
    return Options(**given), rest  # type: ignore[arg-type]


def _similar(name: str) -> str:
    """Returns a question about the option that the person may have meant, or an empty text."""
    from difflib import get_close_matches  # noqa: PLC0415 - a person who makes no mistake does not wait for it

    found = get_close_matches(name, [*_NAMES, *_FLAGS], n=1)
    return f" (did you mean {found[0]}?)" if found else ""


SSH_OPTIONS = "1246ab:c:e:fgi:kl:m:no:p:qstvxyAB:CD:E:F:GI:J:KL:MNO:P:Q:R:S:TVw:W:XY"
"""In the form of getopt(3)."""
_NO_LOGIN = {"-G", "-O", "-Q", "-V"}


def logs_in(words: Sequence[str]) -> bool:
    """Whether `ssh WORDS` would log in. It does not where it prints its settings, or speaks to another ssh (-O)."""
    rest = list(words)
    try:
        before, rest = getopt.getopt(rest, SSH_OPTIONS)
        after, _ = getopt.getopt(rest[1:], SSH_OPTIONS)  # ssh takes options after the host, too
    except getopt.GetoptError:
        return False  # ssh says what is wrong
    return bool(rest) and not _NO_LOGIN & {name for name, _ in before + after}
