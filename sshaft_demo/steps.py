"""What the demos share: lines with their time, and the end by a signal."""

import signal
import time
from types import FrameType
from typing import NoReturn

import click

STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Steps:
    """Prints lines like `  0.42 s  the agent is up`."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def __call__(self, text: str) -> None:
        click.echo(f"{time.monotonic() - self._started:6.2f} s  {text}")


def interrupted(_number: int, _frame: FrameType | None) -> NoReturn:
    """Ends the demo on the first signal; a second one must not interrupt the clean-up."""
    for number in STOP:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
