"""`./dev` does the same whatever the caller's environment is."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
HOSTILE = {
    "BASH_ENV": "/nonexistent",
    "CDPATH": "/",
    "GIT_DIR": "/nonexistent",
    "LC_ALL": "tr_TR.UTF-8",
    "PIP_USER": "1",
    "PYTEST_ADDOPTS": "-x",
    "PYTHONWARNINGS": "error",
    "TMPDIR": "/nonexistent",
}
NETWORK = {"PIP_INDEX_URL": "https://index.example/a b", "https_proxy": "http://proxy.example:3128"}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose Python prints its environment, its umask and its folder."""
    top = tmp_path / "a checkout"
    for name in ("dev", "tools/environment.sh", "tools/steps.sh"):
        (top / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, top / name)
    python = "env; echo umask=$(umask); echo folder=$(pwd)"
    scripts = {"tools/venv": "exit 0", "tools/xterm": "exit 0", ".venv/bin/python": python}
    for name, script in scripts.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(f"#!/bin/sh\n{script}\n")
        (top / name).chmod(0o755)
    (top / "native").mkdir()
    (top / "native" / "Makefile").write_text("all:\n")
    return top


@pytest.mark.parametrize("given", [{}, NETWORK, HOSTILE | NETWORK])
def test_dev_keeps_of_the_environment_only_the_way_to_the_network(checkout: Path, given: dict[str, str]) -> None:
    done = subprocess.run(
        [checkout / "dev", "format"], env=given, umask=0o077, cwd="/", capture_output=True, text=True, check=True
    )
    seen = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    assert seen.pop("PATH").startswith("/usr/local/sbin:/usr/local/bin:/usr/sbin:")
    assert Path(seen.pop("HOME")).is_absolute()
    kept = NETWORK if "https_proxy" in given else {}
    shell = {name: seen.pop(name) for name in ("PWD", "OLDPWD", "SHLVL", "_") if name in seen}
    assert shell.get("PWD") == str(checkout)
    assert seen == kept | {
        "LC_ALL": "C.UTF-8",
        "SSHAFT_ENVIRONMENT": "clean",
        "folder": str(checkout),
        "no_proxy": "localhost,127.0.0.1,::1,",
        "umask": "0022",
    }
