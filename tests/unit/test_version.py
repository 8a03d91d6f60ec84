"""Tests that the version is the same in every file that has it, and that docs/releasing.md names these files."""

import re
from pathlib import Path

import pytest

import sshaft

TOP = Path(__file__).resolve().parents[2]
PLACES = {
    "sshaft/__init__.py": r'__version__ = "(.+)"',
    "CHANGELOG.md": r"## (\d\S+) - ",
    "debian/changelog": r"sshaft \((\S+)\) ",
    "charts/sshaft/Chart.yaml": r"(?:version|appVersion): (\S+)",
    "docs/kubernetes.md": r".*registry\.example\.org/sshaft:(\d\S+)",
    "rpm/sshaft.spec": r"Version:\s+(\S+)",
}


@pytest.mark.parametrize("name", [name for name in PLACES if (TOP / name).exists()])
def test_file_has_the_version_of_the_programs(name: str) -> None:
    found = re.findall(f"(?m)^{PLACES[name]}", (TOP / name).read_text())
    newest = found[:1] if "hange" in name else found  # a list of changes has older versions below
    assert newest
    assert set(newest) == {sshaft.__version__}
    assert f"`{name}`" in (TOP / "docs" / "releasing.md").read_text()


def test_no_other_file_has_the_version_in_a_line_of_its_own() -> None:
    """A file of a new kind of package would keep the old version."""
    names = ("*.toml", "*.yaml", "*.yml", "*.spec", "*.cfg", "Dockerfile", "debian/*", "charts/**/*", "rpm/*")
    files = {path for pattern in names for path in TOP.glob(pattern) if path.is_file()}
    pattern = re.compile(rf"(?mi)^\s*(?:app)?version\W+{re.escape(sshaft.__version__)}\b")
    assert {str(path.relative_to(TOP)) for path in files if pattern.search(path.read_text())} <= set(PLACES)
