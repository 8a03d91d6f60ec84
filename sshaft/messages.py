r"""Encodes the messages between the agent and the commands that sshd starts: one request and one answer per connection.

    sshaft/1 KIND\n
    NAME VALUE\n        any number; VALUE in UTF-8, every byte outside 0x21-0x7e and `%` itself as %XX
    \n                  the end: a message without it was cut off and is refused

native/message.c does the same in C. Imports built-in modules only: it is on the start-up path of every login.
"""

MAX_MESSAGE = 64 * 1024
MAX_FIELDS = 32
END = b"\n\n"

_FIRST = b"sshaft/1 "
_PLAIN = bytes(range(0x21, 0x7F))


class MessageError(ValueError):
    """The data is not a whole message of this protocol."""


def encode(kind: str, fields: dict[str, str]) -> bytes:
    """Returns one message. `kind` and the names must be lower case letters and `_`; the values may be any text."""
    lines = [_FIRST + kind.encode("ascii")]
    lines += [name.encode("ascii") + b" " + _escape(value) for name, value in fields.items()]
    return b"\n".join(lines) + END


def decode(data: bytes) -> tuple[str, dict[str, str]]:
    """Returns the kind and the fields of one whole message. Raises `MessageError` for other data."""
    if len(data) > MAX_MESSAGE:
        raise MessageError("message too long")
    if not data.endswith(END) or not data.startswith(_FIRST):
        raise MessageError("not a whole message")
    head, *rest = data[: -len(END)].split(b"\n")
    fields: dict[str, str] = {}
    for line in rest:
        name, blank, value = line.partition(b" ")
        if not blank or not _is_name(name) or name.decode() in fields:
            raise MessageError("not a field")
        if len(fields) == MAX_FIELDS:
            raise MessageError("too many fields")
        fields[name.decode()] = _unescape(value)
    kind = head[len(_FIRST) :]
    if not _is_name(kind):
        raise MessageError("not a kind of message")
    return kind.decode(), fields


def _is_name(name: bytes) -> bool:
    return name.replace(b"_", b"").isalpha() and name.islower()


def _escape(value: str) -> bytes:
    raw = value.encode("utf-8", "replace").replace(b"%", b"%25")
    for byte in set(raw.translate(None, _PLAIN)):
        raw = raw.replace(b"%c" % byte, b"%%%02X" % byte)
    return raw


def _unescape(value: bytes) -> str:
    first, *rest = value.split(b"%")
    raw = [first]
    for part in rest:
        try:
            raw.append(bytes([int(part[:2].decode("ascii"), 16)]) + part[2:])
        except ValueError:
            raise MessageError("not an escaped byte") from None
        if len(part) < 2 or not part[:2].isalnum():
            raise MessageError("not an escaped byte")
    if value.translate(None, _PLAIN):
        raise MessageError("a byte that should have been escaped")
    try:
        return b"".join(raw).decode("utf-8")
    except UnicodeDecodeError:
        raise MessageError("not UTF-8") from None
