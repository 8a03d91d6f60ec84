"""Tests the documentation as a web site."""

import subprocess
import sys
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from mkdocs.exceptions import MkDocsException

from tools.site import lists
from tools.site.__main__ import collect, write

TOP = Path(__file__).resolve().parents[3]


class Resources(HTMLParser):
    """Collects what a browser loads for a page without being asked."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "link" and values.get("rel") in {"canonical", "next", "prev"}:
            return
        self.found += [value for name in ("src", "href") if tag != "a" and (value := values.get(name))]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the folder of the built site. A broken link, and a page that no menu has, ends the build."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "tools.site", str(folder)]
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_site_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 40
    for page in pages:
        resources = Resources()
        resources.feed(page.read_text())
        assert resources.found
        assert [name for name in resources.found if "//" in name] == [], page


def test_site_has_the_api_of_the_service(site: Path) -> None:
    page = (site / "docs" / "openapi" / "index.html").read_text()
    assert "</span> /api/v1/mfa/ssh/accept<" in page
    assert "TokenError" in page


def test_commands_and_pictures_in_a_list_are_part_of_it(site: Path) -> None:
    kubernetes = (site / "docs" / "kubernetes" / "index.html").read_text()
    assert "</span><code>ssh-keygen -t ed25519 -N '' -f ssh_host_ed25519_key\n" in unescape(kubernetes)
    glewlwyd = (site / "docs" / "providers" / "glewlwyd" / "index.html").read_text()
    listed = glewlwyd.partition("<ol>")[2].partition("</ol>")[0]
    assert (listed.count("<li>"), listed.count("<img ")) == (4, 2)


@pytest.mark.parametrize(
    ("page", "wanted"),
    [
        ("1. a\n\n       code\n\n   b", "1. a\n\n        code\n\n    b"),
        ("- a\n  b\n\n  c\nd\n\n    code", "- a\n    b\n\n    c\nd\n\n    code"),
        ("```\n- a\n  b\n```\n  c", "```\n- a\n  b\n```\n  c"),
        ("10. a\n\n    b", "10. a\n\n    b"),
    ],
)
def test_content_of_a_list_is_indented_by_four(page: str, wanted: str) -> None:
    assert lists.indented(page) == wanted


@pytest.mark.slow
def test_broken_link_ends_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(TOP)
    collect(tmp_path / "source")
    (tmp_path / "source" / "docs" / "README.md").write_text("# Nothing\n\n[away](gone.md)\n")
    with pytest.raises(MkDocsException):
        write(tmp_path / "source", tmp_path / "site")
    assert "'docs/README.md' contains a link 'gone.md'" in caplog.text
