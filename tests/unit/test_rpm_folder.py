"""Tests that the RPM packages are those of this version, and hold what the Debian packages hold."""

import re
from pathlib import Path

import sshaft

TOP = Path(__file__).resolve().parents[2]
SPEC = (TOP / "rpm" / "sshaft.spec").read_text()
NAMES = {"libpam-sshaft": "sshaft-pam", "libnss-sshaft": "sshaft-nss"}


def test_packages_have_the_version_of_the_programs() -> None:
    assert f"\nVersion: {sshaft.__version__}\n" in SPEC
    assert f"> - {sshaft.__version__}-1\n" in SPEC.partition("%changelog\n")[2].partition("\n-")[0] + "\n"


def test_packages_are_those_of_debian_and_one_for_selinux() -> None:
    debian = re.findall(r"(?m)^Package: (\S+)$", (TOP / "debian" / "control").read_text())
    made = ["sshaft", *(f"sshaft-{name}" for name in re.findall(r"(?m)^%package (\S+)$", SPEC))]
    assert sorted(made) == sorted([*(NAMES.get(name, name) for name in debian), "sshaft-selinux"])


def test_every_unit_is_in_a_package_and_not_copied() -> None:
    units = {path.name for path in (TOP / "systemd").iterdir()}
    assert {name for name in units if name not in SPEC} == set()
    assert {path.name for path in (TOP / "rpm").iterdir()} == {"sshaft.spec"}


def test_every_account_and_folder_is_made_by_the_files_of_debian() -> None:
    for kind in ("sysusers", "tmpfiles"):
        (packages,) = re.findall(rf"for package in (.*); do\n    install .*{kind}\.d/", SPEC)
        assert set(packages.split()) == {path.stem for path in (TOP / "debian").glob(f"*.{kind}")}
        for name in packages.split():
            assert re.search(rf"(?m)^systemd-{kind}\b.* {name}\.conf", SPEC), name
