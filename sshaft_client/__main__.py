"""Runs `sshaft ssh`, `scp`, `sftp` and `info`. People wait for these programs, so they use no framework."""

import importlib
import sys

from sshaft import exit_status
from sshaft.errors import SshaftError
from sshaft.text import printable

_MODULES = {"ssh": "ssh", "scp": "copying", "sftp": "copying", "info": "info"}


def main(words: list[str]) -> int:
    """Runs `sshaft WORDS`. Returns the exit status if no other program took the place of this one."""
    program = words[0]
    try:
        importlib.import_module(f"sshaft_client.{_MODULES[program]}").run(*words)
    except KeyboardInterrupt:
        return exit_status.INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last handler: no stack trace
        message, status = _message_and_status(error)
        sys.stderr.write(f"sshaft: {printable(message, 2000)}\n")
        return (
            exit_status.NO_LOGIN_BY_SSH if program == "ssh" else status
        )  # the status with which ssh ends if it cannot log in
    return 0


def _message_and_status(error: Exception) -> tuple[str, int]:
    if isinstance(error, SshaftError):
        return str(error), error.exit_status
    from sshaft.command_line import message_and_status  # noqa: PLC0415 - it loads click

    return message_and_status(error)
