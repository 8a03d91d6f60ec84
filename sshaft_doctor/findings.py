"""Defines findings and prints them. A finding is one fact about this host, and the line that changes it."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Self

from sshaft.command_line import severity as severities
from sshaft.command_line.colour import coloured
from sshaft.command_line.severity import Severity
from sshaft.text import printable

_NOT_CHECKED = "not checked"


@dataclass(frozen=True)
class Finding:
    """One fact. `check` is a stable name with the group before its first dot; `remedy` is a line or a command."""

    check: str
    severity: Severity
    what: str
    where: str = ""
    remedy: str = ""

    @property
    def group(self) -> str:
        return self.check.partition(".")[0]

    def as_json(self) -> dict[str, str]:
        return {**asdict(self), "severity": self.severity.word}

    @classmethod
    def of_json(cls, data: Mapping[str, str]) -> Self:
        severity = Severity[data["severity"].upper()]
        return cls(data["check"], severity, data["what"], data["where"], data["remedy"])


def ok(check: str, what: str, where: str = "") -> Finding:
    return Finding(check, Severity.OK, what, where)


def note(check: str, what: str, where: str = "", remedy: str = "") -> Finding:
    return Finding(check, Severity.NOTE, what, where, remedy)


def warning(check: str, what: str, where: str = "", remedy: str = "") -> Finding:
    return Finding(check, Severity.WARNING, what, where, remedy)


def error(check: str, what: str, where: str = "", remedy: str = "") -> Finding:
    return Finding(check, Severity.ERROR, what, where, remedy)


def needs_root(check: str, what: str, where: str = "") -> Finding:
    """Returns a note about a file that this process may not read. In a container even root may not read some files."""
    if os.geteuid() != 0:
        return note(check, f"{_NOT_CHECKED}: {what} needs root", where, "run sshaft doctor as root")
    return note(check, f"{_NOT_CHECKED}: {what} is closed to this root", where, "run sshaft doctor as its owner, too")


def is_unchecked(finding: Finding) -> bool:
    """Whether the finding says that something was not checked."""
    return finding.severity == Severity.NOTE and finding.what.startswith(_NOT_CHECKED)


_GROUPS = {
    "sshd": "sshd's settings",
    "keys": "the keys command",
    "account": "accounts",
    "path": "files and folders",
    "host": "host login",
    "api": "HTTP API of token login",
    "agent": "agent",
    "service": "identity service",
    "selinux": "SELinux",
}


def report(findings: Iterable[Finding]) -> str:
    """Returns the text for people: findings by group, each with its remedy, and a summary. Escapes outside text."""
    findings = list(findings)
    lines = []
    for group, title in _GROUPS.items():
        own = [finding for finding in findings if finding.group == group]
        if own:
            lines.append(title)
        for finding in own:
            where = f"  ({printable(finding.where, 300)})" if finding.where else ""
            lines.append(f"  {coloured(f'{finding.severity.mark:7}')}  {printable(finding.what, 500)}{where}")
            if finding.remedy:
                lines.append(f"           -> {printable(finding.remedy, 500)}")
    return "\n".join([*lines, summary(findings)])


def summary(findings: Iterable[Finding]) -> str:
    return severities.summary(finding.severity for finding in findings)
