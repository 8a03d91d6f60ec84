"""Defines findings, and writes them as a table. A finding is one fact, and what to do about it."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from sshaft.command_line.colour import coloured
from sshaft.command_line.severity import Severity, summary
from sshaft.text import printable

_LONGEST = 500


@dataclass(frozen=True)
class Finding:
    """One fact about `part`: the provider, or the host of this name. `check` is a stable name."""

    part: str
    check: str
    level: Severity
    what: str
    remedy: str = ""

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "level": self.level.word}


def table(findings: Iterable[Finding]) -> str:
    """Returns the text for people: findings by part, each with its remedy, and a summary. Escapes outside text."""
    findings = list(findings)
    lines = []
    for part in dict.fromkeys(finding.part for finding in findings):
        lines.append(part)
        for finding in findings:
            if finding.part == part:
                lines.append(
                    f"  {coloured(f'{finding.level.mark:8}')} {finding.check:12} {printable(finding.what, _LONGEST)}"
                )
                if finding.remedy:
                    lines.append(f"           {'':12} -> {printable(finding.remedy, _LONGEST)}")
    return "\n".join([*lines, summary(finding.level for finding in findings)])
