"""Begins a program that runs until a signal: its log, and the signals that must not end it while it starts."""

import signal
from collections.abc import Callable
from typing import Any

import click

from sshaft import log

log_level_option: Callable[..., Any] = click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True
)


def begin(log_level: str, *later: signal.Signals) -> None:
    """Sets the log up, and ignores the signals in `later` until the program handles them: the default would end it."""
    log.set_up(log_level)
    for number in later:
        signal.signal(number, signal.SIG_IGN)
