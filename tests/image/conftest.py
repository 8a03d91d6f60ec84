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
from image.container_engine import Engine, private_engine, running_engine
from image.containers import CHECKOUT, SUITE, Checkout, Factor, Mounts, Site, StartFactor, start_identity
from image.containers import start_factor as start
from image.debian import UnavailableError, base_tar, need_root, skipping

BASE = f"debian:{SUITE}-slim"
IMAGE = "sshaft:tests"
CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")


# --- the engine and the image


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    with skipping():
        need_root()
        running = running_engine()
        if running is not None:
            _have_base(running)
            yield running
            running.clean()
            return
        base = base_tar(SUITE)
        with private_engine() as private:
            private("import", "-c", 'CMD ["bash"]', base, BASE)
            yield private
            private.clean()


def _have_base(engine: Engine) -> None:
    if engine("image", "inspect", BASE, check=False).returncode == 0:
        return
    pulled = engine("pull", BASE, check=False)
    if pulled.returncode != 0:
        raise UnavailableError(f"the engine that runs here can't pull {BASE}: {pulled.stderr.strip()[-300:]}")


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
def image(engine: Engine, checkout: Checkout, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Builds the image and returns its name. Build secrets give pip and npm the host's certificates and registries."""
    secrets = tmp_path_factory.mktemp("secrets")
    pip_conf, npmrc = "[global]\n", ""
    if CA_BUNDLE.exists():
        pip_conf += "cert = /run/secrets/ca_crt\n"
        npmrc += "cafile=/run/secrets/ca_crt\n"
        shutil.copy(CA_BUNDLE, secrets / "ca_crt")
    if index := os.environ.get("PIP_INDEX_URL"):
        pip_conf += f"index-url = {index}\n"
    lower = os.environ.get("npm_config_registry")  # noqa: SIM112 - npm's own name
    if registry := os.environ.get("NPM_CONFIG_REGISTRY") or lower:
        npmrc += f"registry={registry}\n"
    (secrets / "pip_conf").write_text(pip_conf)
    (secrets / "npmrc").write_text(npmrc)
    options = [f"--secret=id={path.name},src={path}" for path in secrets.iterdir()]
    if SUITE != "trixie":
        options.append(f"--build-arg=BASE=docker.io/library/{BASE}")
    engine("build", *options, "-t", IMAGE, checkout.directory, timeout=600)
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
