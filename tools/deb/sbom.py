"""Writes the parts of a build as a CycloneDX bill of materials: sbom.py VERSION WHEELS OUT.

WHEELS is the folder with the wheels that are installed. The same wheels give the same bytes.
"""

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

BUILD_ONLY = frozenset({"setuptools"})
"""Wheels that build the others, and are not installed."""


def component(wheel: Path) -> dict[str, Any]:
    """Returns the component of a wheel: name, version, licence, hash, and package URL."""
    metadata = _metadata(wheel)
    name, version = metadata["Name"].lower().replace("_", "-").replace(".", "-"), metadata["Version"]
    found: dict[str, Any] = {
        "type": "library",
        "name": name,
        "version": version,
        "purl": f"pkg:pypi/{name}@{version}",
        "bom-ref": f"pkg:pypi/{name}@{version}",
        "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(wheel.read_bytes()).hexdigest()}],
    }
    if expression := metadata["License-Expression"]:
        found["licenses"] = [{"expression": expression}]
    elif licence := metadata["License"]:
        found["licenses"] = [{"license": {"name": licence.strip().partition("\n")[0]}}]
    return found


def _metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as packed:
        name = next(name for name in packed.namelist() if name.endswith(".dist-info/METADATA"))
        return HeaderParser().parsestr(packed.read(name).decode())


def document(version: str, wheels: list[Path], seconds: int) -> dict[str, Any]:
    """Returns the bill of materials of sshaft with these wheels, made at this time."""
    found = [each for each in map(component, sorted(wheels)) if each["name"] not in BUILD_ONLY]
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
        "components": found,
        "dependencies": [{"ref": sshaft, "dependsOn": [each["bom-ref"] for each in found]}],
    }


def main(version: str, folder: str, out: str) -> None:
    seconds = int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))
    text = json.dumps(document(version, list(Path(folder).glob("*.whl")), seconds), indent=2)
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    Path(out).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
