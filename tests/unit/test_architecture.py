"""The import rules and the architecture page cover every package and name files that exist."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
PROJECT = tomllib.loads((TOP / "pyproject.toml").read_text())
PACKAGES = {path.parent.name for path in TOP.glob("sshaft*/__init__.py")}
LIBRARIES = {"sshaft", "sshaft_oidc"}
CONTRACTS = {each["name"]: each for each in PROJECT["tool"]["importlinter"]["contracts"]}
FOLDERS = ("", "sshaft_identity", "sshaft_agent", "sshaft_agent/ssh_factor", "sshaft_web", "sshaft_web/files")
PAGE = (TOP / "docs/architecture.md").read_text()


def test_import_rules_cover_every_package() -> None:
    assert set(PROJECT["tool"]["importlinter"]["root_packages"]) == PACKAGES
    assert set(CONTRACTS["The programs never import one another"]["modules"]) == PACKAGES - LIBRARIES
    (programs, *libraries) = CONTRACTS["The libraries import no program"]["layers"]
    assert set(programs.split(" | ")) == PACKAGES - LIBRARIES
    assert set(libraries) == LIBRARIES


def test_type_checker_reads_every_package() -> None:
    assert set(PROJECT["tool"]["mypy"]["packages"]) == PACKAGES | {
        "tools.chart_schema",
        "tools.deb",
        "tools.manual",
        "tools.sbom",
    }


def test_architecture_page_names_every_layer_of_the_identity_service() -> None:
    layers = CONTRACTS["In the identity service, imports only go down"]["layers"]
    named = re.findall(r"`([a-z_]+)(?:/|\.py)`", PAGE.partition("is a list of layers")[2].partition("## One SSH")[0])
    assert [name for name in named if name != "recipes"] == [name for layer in layers for name in layer.split(" | ")]


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_pages_for_developers_name_files_that_exist(page: str) -> None:
    for name in re.findall(r"`([\w/]+\.py)`", (TOP / page).read_text()):
        assert "test_X" in name or any((TOP / folder / name).exists() for folder in FOLDERS), name


def test_architecture_page_names_functions_that_exist() -> None:
    rows = re.findall(r"`([\w/]+\.py)` `(\w+)`", PAGE)
    assert len(rows) > 8
    for name, function in rows:
        path = next(path for folder in FOLDERS if (path := TOP / folder / name).exists())
        assert re.search(rf"^ *(async )?def {function}\(", path.read_text(), re.MULTILINE), (name, function)


def test_program_that_runs_as_root_imports_the_standard_library_and_the_messages_only() -> None:
    imported: set[str] = set()
    for path in (TOP / "sshaft_accounts").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported |= {f"{node.module}.{alias.name}" for alias in node.names}
    others = {name for name in imported if name.partition(".")[0] not in {*sys.stdlib_module_names, "sshaft_accounts"}}
    assert others == {"sshaft.messages"}


def test_no_folder_holds_more_than_25_modules() -> None:
    folders = {path.parent for package in PACKAGES for path in (TOP / package).rglob("*.py")}
    assert {folder.name: count for folder in folders if (count := len(list(folder.glob("*.py")))) > 25} == {}
