"""Builds the image as a user does, from a checkout that holds secrets.

SUITE=bookworm pytest tests/image uses the other Debian.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from image.containers import CHECKOUT, SUITE, Checkout, Factor, Mounts, Site, StartFactor, start_identity
from image.containers import start_factor as start
from image.debian import skipping

from bench.load.container_engine import Engine, build, engine_with_base

IMAGE = "sshaft:tests"


# --- the engine and the image


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    with skipping(), engine_with_base(SUITE) as engine:
        yield engine


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    directory = tmp_path_factory.mktemp("checkout") / "sshaft"
    secret = "planted-" + os.urandom(12).hex()
    unwanted = shutil.ignore_patterns(".git", ".venv", ".*_cache", "__pycache__", "tests")
    shutil.copytree(CHECKOUT, directory, ignore=unwanted)
    (directory / "keys").mkdir()
    for name in ("config.json", ".env", "keys/ssh_host_ed25519_key", "client_secret", "docs/notes.md", "sshaft.pem"):
        (directory / name).write_text(f"SECRET={secret}\n")  # compose reads .env
    return Checkout(directory, secret)


@pytest.fixture(scope="session")
def image(engine: Engine, checkout: Checkout) -> str:
    """Builds the image and returns its name."""
    build(engine, checkout.directory, IMAGE, SUITE)
    return IMAGE


# --- containers of the image


@pytest.fixture
def mounts(tmp_path: Path) -> Mounts:
    return Mounts(tmp_path)


@pytest.fixture
def start_factor(engine: Engine, image: str, mounts: Mounts) -> Iterator[StartFactor]:
    """Returns `containers.start_factor` with the mounts of this test. There is no identity service."""
    started: list[Factor] = []

    def start_one(*options: Any, **more: Any) -> Factor:
        started.append(start(engine, image, mounts, *options, **more))
        return started[-1]

    yield start_one
    for factor in started:
        engine.remove(factor.container)


SET_UP = """set -e
sshaft identity init >/dev/null
sshaft identity user add alice
sshaft identity key add alice - >/dev/null
sshaft identity client add sshaft --scope mfa:list --scope mfa:accept --json
"""


@pytest.fixture(scope="session")
def site(engine: Engine, image: str, tmp_path_factory: pytest.TempPathFactory) -> Site:
    directory = tmp_path_factory.mktemp("site")
    keys = [directory / "alice", directory / "mallory"]
    for key in keys:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    volume = engine.volume()
    once = ("--rm", "-i", "--user=sshaft-identity", f"-v={volume}:/var/lib/sshaft-identity")
    printed = engine("run", *once, image, "sh", "-c", SET_UP, text=keys[0].with_suffix(".pub").read_text()).stdout
    mounts = Mounts(directory / "mounts", json.loads(printed)["client_secret"])
    factor = start(engine, image, mounts)
    identity = start_identity(engine, image, factor, volume)
    return Site(engine, factor, identity, volume, *keys)
