"""What the demos share: lines with their time, and the end by a signal."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

import click

_STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Steps:
    """Prints lines like `  0.42 s  the agent is up`."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def __call__(self, text: str) -> None:
        click.echo(f"{time.monotonic() - self._started:6.2f} s  {text}")


@contextmanager
def until_stopped(*, once: bool) -> Iterator[Steps]:
    """Runs a demo until its end or a signal. `once`: a signal comes before the end."""
    for number in _STOP:
        signal.signal(number, _interrupted)
    os.umask(0o022)  # each account reads what is made for it
    try:
        yield Steps()
    except KeyboardInterrupt:
        click.echo("\nstopped; nothing is left running")
        sys.exit(0 if not once else 130)


def _interrupted(_number: int, _frame: FrameType | None) -> NoReturn:
    """Ends the demo on the first signal; a second one must not interrupt the clean-up."""
    for number in _STOP:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
