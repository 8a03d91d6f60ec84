"""Tests what the pages allow a browser, and that foreign names stay text."""

import re
from pathlib import Path

import pytest

from sshaft_web.pages import html
from sshaft_web.pages.html import Host, Pages
from sshaft_web.pages.static_files import DIRECTORY, TERMINAL, StaticFiles

EVIL = "<script>alert(1)</script>\"'>"
TEMPLATES = Path(html.__file__).parent / "templates"
OWN = [path for path in DIRECTORY.rglob("*.js") if "vendor" not in path.parts]


@pytest.fixture
def pages(tmp_path: Path) -> Pages:
    """The pages with empty files: they also work where the terminal was not fetched."""
    names = [path.relative_to(DIRECTORY) for path in DIRECTORY.rglob("*.*") if "vendor" not in path.parts]
    for name in (*names, Path(TERMINAL), Path("vendor/xterm.css")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return Pages("https://ssh.example.org", StaticFiles(tmp_path))


def policy(pages: Pages) -> dict[str, str]:
    header = pages.sign_in("x").headers["content-security-policy"]
    return {name: value for name, _, value in (part.partition(" ") for part in header.split("; "))}


def test_policy_allows_own_files_and_nothing_else(pages: Pages) -> None:
    allowed = policy(pages)
    nonce = allowed["style-src"].partition(" ")[2]
    assert re.fullmatch(r"'nonce-[\w-]{22}'", nonce)
    assert allowed == {
        "default-src": "'none'",
        "script-src": "https://ssh.example.org/static/",
        "style-src": f"https://ssh.example.org/static/ {nonce}",
        "img-src": "data:",
        "connect-src": "'self' wss://ssh.example.org",
        "form-action": "'self'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    assert policy(pages)["style-src"] != allowed["style-src"], "each answer has its own nonce"


def test_other_sites_can_neither_frame_nor_load_a_page(pages: Pages) -> None:
    headers = pages.sign_in("x").headers
    assert headers["x-frame-options"] == "DENY"
    assert headers["cross-origin-opener-policy"] == headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize("page", ["sign_in", "terminals", "said"])
def test_foreign_names_stay_text(pages: Pages, page: str) -> None:
    answers = {
        "sign_in": pages.sign_in(EVIL),
        "terminals": pages.terminals(EVIL, [Host(EVIL, EVIL, asks_user=True)]),
        "said": pages.said(400, EVIL, EVIL),
    }
    body = bytes(answers[page].body).decode()
    assert "<script>" not in body
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&#34;&#39;&gt;" in body


@pytest.mark.parametrize("path", sorted(TEMPLATES.iterdir()), ids=lambda path: path.name)
def test_templates_have_nothing_inline(path: Path) -> None:
    """The policy would block it."""
    text = path.read_text()
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|https?://|\|\s*safe", text)
    assert not re.search(r"<script(?![^>]*\ssrc=)", text)


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_scripts_write_no_html_and_run_no_text(path: Path) -> None:
    words = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser|localStorage\.clear"
    )
    assert not re.search(words, path.read_text())


def test_lock_file_names_versions_and_hashes_but_no_registry() -> None:
    lock = (Path(html.__file__).parent / "package-lock.json").read_text()
    assert "http" not in lock
    assert lock.count('"integrity": "sha512-') == lock.count('"node_modules/')
