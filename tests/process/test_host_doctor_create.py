"""Tests `sshaft doctor` where the agent has `create`, on copies of the machine's files."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.first_login_machine import FirstLoginMachine
from fakes.host_machine import write_config

pytestmark = pytest.mark.root
RIGHT = ("PasswordAuthentication no", "MaxStartups 50:30:200")
Change = Callable[[FirstLoginMachine], object]


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FirstLoginMachine]:
    with FirstLoginMachine(tmp_path_factory.mktemp("machine")) as machine:
        machine.add_to_sshd(*RIGHT)
        status, said = machine.enable("--require-approval", "--break-glass", "admin")
        assert status == 0, said
        yield machine


@pytest.fixture
def machine(one: FirstLoginMachine) -> Iterator[FirstLoginMachine]:
    """Returns a host that `enable` has prepared. What the test changes is put back."""
    with one.restored():
        yield one


def told(machine: FirstLoginMachine) -> list[dict[str, str]]:
    """Returns the findings about host login, but for those about its provider, which is not there."""
    _, out = machine.run("doctor", "--json", "--config", machine.config)
    found: list[dict[str, Any]] = json.loads(out)["findings"]
    other = ("host.provider", "host.break_glass")
    return [each for each in found if each["check"].startswith("host.") and each["check"] not in other]


def test_host_that_enable_has_prepared_is_well(machine: FirstLoginMachine) -> None:
    found = told(machine)
    assert {each["severity"] for each in found} == {"ok"}, found
    assert "host.create" in [each["check"] for each in found]


def test_host_without_create_hears_nothing_of_first_logins(machine: FirstLoginMachine) -> None:
    write_config(machine.config.parent)
    assert "host.create" not in [each["check"] for each in told(machine)]


def _in(name: str, old: str, new: str) -> Change:
    """Returns a function that replaces a text in the file of this attribute."""

    def change(machine: FirstLoginMachine) -> None:
        path: Path = getattr(machine, name)
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    return change


def _policy(**members: object) -> Change:
    return lambda machine: machine.set_policy(**members)


def _sshd(line: str) -> Change:
    return lambda machine: machine.add_to_sshd(*RIGHT, line)


def _append(name: str, text: str) -> Change:
    def change(machine: FirstLoginMachine) -> None:
        with (machine.root / "etc" / name).open("a") as file:
            file.write(text)

    return change


@pytest.mark.parametrize(
    ("change", "check", "severity", "what"),
    [
        (_in("switch", " sshaft", ""), "nss", "error", "is not in the line for passwd"),
        (_in("switch", "systemd sshaft", "sshaft systemd"), "nss", "error", "sshaft is asked before systemd"),
        (_in("switch", "systemd sshaft", "systemd [NOTFOUND=return] sshaft"), "nss", "error", "never asks sshaft"),
        (lambda machine: machine.switch.chmod(0o666), "nss", "error", "is writable by"),
        (lambda machine: machine.nss_module.chmod(0o775), "nss_module", "error", "is writable by its group"),
        (lambda machine: machine.nss_module.write_text("x"), "nss_module", "error", "libc cannot load"),
        (lambda machine: machine.nss_module.unlink(), "nss_module", "error", "libc cannot load"),
        (_in("stack_file", "\naccount [success", "\n#account [success"), "create", "error", "no account line"),
        (lambda machine: machine.policy.unlink(), "accounts", "error", "accounts.json is missing"),
        (lambda machine: machine.policy.chmod(0o666), "accounts", "error", "is writable by"),
        (_policy(uid_first=80000), "accounts", "error", "accounts.json allows only 80000 to 99999"),
        (_policy(home="/srv/{user}"), "accounts", "error", "accounts.json /srv/{user}"),
        (_policy(shell="/bin/sh"), "accounts", "warning", "has the shell /bin/bash"),
        (_policy(nonsense=1), "accounts", "error", "unknown member 'nonsense'"),
        (lambda machine: machine.stop_helper(), "accounts", "error", "sshaft-accounts does not answer"),
        (_append("login.defs", "\nUID_MAX 80000\n"), "uids", "warning", "useradd takes 1000 to 80000"),
        (_append("subuid", "\nx:70000:30000\n"), "uids", "error", "0 of them are left"),
        (_sshd("LoginGraceTime 0"), "reservation", "error", "LoginGraceTime is 0 s"),
        (_sshd("LoginGraceTime 600"), "reservation", "error", "LoginGraceTime is 600 s"),
        (_sshd("AllowUsers alice"), "allowusers", "warning", "one of the 1"),
        (_sshd("AllowGroups people"), "allowgroups", "error", "refuses every first login"),
    ],
)  # fmt: skip
def test_fault_is_told_with_the_way_out(
    machine: FirstLoginMachine, change: Change, check: str, severity: str, what: str
) -> None:
    change(machine)
    found = [each for each in told(machine) if each["severity"] not in ("ok", "note")]
    own = [each for each in found if each["check"] == f"host.{check}" and what in each["what"]]
    assert [each["severity"] for each in own] == [severity], found
    assert own[0]["remedy"]
    assert own[0]["where"]
