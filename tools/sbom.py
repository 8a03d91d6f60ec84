"""Writes the parts of a build as a CycloneDX bill of materials: sbom.py VERSION WHEELS PACKAGE_LOCK OUT.

WHEELS is the folder with the wheels that are installed, PACKAGE_LOCK the package-lock.json of the npm packages. The
same parts give the same bytes. Needs Python's own library only.
"""

import base64
import hashlib
import json
import os
import sys
import time
import zipfile
from datetime import UTC, datetime
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

BUILD_ONLY = frozenset({"setuptools", "sshaft"})
"""Wheels that build the others, and the wheel that has them all."""


def of_wheel(wheel: Path) -> dict[str, Any]:
    """Returns the component of a wheel: name, version, licence, hash, and package URL."""
    metadata = _metadata(wheel)
    name = metadata["Name"].lower().replace("_", "-").replace(".", "-")
    found = _component("pypi", name, metadata["Version"], ("SHA-256", hashlib.sha256(wheel.read_bytes()).hexdigest()))
    if expression := metadata["License-Expression"]:
        found["licenses"] = [{"expression": expression}]
    elif licence := metadata["License"]:
        found["licenses"] = [{"license": {"name": licence.strip().partition("\n")[0]}}]
    return found


def _metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as packed:
        name = next(name for name in packed.namelist() if name.endswith(".dist-info/METADATA"))
        return HeaderParser().parsestr(packed.read(name).decode())


def of_npm(lock: str) -> list[dict[str, Any]]:
    """Returns the components of a package-lock.json: its packages that are not for its makers alone."""
    found = []
    for path, entry in sorted(json.loads(lock)["packages"].items()):
        if not path or entry.get("dev"):
            continue
        algorithm, _, digest = entry["integrity"].partition("-")
        if algorithm != "sha512":
            raise ValueError(f"{path}: the hash is {algorithm}, not sha512")
        name = path.rpartition("node_modules/")[2]
        component = _component("npm", name, entry["version"], ("SHA-512", base64.b64decode(digest).hex()))
        found.append(component | {"licenses": [{"expression": entry["license"]}]})
    return found


def _component(kind: str, name: str, version: str, digest: tuple[str, str]) -> dict[str, Any]:
    url = f"pkg:{kind}/{quote(name)}@{version}"
    hashes = [{"alg": digest[0], "content": digest[1]}]
    return {"type": "library", "name": name, "version": version, "purl": url, "bom-ref": url, "hashes": hashes}


def document(version: str, components: list[dict[str, Any]], seconds: int) -> dict[str, Any]:
    """Returns the bill of materials of sshaft with these components, made at this time."""
    sshaft = f"pkg:generic/sshaft@{version}"
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {
                "type": "application",
                "name": "sshaft",
                "version": version,
                "purl": sshaft,
                "bom-ref": sshaft,
                "licenses": [{"expression": "GPL-3.0-or-later"}],
            },
        },
        "components": components,
        "dependencies": [{"ref": sshaft, "dependsOn": [each["bom-ref"] for each in components]}],
    }


def main(version: str, wheels: str, package_lock: str, out: str) -> None:
    seconds = int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))
    python = [each for each in map(of_wheel, sorted(Path(wheels).glob("*.whl"))) if each["name"] not in BUILD_ONLY]
    npm = of_npm(Path(package_lock).read_text(encoding="utf-8"))
    text = json.dumps(document(version, python + npm, seconds), indent=2)
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    Path(out).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
