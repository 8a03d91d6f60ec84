"""Tests `sshaft host enable` and `disable` where the agent has `create`, on copies of the machine's files."""

import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from fakes.first_login_machine import FirstLoginMachine
from fakes.host_machine import write_config

pytestmark = pytest.mark.root
OPTIONS = ("--require-approval", "--break-glass", "admin")


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FirstLoginMachine]:
    with FirstLoginMachine(tmp_path_factory.mktemp("machine")) as machine:
        yield machine


@pytest.fixture
def machine(one: FirstLoginMachine) -> Iterator[FirstLoginMachine]:
    """Returns a host on which nothing is enabled. What the test changes is put back."""
    with one.restored():
        yield one


@pytest.fixture
def own_machine(tmp_path: Path) -> Iterator[FirstLoginMachine]:
    """Returns a host of the test's own, for what cannot be put back."""
    with FirstLoginMachine(tmp_path) as machine:
        yield machine


def passwd(machine: FirstLoginMachine) -> str:
    """Returns the line of passwd in nsswitch.conf."""
    return next(line for line in machine.switch.read_text().splitlines() if line.startswith("passwd:"))


def test_disable_restores_every_byte(own_machine: FirstLoginMachine) -> None:
    before = own_machine.files()
    for _ in range(2):
        status, said = own_machine.enable(*OPTIONS)
        assert status == 0, said
        assert "People whose account this host does not have can log in, too" in said
        assert passwd(own_machine) == "passwd:         files systemd sshaft"
    own_machine.agent.stop()
    status, said = own_machine.disable()
    assert status == 0, said
    assert own_machine.files() == before


def test_change_of_the_operator_survives_disable(machine: FirstLoginMachine) -> None:
    assert machine.enable(*OPTIONS)[0] == 0
    machine.switch.write_text("# mine\npasswd: files sss sshaft  # of the operator\nhosts: files sshaft\n")
    assert machine.disable()[0] == 0
    assert machine.switch.read_text() == "# mine\npasswd: files sss  # of the operator\nhosts: files sshaft\n"


def test_source_that_stands_before_another_one_is_moved_behind_it(machine: FirstLoginMachine) -> None:
    machine.switch.write_text("passwd: files sshaft sss\n")
    assert machine.enable(*OPTIONS)[0] == 0
    assert machine.switch.read_text() == "passwd: files sss sshaft\n"


def test_disable_takes_out_what_an_operator_has_put_there(machine: FirstLoginMachine) -> None:
    machine.switch.write_text("passwd: files sshaft\n")
    assert machine.disable()[0] == 0
    assert machine.switch.read_text() == "passwd: files\n"
    assert machine.disable() == (65, "sshaft: host login is not enabled here\n")


def test_disable_names_the_accounts_that_stay(own_machine: FirstLoginMachine) -> None:
    assert own_machine.enable(*OPTIONS)[0] == 0
    own_machine.stop_helper()
    with closing(sqlite3.connect(own_machine.state / "accounts.sqlite")) as database:
        for uid, user, state in ((59901, "alice", "created"), (59911, "admin", "locked"), (59912, "ops", "removed"),
                                 (70000, "gone", "created")):  # fmt: skip
            values = (uid, user, "/", "/bin/sh", "", 0, state, "", "passwd")
            database.execute("INSERT INTO accounts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
        database.commit()
    own_machine.start_helper()  # its lock keeps nobody from the list
    status, said = own_machine.disable()
    assert status == 0, said
    assert (
        "These accounts stay, and need nothing of sshaft, which gave none of them a password: admin, alice.\n" in said
    )
    assert "These accounts stay locked: admin.\n" in said


def test_disable_names_the_accounts_that_only_the_agent_refused(own_machine: FirstLoginMachine) -> None:
    assert own_machine.enable(*OPTIONS)[0] == 0
    assert own_machine.run("host", "accounts", "bind", "alice", "https://op.example", "1")[0] == 0
    assert "sshaft-accounts refused lock for alice" in own_machine.run("host", "accounts", "suspend", "alice")[1]
    status, said = own_machine.disable()
    assert status == 0, said
    assert "Only the agent refused these accounts, so their keys open them again" in said
    assert said.endswith("closes one: alice.\n")


def test_disable_works_while_the_agent_is_frozen(own_machine: FirstLoginMachine) -> None:
    assert own_machine.enable(*OPTIONS)[0] == 0
    own_machine.agent.process.send_signal(signal.SIGSTOP)
    status, said = own_machine.disable()
    assert status == 0, said


def test_disable_works_without_the_record_of_accounts(own_machine: FirstLoginMachine) -> None:
    assert own_machine.enable(*OPTIONS)[0] == 0
    own_machine.stop_helper()
    (own_machine.state / "accounts.sqlite").write_bytes(b"none" * 100)
    status, said = own_machine.disable()
    assert (status, "sshaft-accounts does not say which ones there are" in said) == (0, True), said


def test_agent_without_create_gets_no_source(own_machine: FirstLoginMachine, tmp_path: Path) -> None:
    assert own_machine.enable(*OPTIONS)[0] == 0
    write_config(tmp_path)
    own_machine.agent.process.send_signal(signal.SIGHUP)
    own_machine.agent.event("config.reloaded")
    status, said = own_machine.enable()
    assert (status, "People whose account" in said) == (0, False), said
    assert passwd(own_machine) == "passwd:         files systemd"


def _write_policy(text: str) -> Callable[[FirstLoginMachine], object]:
    return lambda machine: machine.policy.write_text(text)


def _write_switch(text: str) -> Callable[[FirstLoginMachine], object]:
    return lambda machine: machine.switch.write_text(text)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda machine: machine.nss_module.unlink(), "make -C native install-nss"),
        (lambda machine: machine.nss_module.write_text("no module"), "the NSS module cannot be loaded"),
        (lambda machine: machine.nss_module.chmod(0o664), "libnss_sshaft.so.2: other accounts than root can change"),
        (lambda machine: machine.stop_helper(), "Set it up first: systemctl enable --now sshaft-accounts.socket"),
        (lambda machine: machine.policy.unlink(), "accounts.json: No such file or directory"),
        (_write_policy('{"uid": 1}'), "unknown member 'uid'"),
        (lambda machine: machine.policy.chmod(0o666), "the file and its folder must belong to root"),
        (lambda machine: machine.add_to_sshd("LoginGraceTime 0"), "LoginGraceTime is 0 s: it must not be 0"),
        (lambda machine: machine.add_to_sshd("LoginGraceTime 600"), "LoginGraceTime is 600 s"),
        (_write_switch("passwd: files [NOTFOUND=return] sss\n"), "the action [...] after files ends the search"),
        (_write_switch("passwd: sss\npasswd: files\n"), "must have one line for passwd, and has 2"),
        (_write_switch("group: files\n"), "must have one line for passwd, and has 0"),
        (lambda machine: machine.switch.chmod(0o666), "other accounts than root can change this file"),
    ],
)  # fmt: skip
def test_host_that_first_logins_do_not_fit_is_refused(
    machine: FirstLoginMachine, change: Callable[[FirstLoginMachine], object], text: str
) -> None:
    change(machine)
    before = machine.files()
    status, said = machine.enable(*OPTIONS)
    assert (status, text in said) == (78, True), said
    assert machine.files() == before


def test_account_line_is_needed(machine: FirstLoginMachine) -> None:
    before = machine.files()
    status, said = machine.enable("--break-glass", "admin")
    assert (status, "host_login.create needs --require-approval" in said) == (78, True), said
    assert machine.files() == before


def test_stack_of_another_service_is_refused(tmp_path: Path) -> None:
    with FirstLoginMachine(tmp_path, create={"pam_file": "/etc/pam.d/login"}) as machine:
        status, said = machine.enable(*OPTIONS)
        assert (status, "pam_file is /etc/pam.d/login, and sshd uses /etc/pam.d/sshd" in said) == (78, True), said


def test_file_of_authselect_is_left_to_authselect(own_machine: FirstLoginMachine) -> None:
    managed = own_machine.root / "etc" / "authselect" / "nsswitch.conf"
    managed.parent.mkdir()
    own_machine.switch.rename(managed)
    own_machine.switch.symlink_to("authselect/nsswitch.conf")
    status, said = own_machine.enable(*OPTIONS)
    assert (status, "/etc/nsswitch.conf is written by authselect" in said) == (78, True), said
    managed.write_text("passwd: files sshaft\n")  # by a profile of the operator
    assert own_machine.enable(*OPTIONS)[0] == 0
    assert own_machine.disable()[0] == 0
    assert managed.read_text() == "passwd: files sshaft\n"
