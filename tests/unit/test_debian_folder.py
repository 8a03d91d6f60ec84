"""Tests that the Debian packages hold every unit of systemd/."""

import re
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
DEBIAN = TOP / "debian"


def test_every_unit_is_in_a_package_and_not_copied() -> None:
    rules = (DEBIAN / "rules").read_text()
    units = {path.name for path in (TOP / "systemd").iterdir()}
    assert {name for name in units if name not in rules} == set()
    assert not [path for path in DEBIAN.rglob("*") if path.suffix in (".service", ".socket", ".mount")]


def test_every_account_of_a_unit_is_made_by_sysusers() -> None:
    made = {name for path in DEBIAN.glob("*.sysusers") for name in re.findall(r"(?m)^u (\S+)", path.read_text())}
    units = [path.read_text() for path in (TOP / "systemd").iterdir()]
    needed = {name for text in units for name in re.findall(r"(?m)^(?:User|SocketGroup)=(\S+)$", text)} - {"root"}
    assert needed <= made


def test_no_service_starts_without_its_configuration() -> None:
    for path in (TOP / "systemd").glob("sshaft-*.*"):
        if path.suffix in (".service", ".socket"):
            assert re.search(r"(?m)^ConditionPathExists=/\S+\.json$", path.read_text()), path.name


def test_each_override_of_lintian_has_its_reason_above_it() -> None:
    for path in DEBIAN.glob("*.lintian-overrides"):
        lines = path.read_text().splitlines()
        assert lines[0].startswith("# ")
        assert all(line.startswith(("# ", f"{path.stem}: ")) for line in lines)


def test_page_of_the_installation_names_every_package_and_no_other() -> None:
    made = set(re.findall(r"(?m)^Package: (\S+)$", (DEBIAN / "control").read_text()))
    table = re.findall(r"(?m)^\| (`\S.*?) \| ", (TOP / "docs" / "install.md").read_text())
    assert {name for names in table for name in re.findall(r"`(\S+)`", names)} == made
