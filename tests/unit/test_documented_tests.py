"""The tests that the pages name exist."""

import re
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
FILES = list((TOP / "tests").rglob("test_*.py"))
TESTS = {path.name for path in FILES} | {
    name for path in FILES for name in re.findall(r"def (test_\w+)", path.read_text())
}


@pytest.mark.parametrize("page", ["SECURITY.md", "docs/host-login-other-modules.md"])
def test_page_names_tests_that_exist(page: str) -> None:
    named = re.findall(r"`(test_\w+(?:\.py)?)`", (TOP / page).read_text())
    assert named
    assert set(named) - TESTS == set()
