"""Writes the manual pages: `python -m tools.manual FOLDER` in a checkout makes FOLDER/man1, man5 and man8.

SOURCE_DATE_EPOCH gives the date of the pages, so that two builds are the same.
"""

import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import sshaft
from tools.manual import commands, configuration, modules
from tools.manual.roff import Page


def write(directory: Path) -> list[Path]:
    """Writes all pages below `directory`, and returns their paths."""
    seconds = int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))
    date = datetime.fromtimestamp(seconds, UTC).date().isoformat()

    def new_page(name: str, section: int, summary: str) -> Page:
        return Page(name, section, summary, sshaft.__version__, date)

    written = []
    for kind in (commands, configuration, modules):
        for page in kind.pages(new_page):
            path = directory / page.file_name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(page.text())
            written.append(path)
    return written


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tools.manual FOLDER")
    print(f"{len(write(Path(sys.argv[1])))} manual pages in {sys.argv[1]}")
