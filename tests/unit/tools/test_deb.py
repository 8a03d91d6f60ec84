"""Tests what ./dev deb reads from the lock file and from wheels."""

import hashlib
import zipfile
from pathlib import Path

from tools.deb.fetch import platforms, requirements
from tools.deb.sbom import document

LOCK = """\
# made by a tool
click==8.5.1 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
    # via sshaft
zipp==4.1.2 ; python_full_version < '3.12' \\
    --hash=sha256:cc
pywin32-ctypes==0.2.3 ; sys_platform == 'win32' \\
    --hash=sha256:dd
"""


def wheel(folder: Path, name: str, metadata: str) -> Path:
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr(f"{name}-1.0.dist-info/METADATA", f"Name: {name}\nVersion: 1.0\n{metadata}\n\ntext\n")
    return path


def test_requirements_are_those_of_the_python_of_the_suite_with_their_hashes() -> None:
    assert requirements(LOCK, "3.13") == "click==8.5.1 --hash=sha256:aa --hash=sha256:bb\n"
    assert requirements(LOCK, "3.11").splitlines()[1:] == ["zipp==4.1.2 --hash=sha256:cc"]


def test_wheels_for_a_newer_glibc_are_not_taken() -> None:
    names = " ".join(platforms(36))
    assert "manylinux_2_36_" in names
    assert "manylinux_2_17_" in names
    assert "manylinux_2_37_" not in names


def test_bill_of_materials_names_each_wheel_with_version_licence_and_hash(tmp_path: Path) -> None:
    first = wheel(tmp_path, "Some_Library", "License-Expression: MIT")
    wheel(tmp_path, "setuptools", "License-Expression: MIT")
    wheel(tmp_path, "other", "License: BSD 3-Clause\n        and a long text")
    made = document("1.2.3+deb13", list(tmp_path.glob("*.whl")), 0)
    assert (made["bomFormat"], made["specVersion"]) == ("CycloneDX", "1.6")
    assert made["metadata"]["component"]["version"] == "1.2.3+deb13"
    assert made["metadata"]["timestamp"] == "1970-01-01T00:00:00Z"
    found = {each["name"]: each for each in made["components"]}
    assert set(found) == {"some-library", "other"}
    assert found["some-library"]["purl"] == "pkg:pypi/some-library@1.0"
    assert found["some-library"]["hashes"][0]["content"] == hashlib.sha256(first.read_bytes()).hexdigest()
    assert found["some-library"]["licenses"] == [{"expression": "MIT"}]
    assert found["other"]["licenses"] == [{"license": {"name": "BSD 3-Clause"}}]
    assert made["dependencies"][0]["dependsOn"] == [each["bom-ref"] for each in made["components"]]
