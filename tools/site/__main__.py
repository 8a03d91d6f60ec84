"""Builds the documentation as a web site: `python -m tools.site FOLDER` in a checkout. A broken link ends it.

The pages are the Markdown files that git knows, at their own paths, so that their links are the same on the site.
"""

import json
import logging
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import MkDocsException

from sshaft_identity.api.openapi import description
from tools.site import lists, messages

_LINK = re.compile(r"\]\(([^)#\s:]+)[^)\s:]*\)")
_OPENAPI_PAGE = """\
# The API of the identity service, in detail

This page is made from what `GET /openapi.json` of the service answers. [The API in words](identity-api.md) explains it.

[OAD(./openapi.json)]
"""


def pages() -> list[Path]:
    """Returns the Markdown files of the checkout that git knows, or will know."""
    command = [
        "git",
        "-c",
        f"safe.directory={Path.cwd()}",
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
        "*.md",
    ]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [path for path in map(Path, listed.split("\0")[:-1]) if path.exists()]


def collect(source: Path) -> None:
    """Copies all pages, and the files of the checkout that they link to, into `source`."""
    copied = {path for page in pages() for path in (page, *_linked(page))}
    for path in copied:
        target = source / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            target.write_text(lists.indented(path.read_text()))
        else:
            shutil.copy(path, target)
    (source / "docs" / "messages.md").write_text(messages.page(*messages.collect(Path.cwd())))
    (source / "docs" / "openapi.md").write_text(_OPENAPI_PAGE)
    (source / "docs" / "openapi.json").write_text(json.dumps(description("https://identity.example.org")))


def _linked(page: Path) -> set[Path]:
    top = Path.cwd()
    targets = {(page.parent / link).resolve() for link in _LINK.findall(page.read_text())}
    return {target.relative_to(top) for target in targets if target.is_file() and target.is_relative_to(top)}


def write(source: Path, folder: Path) -> None:
    """Writes the site with the pages in `source`. Raises `MkDocsException` for a broken link; the log names it."""
    build(load_config("mkdocs.yml", docs_dir=str(source), site_dir=str(folder.absolute()), strict=True))


def main(folder: Path) -> int:
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    with tempfile.TemporaryDirectory() as source:
        collect(Path(source))
        try:
            write(Path(source), folder)
        except MkDocsException as fault:
            print(fault, file=sys.stderr)
            return 1
    print(f"the site is in {folder}; to read it: python3 -m http.server --directory {folder}")
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tools.site FOLDER")
    sys.exit(main(Path(sys.argv[1])))
