"""Sets the clock of processes (libfaketime). A process follows the clock if it starts with its environment.

The monotonic clock stays real, as it does when somebody sets the system clock.
"""

import glob
from dataclasses import dataclass
from pathlib import Path


def library() -> str | None:
    patterns = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib*/faketime/libfaketimeMT.so.1")
    return next((path for pattern in patterns for path in sorted(glob.glob(pattern))), None)  # noqa: PTH207


@dataclass
class FakeClock:
    """A clock whose time is the real time plus the offset in `file`."""

    file: Path

    def __post_init__(self) -> None:
        self.put(0)

    def put(self, seconds: int) -> None:
        """Sets the clock this far ahead of the real time."""
        new = self.file.with_suffix(".new")
        new.write_text(f"{seconds:+}\n")
        new.chmod(0o644)
        new.replace(self.file)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": library() or "",
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DISABLE_SHM": "1",
            "NO_FAKE_STAT": "1",
        }
