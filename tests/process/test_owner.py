"""Tests that commands which root runs trust no file of the service's account, with a second uid and real processes."""

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.public_keys import ed25519

pytestmark = pytest.mark.root

SERVICE = 64804
CHECKOUT = Path(__file__).parents[2]
UNIT = ("init", "--listen", "127.0.0.1:9999")


@pytest.fixture
def area() -> Iterator[Path]:
    """Yields a folder that the account of the service can enter."""
    with tempfile.TemporaryDirectory(prefix="sshaft-test-") as folder:
        path = Path(folder)
        path.chmod(0o755)
        yield path


@pytest.fixture
def directory(area: Path) -> Path:
    """Returns the directory of a service. It belongs to another account, as `StateDirectory=` of the unit makes it."""
    path = area / "service"
    assert sshaft(path, *UNIT).returncode == 0
    for each in (path, *path.iterdir()):
        os.chown(each, SERVICE, SERVICE)
    return path


def sshaft(directory: Path, *words: str | Path, stdin: str = "", uid: int = 0) -> "subprocess.CompletedProcess[str]":
    """Runs a command of the operator as root, or as another account."""
    command = [sys.executable, "-m", "sshaft", "identity", "--directory", directory, *words]
    more = {} if uid == 0 else {"user": uid, "group": uid, "extra_groups": []}
    return subprocess.run(
        command, input=stdin, capture_output=True, text=True, check=False, cwd=CHECKOUT, timeout=60, **more
    )


def done(result: "subprocess.CompletedProcess[str]") -> str:
    assert result.returncode == 0, result.stderr
    return result.stdout


def owners(directory: Path) -> set[int]:
    return {each.stat().st_uid for each in (directory, *directory.iterdir())}


def test_init_again_as_root_keeps_owner_and_mode(directory: Path) -> None:
    """Case init_as_root, findings N1 and U4: after `init` as root the service could not read identity.json."""
    (directory / "identity.json").chmod(0o600)
    done(sshaft(directory, "init", "--lifetime", "240"))
    assert json.loads((directory / "identity.json").read_text())["lifetime"] == 240
    assert owners(directory) == {SERVICE}
    assert {stat.S_IMODE(each.stat().st_mode) for each in directory.iterdir()} == {0o600}
    assert done(sshaft(directory, "user", "list", uid=SERVICE)) == ""


def test_files_that_root_commands_make_belong_to_the_service(directory: Path) -> None:
    """Case init_as_root: SQLite's own files beside the database, too."""
    shutil.rmtree(directory)
    directory.mkdir(mode=0o700)
    os.chown(directory, SERVICE, SERVICE)
    done(sshaft(directory, *UNIT))
    done(sshaft(directory, "user", "add", "alice"))
    assert owners(directory) == {SERVICE}


# Every other command opens the directory as `user list` does.
COMMANDS = [("init",), ("user", "list"), ("serve", "--listen", "127.0.0.1:0")]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_root_follows_no_link_of_the_service(area: Path, directory: Path, command: tuple[str, ...]) -> None:
    """Finding S12: the service's account let root make and write a file anywhere."""
    target = area / "a file of root"
    (directory / "identity.db").unlink()
    (directory / "identity.db").symlink_to(target)
    refused = sshaft(directory, *command)
    assert refused.returncode != 0
    assert "Traceback" not in refused.stderr
    assert not target.exists()


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_root_opens_no_database_that_the_service_names(area: Path, directory: Path, command: tuple[str, ...]) -> None:
    """Finding S12: `database` of identity.json named a file of root."""
    path = directory / "identity.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"database": f"sqlite:///{area / 'root-file'}"}))
    assert sshaft(directory, *command).returncode != 0
    assert not (area / "root-file").exists()


def test_copy_opens_no_database_that_the_service_names(area: Path, directory: Path) -> None:
    """Finding S12: `copy` reads identity.json too."""
    secret = area / "root.db"
    done(sshaft(area / "other", *UNIT))
    (area / "other/identity.db").rename(secret)
    path = directory / "identity.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"database": f"sqlite:///{secret}"}))
    assert sshaft(directory, "copy", "--to", f"sqlite:///{directory / 'new.db'}").returncode != 0


def test_root_still_reads_and_writes_the_files_that_it_names(area: Path, directory: Path) -> None:
    """Finding S12: files on the command line are the caller's."""
    private = area / "root"
    private.mkdir(mode=0o700)
    key = private / "key.pub"
    key.write_text(ed25519("alice"))
    key.chmod(0o600)
    done(sshaft(directory, "user", "add", "alice"))
    done(sshaft(directory, "key", "add", "alice", key))
    config = private / "config.json"
    done(sshaft(directory, "client", "add", "agent", "--scope", "mfa:list", "--config-json", config))
    before = json.loads(config.read_text())["client_secret"]
    done(sshaft(directory, "client", "rotate-secret", "agent", "--write-config", config))
    assert json.loads(config.read_text())["client_secret"] != before
    saved = private / "backup.gz"
    done(sshaft(directory, "backup", saved))
    done(sshaft(directory, "restore", "--replace", "--yes", saved))
    assert "alice" in done(sshaft(directory, "user", "list"))
    assert {each.stat().st_uid for each in private.iterdir()} == {0}
    assert owners(directory) == {SERVICE}
    assert sorted(each.name for each in private.iterdir()) == ["backup.gz", "config.json", "key.pub"]


def test_root_refuses_a_directory_of_root_that_others_can_change(area: Path) -> None:
    """Finding S12: such a directory is not safe for root, and has no other owner."""
    path = area / "service"
    path.mkdir()
    path.chmod(0o775)
    refused = sshaft(path, *UNIT)
    assert refused.returncode == 78
    assert "others can change it" in refused.stderr
    assert not list(path.iterdir())


def test_root_refuses_a_file_of_the_service_in_a_directory_of_root(directory: Path) -> None:
    """Finding S12: the service's account can change such a file."""
    os.chown(directory, 0, 0)
    refused = sshaft(directory, "user", "list")
    assert refused.returncode == 78
    assert "identity.json in it does not" in refused.stderr


def test_serve_gives_root_up_for_good(directory: Path) -> None:
    """Finding S12: a service that root starts runs as the owner of its directory."""
    command = [sys.executable, "-m", "sshaft", "identity", "--directory", directory, "serve", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=CHECKOUT) as process:
        try:
            assert process.stderr
            assert "identity.ready" in next(line for line in process.stderr if "identity.ready" in line)
            status = Path(f"/proc/{process.pid}/status").read_text()
            uids = next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1:]
            groups = next(line for line in status.splitlines() if line.startswith("Groups:")).split()[1:]
            assert (set(uids), groups) == ({str(SERVICE)}, [])
        finally:
            process.terminate()
