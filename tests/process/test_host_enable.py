"""Tests `sshaft host enable` and `disable` on copies of the machine's files, in a mount namespace of their own."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.agent_process import PROGRAM, AgentProcess

pytestmark = pytest.mark.root
SECURITY = next(Path("/usr/lib").glob("*/security/pam_unix.so"), Path("/lib/security/pam_unix.so")).parent
FOLDERS = {
    "pam.d": Path("/etc/pam.d"), "ssh": Path("/etc/ssh"), "backups": Path("/var/backups"), "security": SECURITY,
}  # fmt: skip


class Machine:
    """Copies of the folders that the commands change. The processes of `run` see them in place of the machine's."""

    def __init__(self, directory: Path, agent: AgentProcess) -> None:
        self.directory = directory
        self._agent = agent
        for name, original in FOLDERS.items():
            shutil.copytree(original, directory / name, symlinks=True)
        (directory / "security" / "pam_sshaft.so").touch()

    def run(self, *words: str) -> tuple[int, str]:
        """Runs `sshaft host WORDS`. Returns its exit status and what it wrote."""
        mounts = [f"mount --bind {self.directory}/{name} {original}" for name, original in FOLDERS.items()]
        if words[0] == "enable":
            words = (*words, "--runtime-directory", str(self._agent.directory))
        script = " && ".join([*mounts, 'exec "$@"'])
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", *PROGRAM, "host", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout + done.stderr

    def files(self) -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in sorted(self.directory.rglob("*")) if path.is_file()}

    @property
    def stack(self) -> str:
        return (self.directory / "pam.d" / "sshd").read_text()

    def add_to_sshd(self, line: str) -> None:
        path = self.directory / "ssh" / "sshd_config.d" / "10-other.conf"
        path.write_text(f"{line}\n")


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    config = tmp_path / "config.json"
    host_login = {"issuer": "https://op.example", "client_id": "c", "allow": {"everyone": True},
                  "state_directory": str(tmp_path)}  # fmt: skip
    config.write_text(json.dumps({"host_login": host_login}))
    (tmp_path / "copies").mkdir()
    with AgentProcess(config, tmp_path / "run") as agent:
        yield Machine(tmp_path / "copies", agent)


def test_disable_restores_every_byte(machine: Machine) -> None:
    before = machine.files()
    status, said = machine.run("enable")
    assert status == 0, said
    assert "Other ways to log in that remain: keys." in said
    module, includes = machine.stack.index("pam_sshaft.so"), machine.stack.index("@include common-auth")
    assert module < includes
    assert "auth [success=done ignore=ignore default=die] pam_sshaft.so timeout=280\n" in machine.stack
    assert machine.run("disable")[0] == 0
    assert machine.files() == before


def test_second_enable_changes_only_what_is_asked(machine: Machine) -> None:
    assert machine.run("enable")[0] == 0
    once = machine.files()
    assert machine.run("enable")[0] == 0
    assert machine.files() == once
    assert machine.run("enable", "--break-glass", "admin", "--break-glass", "ops")[0] == 0
    assert machine.stack.count("pam_sshaft.so") == 1
    assert "pam_sshaft.so timeout=280 break_glass=admin,ops\n" in machine.stack


def test_change_of_the_operator_survives_disable(machine: Machine) -> None:
    assert machine.run("enable")[0] == 0
    stack = machine.directory / "pam.d" / "sshd"
    stack.write_text(stack.read_text() + "session optional pam_echo.so\n")
    assert machine.run("disable")[0] == 0
    assert machine.stack.endswith("session optional pam_echo.so\n")
    assert "sshaft" not in machine.stack


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("PubkeyAuthentication no", "nobody could log in while the agent is away"),
        ("UsePAM no", "sshd still has usepam no"),
        ("KbdInteractiveAuthentication no", "sshd still has kbdinteractiveauthentication no"),
        ("Nonsense yes", "sshd refuses its configuration"),
    ],
)
def test_refused_change_leaves_no_trace(machine: Machine, line: str, text: str) -> None:
    machine.add_to_sshd(line)
    before = machine.files()
    status, said = machine.run("enable")
    assert status != 0
    assert text in said
    assert machine.files() == before


def test_emergency_account_is_a_way_to_log_in(machine: Machine) -> None:
    machine.add_to_sshd("PubkeyAuthentication no")
    status, said = machine.run("enable", "--break-glass", "admin")
    assert status == 0
    assert "Other ways to log in that remain: admin, by the password of this host." in said


@pytest.mark.parametrize("name", ["a,b", "a b", "", "-x", "a\nauth sufficient pam_permit.so"])
def test_name_that_would_change_the_stack_is_refused(machine: Machine, name: str) -> None:
    before = machine.files()
    assert machine.run("enable", f"--break-glass={name}")[0] != 0
    assert machine.files() == before


def test_missing_module_is_named(machine: Machine) -> None:
    (machine.directory / "security" / "pam_sshaft.so").unlink()
    status, said = machine.run("enable")
    assert status == 78
    assert "make -C native install-pam" in said


def test_disable_of_what_is_not_enabled_says_so(machine: Machine) -> None:
    assert machine.run("disable") == (65, "sshaft: host login is not enabled here\n")
