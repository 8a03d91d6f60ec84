"""Keeps the last output of a terminal, by absolute offsets, so that a page can come back for what it has missed."""

KEPT = 1024 * 1024
"""Bytes. It is more than a page may be behind, with all that is on its way then."""
_PIECE = 128 * 1024
"""Bytes that are forgotten at once: to forget each small part by itself would copy all others each time."""


class Output:
    """The bytes from `start` to `end`. `end` counts all bytes that the terminal has ever written."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._bytes = bytearray()
        self.end = 0

    @property
    def start(self) -> int:
        """The offset of the oldest byte that is kept."""
        return self.end - len(self._bytes)

    def add(self, data: bytes) -> None:
        self._bytes += data
        self.end += len(data)
        if len(self._bytes) > self._kept + _PIECE:
            del self._bytes[: len(self._bytes) - self._kept]

    def read(self, offset: int, most: int) -> bytes:
        """Returns up to `most` bytes from `offset` on, which is from `start` to `end`."""
        at = offset - self.start
        return bytes(memoryview(self._bytes)[at : at + most])
