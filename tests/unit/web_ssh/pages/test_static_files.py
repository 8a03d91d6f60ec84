"""Tests the addresses and the answers of scripts and styles."""

import asyncio
import gzip
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import Response

from sshaft.errors import ConfigurationError
from sshaft_web.pages.static_files import StaticFiles

SCRIPT = b"export const a = 1;\n" * 50


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "vendor").mkdir()
    (tmp_path / "vendor" / "xterm.mjs").write_bytes(b"export {};")
    (tmp_path / "main.js").write_bytes(SCRIPT)
    (tmp_path / "package-lock.json").write_bytes(b"{}")
    return tmp_path


def get(files: StaticFiles, path: str, encoding: str = "") -> Response:
    headers = [(b"accept-encoding", encoding.encode())]
    scope = {"type": "http", "method": "GET", "path": path, "headers": headers, "query_string": b""}
    return asyncio.run(files.answer(Request(scope)))


def test_browsers_keep_a_file_for_ever(directory: Path) -> None:
    files = StaticFiles(directory)
    answer = get(files, files.url("main.js"))
    assert (answer.status_code, answer.body) == (200, SCRIPT)
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_browser_that_takes_gzip_gets_a_smaller_answer(directory: Path) -> None:
    files = StaticFiles(directory)
    answer = get(files, files.url("main.js"), "gzip, br")
    assert answer.headers["content-encoding"] == "gzip"
    assert gzip.decompress(answer.body) == SCRIPT
    assert len(answer.body) < len(SCRIPT) / 5


def test_changed_file_gets_another_address(directory: Path) -> None:
    before = StaticFiles(directory)
    (directory / "vendor" / "xterm.mjs").write_bytes(b"export {};;")
    after = StaticFiles(directory)
    assert before.url("main.js") != after.url("main.js")
    assert get(after, before.url("main.js")).status_code == 404


@pytest.mark.parametrize("name", ["nothing.js", "package-lock.json", "../static_files.py", "vendor", "", "%2e%2e/x.js"])
def test_nothing_but_the_files_is_served(directory: Path, name: str) -> None:
    files = StaticFiles(directory)
    assert get(files, files.url("main.js").removesuffix("main.js") + name).status_code == 404
    assert get(files, f"/static/{name}").status_code == 404


def test_missing_terminal_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"vendor/xterm\.mjs is missing: .* run tools/xterm"):
        StaticFiles(tmp_path)


def test_template_that_names_a_missing_file_fails(directory: Path) -> None:
    with pytest.raises(KeyError):
        StaticFiles(directory).url("nothing.css")
