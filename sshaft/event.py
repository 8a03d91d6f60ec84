"""Writes the log events of the commands that sshd starts: JSON lines as of `sshaft.log`, by built-in modules only.

The keys command has sshd's stderr. In a container this is the container's log. Under syslog it is /dev/null, and the
line goes to /dev/log instead. The forced command's stderr is the person's terminal, which must show nothing internal:
its events go to /dev/log only.
"""

import _socket
import posix
import time

from sshaft.text import printable

_SYSLOG_AUTHPRIV_WARNING = b"<84>"  # facility 10, severity 4, RFC 5424 §6.2.1


def write(program: str, event: str, **facts: str | int) -> None:
    """Writes one event, as one line, to stderr, or to syslog if stderr is /dev/null. Never fails."""
    line = _line(program, event, facts)
    try:
        if posix.fstat(2).st_rdev == posix.stat("/dev/null").st_rdev:
            _to_syslog(program, line)
        else:
            posix.write(2, line.encode() + b"\n")
    except OSError:
        pass  # there is no other place for the event


def write_to_syslog(program: str, event: str, **facts: str | int) -> None:
    """Writes one event to syslog, for a program whose stderr is a person's terminal. Never fails."""
    try:  # noqa: SIM105 - contextlib is no built-in module
        _to_syslog(program, _line(program, event, facts))
    except OSError:
        pass  # no syslog here, as in most containers


def _line(program: str, event: str, facts: dict[str, str | int]) -> str:
    seconds = time.time()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds % 1 * 1000):03d}Z"
    fields = {"event": event, "program": program, **facts, "level": "error", "timestamp": stamp}
    return "{" + ", ".join(f"{_text(name)}: {_value(value)}" for name, value in fields.items()) + "}"


def _to_syslog(program: str, line: str) -> None:
    log = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
    try:
        log.setblocking(False)
        log.connect("/dev/log")
        log.send(_SYSLOG_AUTHPRIV_WARNING + f"{program}[{posix.getpid()}]: {line}".encode())
    finally:
        log.close()


def _value(value: str | int) -> str:
    return str(value) if isinstance(value, int) else _text(printable(value, 512))


def _text(text: str) -> str:
    # printable() has removed control characters. Quotes, backslashes and non-ASCII characters are escaped here.
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isascii() else _utf16(c) for c in quoted) + '"'


def _utf16(character: str) -> str:
    units = character.encode("utf-16-be", "replace")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
