"""Runs `sshaft`. The programs that people start at each login come first: they load as little as they can."""

import importlib
import sys
from typing import Any

CLIENT = {
    "info": "Show what a host says of logins with access tokens.",
    "scp": "Copy files, with an access token as the password.",
    "sftp": "Transfer files, with an access token as the password.",
    "ssh": "Log in to a host, with an access token as the password.",
}


def main(arguments: list[str] | None = None) -> Any:
    """Runs the command. Turns an error into one line on stderr and an exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    if words and words[0] in CLIENT:
        return importlib.import_module("sshaft_client.__main__").main(words)  # a library imports no program by name
    from sshaft.command_line import main as operator  # noqa: PLC0415 - click alone takes longer than ssh

    return operator(words)


if __name__ == "__main__":
    sys.exit(main())
