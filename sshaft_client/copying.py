"""`sshaft scp` and `sshaft sftp`: the system's programs, with `sshaft ssh` in the place of ssh (-S).

So each host of a command gets its own service, account and token, and the words of scp are read by scp alone.
"""

import os

from sshaft_client import beside, help_text
from sshaft_client import options as options_of


def run(program: str, *words: str) -> None:
    """Runs `sshaft PROGRAM WORDS`. Returns only by an exception, or after the help."""
    options, rest = options_of.parse(words)
    if options.help:
        help_text.show(program)
        return
    folder = beside.Folder()
    folder.write("-P", "sshaft.__main__", ["ssh", *words[: len(words) - len(rest)]])
    process = os.getpid()

    def remove_at_the_end() -> None:
        beside.wait_for_end(process)
        folder.remove()

    beside.start(remove_at_the_end)
    beside.become(program, ["-S", folder.program, *rest])
