"""Log events of the commands that sshd starts: one JSON line, as `sshaft.log` writes them, with built-in modules only.

sshd hands its own stderr on to the keys command: in a container that is the container's log; under syslog it is
/dev/null, and the line goes to /dev/log instead. The forced command's stderr is the person's terminal, which must see
nothing of our insides: its events go to /dev/log only. There is no third way out of there.
"""

import _socket
import posix
import time

from sshaft.text import printable

_SYSLOG_AUTHPRIV_WARNING = b"<84>"  # facility 10, severity 4, RFC 5424 §6.2.1


def write(program: str, event: str, **facts: str | int) -> None:
    """One event on stderr, or in syslog where stderr leads nowhere. Never fails, never writes more than one line."""
    line = _line(program, event, facts)
    try:
        if posix.fstat(2).st_rdev == posix.stat("/dev/null").st_rdev:
            _to_syslog(program, line)
        else:
            posix.write(2, line.encode() + b"\n")
    except OSError:
        pass  # nobody is left to tell


def write_to_syslog(program: str, event: str, **facts: str | int) -> None:
    """One event in syslog, for a program whose stderr is somebody's terminal. Never fails."""
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
    # printable() left no controls; what JSON and a strict ASCII reader still need is quoted here.
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isascii() else _utf16(c) for c in quoted) + '"'


def _utf16(character: str) -> str:
    units = character.encode("utf-16-be", "replace")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
