"""Tests `sshaft host enable` and `disable` on copies of the machine's files, in a mount namespace of their own."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakes.agent_process import AgentProcess
from fakes.host_machine import HostMachine, trusted_folder, write_config

from sshaft_demo.host import MODULE

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    folder = tmp_path_factory.mktemp("agent")
    with (
        trusted_folder() as trusted,
        AgentProcess(write_config(folder), trusted / "run", notify=folder / "notify") as agent,
    ):
        yield agent


@pytest.fixture
def machine(tmp_path: Path, agent: AgentProcess) -> HostMachine:
    (tmp_path / "copies").mkdir()
    return HostMachine(tmp_path / "copies", agent.directory, agent.config)


@pytest.fixture
def line(machine: HostMachine) -> str:
    """Returns the auth line that `enable` writes without options."""
    socket = machine.runtime / "host" / "agent.sock"
    return f"auth [success=done ignore=ignore default=die] pam_sshaft.so socket={socket} timeout=280"


def test_disable_restores_every_byte(machine: HostMachine, line: str) -> None:
    before = machine.files()
    status, said = machine.enable()
    assert status == 0, said
    assert "Ways to log in that need no agent: keys." in said
    module, includes = machine.stack.index("pam_sshaft.so"), machine.stack.index("@include common-auth")
    assert module < includes
    assert f"{line}\n" in machine.stack
    assert machine.disable()[0] == 0
    assert machine.files() == before


def test_second_enable_changes_only_what_is_asked(machine: HostMachine, line: str) -> None:
    assert machine.enable()[0] == 0
    once = machine.files()
    assert machine.enable()[0] == 0
    assert machine.files() == once
    assert machine.enable("--break-glass", "admin", "--break-glass", "ops")[0] == 0
    assert machine.stack.count("pam_sshaft.so") == 2  # auth and session
    assert f"{line} break_glass=admin,ops\n" in machine.stack
    assert machine.enable()[0] == 0
    assert machine.files() == once


def test_change_of_the_operator_survives_disable(machine: HostMachine) -> None:
    assert machine.enable()[0] == 0
    stack = machine.directory / "pam.d" / "sshd"
    stack.write_text(stack.read_text() + "session optional pam_echo.so\n")
    assert machine.disable()[0] == 0
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
def test_refused_change_leaves_no_trace(machine: HostMachine, line: str, text: str) -> None:
    machine.add_to_sshd(line)
    before = machine.files()
    status, said = machine.enable()
    assert status != 0
    assert text in said
    assert machine.files() == before


def test_emergency_account_is_a_way_to_log_in(machine: HostMachine) -> None:
    machine.add_to_sshd("PubkeyAuthentication no")
    status, said = machine.enable("--break-glass", "admin")
    assert status == 0
    assert "Ways to log in that need no agent: admin, by the password of this host." in said


def test_emergency_account_that_cannot_log_in_is_refused(machine: HostMachine) -> None:
    before = machine.files()
    status, said = machine.enable("--break-glass", "amdin")
    assert (status, "this host has no account 'amdin'" in said) == (78, True)
    machine.add_to_sshd("PubkeyAuthentication no")
    status, said = machine.enable("--break-glass", "locked")
    assert (status, "nobody could log in while the agent is away" in said) == (78, True)
    machine.add_to_sshd()
    (machine.directory / "ssh" / "sshd_config.d" / "10-other.conf").unlink()
    assert machine.files() == before


@pytest.mark.parametrize("name", ["a,b", "a b", "", "-x", "a\nauth sufficient pam_permit.so"])
def test_name_that_would_change_the_stack_is_refused(machine: HostMachine, name: str) -> None:
    before = machine.files()
    assert machine.enable(f"--break-glass={name}")[0] != 0
    assert machine.files() == before


def test_missing_module_is_named(machine: HostMachine) -> None:
    (machine.directory / "security" / "pam_sshaft.so").unlink()
    status, said = machine.enable()
    assert status == 78
    assert "make -C native install-pam" in said


def test_question_of_enable_shows_no_sentence_for_a_person_who_logs_in(machine: HostMachine) -> None:
    status, said = machine.enable()
    assert status == 0, said
    assert "Nobody has been approved" not in said


def test_missing_stack_is_named(machine: HostMachine) -> None:
    machine.stack_file.unlink()
    status, said = machine.enable()
    assert (status, "/etc/pam.d/sshd: No such file or directory" in said) == (78, True)


def test_disable_of_what_is_not_enabled_says_so(machine: HostMachine) -> None:
    assert machine.disable() == (65, "sshaft: host login is not enabled here\n")


def test_agent_that_the_module_cannot_ask_is_refused(machine: HostMachine, tmp_path: Path) -> None:
    """Anybody may write to /tmp, so the module trusts no socket there."""
    before = machine.files()
    with AgentProcess(write_config(tmp_path), tmp_path / "run") as other:
        status, said = machine.run("host", "enable", "--runtime-directory", other.directory)
    assert status == 78
    assert "the agent gives no answer" in said
    assert "another account can change a folder of this path" in said
    machine.module.write_text("no module")
    status, said = machine.enable()
    assert (status, "the module cannot be loaded" in said) == (78, True)
    shutil.copyfile(MODULE, machine.module)
    assert machine.files() == before


def test_symbolic_link_stays_a_link(machine: HostMachine) -> None:
    target = machine.directory / "pam.d" / "managed-sshd"
    machine.stack_file.rename(target)
    machine.stack_file.symlink_to("managed-sshd")
    before = target.read_bytes()
    assert machine.enable()[0] == 0
    assert machine.stack_file.is_symlink()
    assert "pam_sshaft.so" in target.read_text()
    assert machine.disable()[0] == 0
    assert target.read_bytes() == before
    target.chmod(0o666)
    status, said = machine.enable()
    assert (status, "other accounts than root can change this file" in said) == (78, True)
    assert target.read_bytes() == before


def test_owner_mode_and_attributes_are_kept(machine: HostMachine) -> None:
    machine.stack_file.chmod(0o640)
    os.chown(machine.stack_file, 0, 42)
    try:
        os.setxattr(machine.stack_file, "user.label", b"x")
    except OSError:
        pytest.skip("this file system has no attributes of users")
    for change in (machine.enable, machine.disable):
        assert change()[0] == 0
        kept = machine.stack_file.stat()
        assert (kept.st_mode & 0o7777, kept.st_uid, kept.st_gid) == (0o640, 0, 42)
        assert os.getxattr(machine.stack_file, "user.label") == b"x"


def test_bytes_of_others_are_kept(machine: HostMachine) -> None:
    before = machine.stack_file.read_bytes().replace(b"\n", b"\r\n") + b"# caf\xe9 \r\n# no end"
    machine.stack_file.write_bytes(before)
    assert machine.enable()[0] == 0
    assert machine.stack_file.read_bytes() != before
    assert machine.disable()[0] == 0
    assert machine.stack_file.read_bytes() == before


def test_configuration_that_does_not_read_the_folder_is_told(machine: HostMachine) -> None:
    main = machine.directory / "ssh" / "sshd_config"
    main.write_text("KbdInteractiveAuthentication no\nUsePAM yes\n")
    before = machine.files()
    status, said = machine.enable()
    assert status == 78
    assert "sshd does not read /etc/ssh/sshd_config.d/30-sshaft.conf: write this line at the top of" in said
    assert machine.files() == before
    main.write_text("KbdInteractiveAuthentication yes\nUsePAM yes\n")
    assert machine.enable()[0] == 0
    assert "timeout=100" in machine.stack  # sshd's own LoginGraceTime is 120
    assert machine.disable()[0] == 0
    shutil.rmtree(machine.directory / "ssh" / "sshd_config.d")
    main.write_text("KbdInteractiveAuthentication no\nUsePAM yes\n")
    assert "make the folder /etc/ssh/sshd_config.d, and write this line" in machine.enable()[1]
    main.write_text("KbdInteractiveAuthentication yes\nUsePAM yes\n")
    assert machine.enable()[0] == 0
    assert machine.disable()[0] == 0


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (["AuthenticationMethods publickey"], "add keyboard-interactive:pam to one of its lists"),
        (["AuthenticationMethods publickey,keyboard-interactive:pam"], "nobody could log in while the agent is away"),
        (["LoginGraceTime 30"], "LoginGraceTime is 30 s, too short for a browser"),
        (["PermitRootLogin yes", "PasswordAuthentication no"], "root could log in by its password from now on"),
        (
            ["PasswordAuthentication no", "Match Address 10.0.0.0/8", "PermitRootLogin yes"],
            "PermitRootLogin is yes in a Match block of /etc/ssh/sshd_config.d/10-other.conf",
        ),
    ],
)
def test_setting_that_host_login_does_not_fit_is_refused(machine: HostMachine, lines: list[str], text: str) -> None:
    machine.add_to_sshd(*lines)
    before = machine.files()
    status, said = machine.enable()
    assert (status, text in said) == (78, True), said
    assert machine.files() == before


def test_settings_of_the_operator_stay(machine: HostMachine) -> None:
    machine.add_to_sshd("LoginGraceTime 120", "MaxStartups 100:30:500", "PermitRootLogin yes",
                        "AuthenticationMethods publickey,keyboard-interactive publickey,gssapi-with-mic",
                        "GSSAPIAuthentication yes")  # fmt: skip
    status, said = machine.enable("--break-glass", "root")
    assert status == 0, said
    assert "timeout=100 break_glass=root\n" in machine.stack
    assert "Ways to log in that need no agent: keys and Kerberos" in said
    own = (machine.directory / "ssh" / "sshd_config.d" / "30-sshaft.conf").read_text()
    assert "MaxStartups" not in own


def test_more_logins_may_wait_than_by_default(machine: HostMachine) -> None:
    for _ in range(2):
        assert machine.enable()[0] == 0
        own = (machine.directory / "ssh" / "sshd_config.d" / "30-sshaft.conf").read_text()
        assert own.endswith("MaxStartups 50:30:200\n")


@pytest.mark.parametrize(
    "change",
    [
        lambda stack: stack.replace("# sshaft: end\n", ""),
        lambda stack: stack.replace("# sshaft: begin", "# begin"),
        lambda stack: stack + "auth required pam_sshaft.so\n",
    ],
    ids=["no end", "no begin", "another line"],
)
def test_change_of_our_own_lines_is_not_guessed_at(machine: HostMachine, change: Callable[[str], str]) -> None:
    assert machine.enable()[0] == 0
    machine.stack_file.write_text(change(machine.stack))
    before = machine.files()
    for command in (machine.enable, machine.disable):
        status, said = command()
        assert (status, "take it out by hand: auth " in said) == (78, True)
    assert machine.files() == before


def test_marks_that_an_editor_has_saved_with_other_line_ends_still_count(machine: HostMachine) -> None:
    before = machine.stack
    assert machine.enable()[0] == 0
    machine.stack_file.write_bytes(machine.stack_file.read_bytes().replace(b"\n", b"\r\n"))
    assert machine.disable()[0] == 0
    assert machine.stack == before


def test_required_approval_closes_accounts_to_keys(machine: HostMachine) -> None:
    socket = machine.runtime / "host" / "agent.sock"
    keys = machine.directory / "Keys-of-root"
    machine.add_to_sshd(f"AuthorizedKeysFile {machine.directory}/Keys-of-%u")
    status, said = machine.enable("--require-approval")
    assert (status, "nobody could log in while the agent is away" in said) == (78, True)
    keys.write_text("ssh-ed25519 AAAA")
    status, said = machine.enable("--require-approval")
    assert status == 0, said
    assert "Ways to log in that need no agent: root, by keys." in said
    assert "This holds for accounts of\nservices, too: name them by --break-glass." in said
    rule = f"account [success=ok ignore=ignore default=bad] pam_sshaft.so socket={socket}"
    assert machine.stack.index(rule) < machine.stack.index("account    required     pam_nologin.so")
    machine.add_to_sshd("PermitRootLogin no")
    status, said = machine.enable("--require-approval")
    assert (status, "nobody could log in while the agent is away" in said) == (78, True)
    status, said = machine.enable("--require-approval", "--break-glass", "admin")
    assert (status, f"{rule} break_glass=admin\n" in machine.stack) == (0, True)
    assert "need no agent: admin, by keys; admin, by the password of this host." in said
    assert machine.enable("--break-glass", "admin")[0] == 0
    assert "\naccount [success" not in machine.stack
