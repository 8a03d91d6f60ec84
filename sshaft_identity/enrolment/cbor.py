"""The little of CBOR (RFC 8949) that an authenticator writes: whole numbers, bytes, text, arrays and maps."""

from sshaft_identity.enrolment.ssh_wire import Reader, WireError

MAX_DEPTH = 4

Value = int | bytes | str | bool | None | list["Value"] | dict["Value", "Value"]


def read(reader: Reader, depth: int = 0) -> Value:  # noqa: PLR0911 - one return a kind
    """One item. Raises `WireError` for lengths that are not told in front, nesting, tags and floating point."""
    head = reader.take(1)[0]
    kind, count = head >> 5, _argument(reader, head & 0x1F)
    if kind == 0:
        return count
    if kind == 1:
        return -1 - count
    if kind == 2:
        return reader.take(count)
    if kind == 3:
        return _text(reader.take(count))
    if kind in (4, 5) and depth < MAX_DEPTH:
        if kind == 4:
            return [read(reader, depth + 1) for _ in range(count)]
        return dict(_pair(reader, depth) for _ in range(count))
    if head in (0xF4, 0xF5, 0xF6):
        return {0xF4: False, 0xF5: True, 0xF6: None}[head]
    raise WireError("CBOR of a kind that is not expected here")


def _argument(reader: Reader, short: int) -> int:
    if short < 24:
        return short
    if short > 27:
        raise WireError("CBOR of indefinite length")
    return int.from_bytes(reader.take(1 << (short - 24)))


def _pair(reader: Reader, depth: int) -> tuple[Value, Value]:
    key = read(reader, depth + 1)
    if not isinstance(key, int | str):
        raise WireError("a CBOR map with odd names")
    return key, read(reader, depth + 1)


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise WireError("CBOR text that is not UTF-8") from None
