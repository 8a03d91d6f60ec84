"""Tests the content of the image."""

import io
import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from image.containers import CHECKOUT, Checkout, Site

import sshaft
from bench.load.container_engine import Engine

ACCOUNTS = {"sshaft": 480, "_sshaft-keys": 481, "mfa": 482, "sshaft-identity": 483, "sshaft-web": 484}


@pytest.fixture(scope="module")
def saved(engine: Engine, image: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "image.tar"
    engine("save", "-o", path, image)
    return path


def files(saved: Path) -> Iterator[tuple[str, bytes]]:
    """Yields path and content of every file of every layer, even of deleted files, and the image's metadata."""
    with tarfile.open(saved) as outer:
        for part in outer:
            content = outer.extractfile(part) if part.isfile() else None
            if content is None:
                continue
            data = content.read()
            yield part.name, data
            if data[257:262] != b"ustar":
                continue
            with tarfile.open(fileobj=io.BytesIO(data)) as layer:
                for member in layer:
                    inner = layer.extractfile(member) if member.isreg() else None
                    yield f"/{member.name}", inner.read() if inner else b""


def test_no_secret_is_in_any_layer(saved: Path, checkout: Checkout, site: Site) -> None:
    host_keys = [path for path, _ in files(saved) if re.search(r"/ssh_host_.*_key", path)]
    key_files = [
        path for path, data in files(saved) if data.startswith(b"-----BEGIN") and b"PRIVATE KEY-----" in data[:99]
    ]
    secrets = [checkout.secret.encode(), site.factor.mounts.secret.encode()]
    holders = [path for path, data in files(saved) if any(secret in data for secret in secrets)]
    assert (host_keys, key_files, holders) == ([], [], [])


def test_no_build_secret_is_in_any_layer(saved: Path) -> None:
    left = [path for path, data in files(saved) if re.search(r"/(pip\.conf|\.npmrc|ca_crt)$", path) and data]
    assert left == []


def test_no_secret_is_in_the_metadata_of_the_image(engine: Engine, image: str, checkout: Checkout, site: Site) -> None:
    told = engine("history", "--no-trunc", image).stdout
    told += engine("inspect", image, site.factor.container, site.identity).stdout
    assert "SSHAFT_IDENTITY_DIRECTORY" in told
    assert checkout.secret not in told
    assert site.factor.mounts.secret not in told


def test_programs_of_the_build_are_not_in_the_image(saved: Path) -> None:
    programs = r"-packages/(pip|setuptools)/__init__.py$|/bin/(gcc|make|node|npm)$"
    assert [path for path, _ in files(saved) if re.search(programs, path)] == []


def test_accounts_have_the_documented_ids_and_no_password(engine: Engine, image: str) -> None:
    text = engine("run", "--rm", image, "cat", "/etc/passwd", "/etc/shadow").stdout
    entries = [line.split(":") for line in text.splitlines()]
    passwd = {entry[0]: entry for entry in entries if len(entry) == 7}
    shadow = {entry[0]: entry[1] for entry in entries if len(entry) == 9}
    manual = (CHECKOUT / "docs/container.md").read_text()
    for name, uid in ACCOUNTS.items():
        assert passwd[name][2:4] == [str(uid)] * 2
        assert shadow[name] == "*"
        assert f"| `{name}` | {uid} |" in manual
    assert passwd["mfa"][6] == "/bin/sh"
    assert [name for name, password in shadow.items() if password not in ("*", "!", "!*")] == []


def test_everything_belongs_to_root_and_no_program_gains_rights(engine: Engine, image: str) -> None:
    anybody = "-perm -2 ! -type l ! -perm -1000"
    find = f"find / -xdev ( -perm /6000 -type f -o {anybody} -o ! -uid 0 ) ! -path /proc/* ! -path /dev/*"
    found = engine("run", "--rm", image, *find.split()).stdout.split()
    assert set(found) == {"/run/sshaft", "/var/lib/sshaft", "/var/lib/sshaft-identity"}


def test_commands_have_their_names_and_sshd_trusts_them(engine: Engine, image: str) -> None:
    check = (
        "from pathlib import Path; from sshaft.launchers import unsafe_parts;"
        "print([unsafe_parts(Path(p)) for p in ('/sshaft/keys', '/sshaft/login')])"
    )
    assert engine("run", "--rm", image, "/opt/sshaft/bin/python3", "-c", check).stdout.strip() == "[[], []]"
    for name in ("keys", "login"):
        assert engine("run", "--rm", image, f"/sshaft/{name}", "--version").stdout.startswith(f"sshaft-{name} ")


def test_sshd_starts_the_native_client_and_the_python_client_is_installed(engine: Engine, image: str) -> None:
    version = engine("run", "--rm", image, "/sshaft/keys", "--version").stdout
    assert version == f"sshaft-keys {sshaft.__version__} (native)\n"
    python = engine("run", "--rm", image, "/usr/libexec/sshaft/sshaft-keys", "--version").stdout
    assert python == f"sshaft-keys {sshaft.__version__}\n"


def test_python_files_are_compiled_already(engine: Engine, image: str) -> None:
    """In a read-only container, Python would compile a missing or stale file again at every start."""
    start = ["-IS", "-v", "/usr/libexec/sshaft/sshaft-keys", "--version"]
    loaded = engine("run", "--rm", image, "/opt/sshaft/bin/python3", *start).stderr
    assert "sshaft_keys/__pycache__" in loaded
    assert re.findall(r"# (?:could not create|wrote|code object from '(?!/usr/libexec/sshaft/).*\.py').*", loaded) == []


def test_sshd_accepts_its_configuration(engine: Engine, image: str, site: Site) -> None:
    keys = f"-v={site.factor.mounts.directory}/keys:/etc/ssh/keys:ro"
    done = engine("run", "--rm", keys, image, "sshd", "-t")
    assert (done.stdout, done.stderr) == ("", "")


def test_health_check_and_port_are_declared(engine: Engine, image: str) -> None:
    (declared,) = json.loads(engine("inspect", image).stdout)
    assert declared["Config"]["Healthcheck"]["Test"] == ["CMD", "/usr/libexec/sshaft/healthcheck"]
    assert list(declared["Config"]["ExposedPorts"]) == ["2222/tcp"]


def test_bill_of_materials_names_every_package_of_the_image(engine: Engine, image: str) -> None:
    script = "import importlib.metadata as m; print(*(each.name for each in m.distributions()))"
    said = engine("run", "--rm", "--entrypoint", "/opt/sshaft/bin/python3", image, "-c", script).stdout
    installed = {re.sub("[._]", "-", name).lower() for name in said.split()} - {"sshaft"}
    bill = engine("run", "--rm", "--entrypoint", "cat", image, "/usr/share/doc/sshaft/sshaft.cdx.json").stdout
    found = {each["name"] for each in json.loads(bill)["components"]}
    assert found >= {*installed, "@xterm/xterm"}
    assert {name for name in found - installed if "xterm" not in name} == {"js-base64"}
