"""Writes the audit events: who has used which host, as which account, from where, and how much. It counts them, too."""

from collections import Counter
from datetime import UTC, datetime

from sshaft.log import get_logger
from sshaft_web.files.download import Sent
from sshaft_web.people.sessions import End, Person
from sshaft_web.terminals.terminal import Terminal

counts: Counter[tuple[str, str]] = Counter()
"""How often each event was written in this process, by its name and its reason. An event may have no reason."""
transferred: Counter[str] = Counter()
"""Bytes of terminals that have ended, and of files, by the direction as the person sees it."""


def signed_in(person: Person, client: str) -> None:
    counts["web.signed_in", ""] += 1
    get_logger().info("web.signed_in", **_of(person), client_ip=client)


def signed_out(person: Person, end: End) -> None:
    counts["web.signed_out", end] += 1
    get_logger().info("web.signed_out", **_of(person), reason=end)


def refused(person: Person, target: str, reason: str, client: str) -> None:
    counts["terminal.refused", reason] += 1
    get_logger().warning("terminal.refused", **_of(person), target=target, reason=reason, client_ip=client)


def recording_failed(terminal: Terminal, reason: str) -> None:
    counts["recording.failed", ""] += 1
    get_logger().error("recording.failed", **_of_terminal(terminal), reason=reason)


def uploaded(terminal: Terminal, client: str, path: bytes, size: int) -> None:
    counts["file.uploaded", ""] += 1
    transferred["uploaded"] += size
    get_logger().info("file.uploaded", **_of_file(terminal, client, path), size=size)


def downloaded(terminal: Terminal, client: str, path: bytes, sent: Sent) -> None:
    """Says what a browser got of a file, and why it did not get the rest of what it asked for."""
    counts["file.downloaded", ""] += 1
    transferred["downloaded"] += sent.size
    failure = {} if sent.failure is None else {"reason": sent.failure.code}
    facts = {"start": sent.part.start, "bytes": sent.size, "complete": sent.is_complete}
    get_logger().info("file.downloaded", **_of_file(terminal, client, path), **facts, **failure)


class Audit:
    """The events of one terminal."""

    def __init__(self, terminal: Terminal, client: str) -> None:
        self._terminal = terminal
        self._client = client
        self._started = _now()

    def opened(self) -> None:
        counts["terminal.opened", ""] += 1
        get_logger().info("terminal.opened", **self._facts())

    def closed(self, reason: str) -> None:
        terminal = self._terminal
        counts["terminal.closed", reason] += 1
        transferred["typed"] += terminal.bytes_in
        transferred["shown"] += terminal.bytes_out
        get_logger().info(
            "terminal.closed", **self._facts(), ended=_now(), bytes_in=terminal.bytes_in, bytes_out=terminal.bytes_out,
            reason=reason, detail=terminal.message,
        )  # fmt: skip

    def _facts(self) -> dict[str, object]:
        return {**_of_terminal(self._terminal), "client_ip": self._client, "started": self._started}


def _of_file(terminal: Terminal, client: str, path: bytes) -> dict[str, object]:
    folder, _, name = path.decode("utf-8", "surrogateescape").rpartition("/")
    return {**_of_terminal(terminal), "client_ip": client, "folder": folder or "/", "file": name}


def _of_terminal(terminal: Terminal) -> dict[str, object]:
    """Returns the facts of all events of a terminal. The log has the beginning of its id, which opens nothing."""
    recording = {"recording": terminal.recording} if terminal.recording else {}
    return {**_of(terminal.owner), "terminal": terminal.id[:8], "target": terminal.target.name,
            "account": terminal.account, **recording}  # fmt: skip


def _of(person: Person) -> dict[str, object]:
    return {"subject": person.subject, "issuer": person.issuer, "name": person.name}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
