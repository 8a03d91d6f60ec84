"""Tests the bill of materials of a build."""

import base64
import hashlib
import json
import re
import zipfile
from pathlib import Path

import pytest

from tools.sbom import document, main, of_npm, of_wheel

LOCK = Path(__file__).resolve().parents[3] / "sshaft_web" / "pages" / "package-lock.json"


def wheel(folder: Path, name: str, metadata: str) -> Path:
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr(f"{name}-1.0.dist-info/METADATA", f"Name: {name}\nVersion: 1.0\n{metadata}\n\ntext\n")
    return path


def test_component_of_a_wheel_has_version_licence_and_hash(tmp_path: Path) -> None:
    path = wheel(tmp_path, "Some_Library", "License-Expression: MIT")
    found = of_wheel(path)
    assert (found["name"], found["version"]) == ("some-library", "1.0")
    assert found["purl"] == found["bom-ref"] == "pkg:pypi/some-library@1.0"
    assert found["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(path.read_bytes()).hexdigest()}]
    assert found["licenses"] == [{"expression": "MIT"}]
    other = of_wheel(wheel(tmp_path, "other", "License: BSD 3-Clause\n        and a long text"))
    assert other["licenses"] == [{"license": {"name": "BSD 3-Clause"}}]


def test_components_of_the_pages_are_those_of_their_lock_file() -> None:
    found = {each["purl"]: each for each in of_npm(LOCK.read_text())}
    assert "pkg:npm/%40xterm/xterm@6.0.0" in found
    assert len(found) == len(json.loads(LOCK.read_text())["packages"]) - 1
    for each in found.values():
        assert re.fullmatch("[0-9a-f]{128}", each["hashes"][0]["content"])
        assert each["licenses"][0]["expression"]


def test_npm_package_with_another_hash_than_sha512_is_refused() -> None:
    entry = {"version": "1.0.0", "integrity": "sha1-" + base64.b64encode(b"x" * 20).decode(), "license": "MIT"}
    with pytest.raises(ValueError, match="the hash is sha1, not sha512"):
        of_npm(json.dumps({"packages": {"": {}, "node_modules/x": entry}}))


def test_npm_packages_for_development_are_left_out() -> None:
    assert of_npm(json.dumps({"packages": {"": {}, "node_modules/x": {"dev": True}}})) == []


def test_document_says_what_it_describes_and_on_what_this_depends() -> None:
    made = document("1.2.3+deb13", of_npm(LOCK.read_text()), 0)
    assert (made["bomFormat"], made["specVersion"]) == ("CycloneDX", "1.6")
    assert made["metadata"]["component"]["version"] == "1.2.3+deb13"
    assert made["metadata"]["timestamp"] == "1970-01-01T00:00:00Z"
    references = [each["bom-ref"] for each in made["components"]]
    assert made["dependencies"] == [{"ref": "pkg:generic/sshaft@1.2.3+deb13", "dependsOn": references}]
    assert len(set(references)) == len(references)


def test_same_parts_give_the_same_bytes_without_what_only_builds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1763800000")
    for name in ("b", "setuptools", "a"):
        wheel(tmp_path, name, "License-Expression: MIT")
    for out in ("one", "two"):
        main("1", str(tmp_path), str(LOCK), str(tmp_path / "made" / out))
    text = (tmp_path / "made" / "one").read_bytes()
    assert text == (tmp_path / "made" / "two").read_bytes()
    assert [each["name"] for each in json.loads(text)["components"]][:2] == ["a", "b"]
    assert b"setuptools" not in text
