"""Weighs what a check has found, and counts it."""

from collections.abc import Iterable
from enum import IntEnum


class Severity(IntEnum):
    """The weight of a finding. An error means that logins fail, or that strangers can do what they must not."""

    OK = 0
    NOTE = 1
    WARNING = 2
    ERROR = 3

    @property
    def word(self) -> str:
        return self.name.lower()

    @property
    def mark(self) -> str:
        """The word as a table of findings has it: an error stands out."""
        return "ERROR" if self is Severity.ERROR else self.word


def summary(found: Iterable[Severity]) -> str:
    """Returns how many findings have which weight, the heaviest first."""
    found = list(found)
    counts = [(found.count(severity), severity) for severity in reversed(Severity)]
    return ", ".join(f"{count} {_plural(severity, count)}" for count, severity in counts)


def _plural(severity: Severity, count: int) -> str:
    return severity.word if severity is Severity.OK or count == 1 else f"{severity.word}s"
