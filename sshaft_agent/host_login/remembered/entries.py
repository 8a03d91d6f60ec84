"""Decides which logins an approval is remembered for, and when it does not count. Plain functions, with a clock."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sshaft import addresses
from sshaft_agent.host_login.bindings import Binding
from sshaft_agent.host_login.conversation import LoginQuestion

_SERVICE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
"""A PAM service. The identity service refuses a whole report for one text that is no line."""
_CLOCK_SECONDS = 60
"""A clock that is corrected by less was not set back."""


@dataclass(frozen=True)
class Circumstances:
    """What a later login must have in common with the approved one.

    `service` is the PAM service, `network` what `addresses.source_of` returns, and `fingerprint` that of the key which
    sshd has accepted. An empty `fingerprint`: there was no key.
    """

    account: str
    service: str
    network: str
    fingerprint: str


def circumstances_of(question: LoginQuestion, *, without_key: bool) -> Circumstances | None:
    """Returns what an approval of this login is remembered for. None: it is not remembered.

    Without an address of the client, nobody knows the network. With several keys, nobody knows which one counts. A file
    that the PAM line names by `config=` has rules of its own.
    """
    if addresses.parse(question.client_ip) is None or question.config or not _SERVICE.fullmatch(question.service):
        return None
    fingerprints = {key.fingerprint for key in question.keys}
    if len(fingerprints) > 1 or not (fingerprints or without_key):
        return None
    network = addresses.source_of(question.client_ip)
    return Circumstances(question.user, question.service, network, next(iter(fingerprints), ""))


@dataclass(frozen=True)
class Entry:
    """A remembered approval. Times are in seconds since 1970, by the clock of this host.

    `approval` is its number at the identity service. `origin` stands for the host and its client at the identity
    service (`origin_of`). `claims` are what the identity service said of the person when it was approved.
    """

    id: str
    approval: str
    origin: str
    circumstances: Circumstances
    issuer: str
    subject: str
    claims: Mapping[str, Any]
    approved_at: int
    until: int
    used_at: int


def origin_of(*parts: str) -> str:
    """Returns a text that another host, or another client at the identity service, does not have."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def machine_id(path: Path = Path("/etc/machine-id")) -> str:
    """Returns the number of this machine (machine-id(5)). Empty: it has none, as in some containers."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def fault(entry: Entry, origin: str, bound: Sequence[Binding], now: float, longest: float) -> str | None:
    """Returns why the approval does not count, for the log. None: it counts.

    `bound` are the bindings of its account now, and `longest` is the time of `remember` in seconds.
    """
    if entry.origin != origin:
        return "it is that of another host, or of another client at the identity service"
    if now < entry.approved_at - _CLOCK_SECONDS:
        return "the clock of this host was set back"
    if now >= min(entry.until, entry.approved_at + longest):
        return "its time is over"
    own = [each for each in bound if (each.issuer, each.subject) == (entry.issuer, entry.subject)]
    if not own:
        return "the account does not belong to this identity"
    if all(_seconds(each) > entry.approved_at for each in own):
        return "the account was given to this identity after the approval"
    return None


def _seconds(bound: Binding) -> float:
    return datetime.fromisoformat(bound.bound_at).timestamp()
