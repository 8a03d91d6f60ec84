"""Reads and writes the strings and numbers of OpenSSH (RFC 4251 §5), and checks every length against the data."""

import struct


class WireError(ValueError):
    """The data ends too early, is too long, or has another form than the format wants."""


class Reader:
    """Reads one field after the other: bytes, a `uint32`, a `string`. `end` raises `WireError` if data is left."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        if count > len(self._data) - self._at:
            raise WireError("the data ends too early")
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self) -> int:
        (value,) = struct.unpack(">I", self.take(4))
        return int(value)

    def string(self) -> bytes:
        return self.take(self.number())

    def end(self) -> None:
        if self._at != len(self._data):
            raise WireError("there is more than there should be")


def string(data: bytes) -> bytes:
    """Returns `data` as a `string`: its length in four bytes, and the bytes."""
    return struct.pack(">I", len(data)) + data


def positive(mpint: bytes) -> int:
    """Returns the value of a positive `mpint` in its shortest form. Raises `WireError` for another form."""
    if not mpint or mpint[0] & 0x80 or (mpint[0] == 0 and (len(mpint) == 1 or not mpint[1] & 0x80)):
        raise WireError("not a positive number in shortest form")
    return int.from_bytes(mpint)
