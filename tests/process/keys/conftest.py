"""Makes the keys clients, which must all behave the same."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

NATIVE = Path(__file__).parents[3] / "native"
SANITIZERS = "-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all"


def build(path: Path, *variables: str) -> Path:
    """Builds the native client into `path`."""
    if not shutil.which("cc") or not shutil.which("make"):
        pytest.skip("no C compiler: where there is none the Python client serves")
    command = ["make", "-s", "-C", str(NATIVE), f"OUT={path}", *variables]
    subprocess.run(command, check=True, timeout=120, env={"PATH": os.environ["PATH"]})
    return path


@pytest.fixture(scope="session")
def native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("native") / "sshaft-keys")


@pytest.fixture(scope="session", params=["python", "native", "sanitized"])
def client(request: pytest.FixtureRequest, launchers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns `sshaft-keys` in Python, in C, and in C with sanitizers that end it at a fault."""
    if request.param == "python":
        return launchers / "sshaft-keys"
    if request.param == "native":
        return Path(request.getfixturevalue("native"))
    return build(tmp_path_factory.mktemp("sanitized") / "sshaft-keys", f"CFLAGS={SANITIZERS}", "HARDENING=")
