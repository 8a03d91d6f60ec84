"""Runs a comparison round by round, shows its progress, and keeps the measured rounds when a signal stops it early."""

import argparse
import inspect
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from types import FrameType
from typing import Any, NoReturn

Figures = dict[str, Any]


@dataclass(frozen=True)
class Measured:
    """The figures of the first `done` of `total` rounds."""

    done: int
    total: int
    figures: Figures
    unit: str = "rounds"
    at: float = field(default_factory=time.monotonic)

    def __str__(self) -> str:
        return f"{self.done:,} of {self.total:,} {self.unit}"

    @property
    def is_complete(self) -> bool:
        return self.done >= self.total


Rounds = Generator[Measured, None, None]
"""Yields the figures of all rounds so far after each round."""


class Stopped(KeyboardInterrupt):
    """SIGINT or SIGTERM stops the run. `status` is the exit status that a shell expects then."""

    def __init__(self, status: int) -> None:
        super().__init__()
        self.status = status


def stop_on_signals() -> None:
    """Makes the first SIGINT or SIGTERM raise `Stopped`. Later signals are ignored, so that the clean-up ends."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)


def _stop(number: int, _: FrameType | None) -> NoReturn:
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    os.write(2, b"stopping; the parts of the comparison end first\n")  # print() may be at work here
    raise Stopped(128 + number)


def measure(rounds: Rounds, keep: Callable[[Measured], None] = lambda _: None) -> tuple[Measured | None, int]:
    """Runs all rounds and calls `keep` after each.

    Returns the last figures, or None if no round was completed; and 0, or the exit status if a signal stopped the run.
    """
    first = last = None
    try:
        with closing(rounds):
            for last in rounds:
                keep(last)
                first = first or last
                say(f"  {last}{_time_left(first, last)}")
    except Stopped as stopped:
        return last, stopped.status
    return last, 0


def _time_left(first: Measured, last: Measured) -> str:
    """Returns the estimate without the first round, whose time includes the set-up of the comparison."""
    if last.done == first.done or last.is_complete:
        return ""
    seconds = (last.at - first.at) / (last.done - first.done)
    return f", about {duration(seconds * (last.total - last.done))} left"


def duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def run_alone(run: Callable[..., Rounds], description: str | None) -> NoReturn:
    """Runs one comparison, prints its figures as JSON, and ends the program.

    Each parameter of `run` is an option of the command line. Its default tells the type; a tuple is a list with commas.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, parameter in inspect.signature(run).parameters.items():
        default = parameter.default
        read = partial(_split, type(default[0])) if isinstance(default, tuple) else type(default)
        parser.add_argument(f"--{name.replace('_', '-')}", type=read, default=default)
    options = parser.parse_args()
    stop_on_signals()
    measured, status = measure(run(**vars(options)))
    if measured:
        print(json.dumps(measured.figures, indent=1))
    sys.exit(status)


def _split(type_: Callable[[str], Any], text: str) -> tuple[Any, ...]:
    return tuple(map(type_, text.split(",")))


def say(text: str) -> None:
    """Prints a line of progress on standard error."""
    print(text, file=sys.stderr, flush=True)
