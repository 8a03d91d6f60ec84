"""Tests that the wheel has no compiled part, is built without a compiler, and brings the completion of the shells."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import sshaft

CHECKOUT = Path(__file__).parents[2]
WANTED = ("sshaft*", "native", "completions", "pyproject.toml", "README.md", "LICENSE")


def test_wheel_is_pure_python(tmp_path: Path) -> None:
    sources = tmp_path / "sources"
    sources.mkdir()
    for pattern in WANTED:
        for path in CHECKOUT.glob(pattern):
            if path.suffix != ".egg-info":
                (shutil.copytree if path.is_dir() else shutil.copy)(path, sources / path.name)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    nothing = {"PATH": str(tmp_path), "HOME": str(tmp_path)}  # a PATH without a compiler
    subprocess.run([*build, "--wheel-dir", tmp_path, sources], check=True, timeout=120, env=nothing)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name == f"sshaft-{sshaft.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
    assert not {Path(name).suffix for name in names} & {".c", ".h", ".o", ".so"}
    files = {str(path.relative_to(CHECKOUT)) for path in CHECKOUT.glob("sshaft*/**/*") if path.is_file()}
    wanted = {name for name in files if "__pycache__" not in name and ".egg-info" not in name}
    assert wanted <= names
    shares = {name.partition(".data/data/share/")[2] for name in names if ".data/data/" in name}
    assert shares == {
        "bash-completion/completions/sshaft",
        "zsh/site-functions/_sshaft",
        "fish/vendor_completions.d/sshaft.fish",
    }


def test_wheel_of_a_release_has_the_terminal_and_the_same_bytes_at_another_time(tmp_path: Path) -> None:
    if subprocess.run([CHECKOUT / "tools" / "xterm", "--is-there"], check=False).returncode != 0:
        pytest.skip("needs tools/xterm")
    for name, umask, zone in (("one", "022", "UTC"), ("two", "077", "Asia/Tokyo")):
        around = ["env", f"TZ={zone}", "sh", "-c", f'umask {umask} && exec "$@"', "sh"]
        subprocess.run([*around, CHECKOUT / "tools" / "wheel", tmp_path / name], check=True, timeout=300)
    files = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    version = sshaft.__version__
    assert set(files) == {f"sshaft-{version}-py3-none-any.whl", f"sshaft-{version}.cdx.json"}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()}
    with zipfile.ZipFile(tmp_path / "one" / f"sshaft-{version}-py3-none-any.whl") as packed:
        assert "sshaft_web/pages/static/vendor/xterm.mjs" in packed.namelist()
    found = {each["name"] for each in json.loads(files[f"sshaft-{version}.cdx.json"])["components"]}
    assert {"requests", "asyncssh", "@xterm/xterm"} <= found
