"""Tests the units of systemd: how they end and reload, and that each command in them exists."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from sshaft.__main__ import main
from sshaft_accounts.__main__ import SOCKET

UNITS = Path(__file__).resolve().parents[2] / "systemd"
BY_SOCKET = UNITS / "sshaft-accounts.service"  # a request starts it
SERVICES = sorted(set(UNITS.glob("*.service")) - {BY_SOCKET})


def values(unit: Path, name: str) -> list[str]:
    return re.findall(rf"(?m)^{name}=(.*)$", unit.read_text())


@pytest.mark.parametrize("unit", SERVICES, ids=lambda path: path.stem)
def test_service_says_when_it_is_ready_and_a_wrong_configuration_is_not_started_again(unit: Path) -> None:
    """Finding N8: a bad identity.json was started again for ever, and `systemctl start` said 0."""
    assert values(unit, "Type") == ["notify"]
    assert values(unit, "Restart") == ["on-failure"]
    assert values(unit, "RestartPreventExitStatus") == ["255" if "sshd" in unit.stem else "78"]


@pytest.mark.parametrize("unit", SERVICES, ids=lambda path: path.stem)
def test_reload_of_a_service_first_checks_the_configuration(unit: Path) -> None:
    """Findings N9 and N13: a refused reload must not look like success."""
    check, signal = values(unit, "ExecReload")
    assert re.search(r" (check|-t)( |$)", check)
    assert signal == "/bin/kill -HUP $MAINPID"


@pytest.mark.parametrize("unit", SERVICES, ids=lambda path: path.stem)
def test_commands_of_a_service_exist(unit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for line in values(unit, "ExecStart") + values(unit, "ExecReload"):
        words = shlex.split(line)
        if "sshaft" in words:
            ours = words[words.index("sshaft") + 1 :]
            assert main([*ours, "--help"]) == 0
            options = {word for word in ours if word.startswith("--")}
            assert options <= set(re.findall(r"--[a-z-]+", capsys.readouterr().out))


def test_sshd_has_a_directory_that_the_stop_of_another_sshd_cannot_remove() -> None:
    """Finding N6 (U5): `systemctl stop ssh` removed /run/sshd, and the separate sshd had no unit."""
    assert values(UNITS / "sshaft-sshd.service", "RequiresMountsFor") == ["/run/sshd"]
    assert values(UNITS / "sshaft-sshd.service", "WantedBy") == ["multi-user.target"]
    assert values(UNITS / "run-sshd.mount", "Where") == ["/run/sshd"]


def test_root_program_of_accounts_starts_by_its_socket_which_the_stop_of_the_agent_cannot_remove() -> None:
    socket = UNITS / "sshaft-accounts.socket"
    assert values(BY_SOCKET, "Requires") == [socket.name]
    assert values(BY_SOCKET, "ExecStart") == ["/opt/sshaft/bin/python3 -I -m sshaft_accounts"]
    assert values(socket, "ListenStream") == [str(SOCKET)]
    assert values(UNITS / "sshaft-agent.service", "RuntimeDirectory") == ["sshaft"]  # /run/sshaft goes with the agent


def test_agent_with_the_api_runs_as_without_it(capsys: pytest.CaptureFixture[str]) -> None:
    """The drop-in changes one option. The command of the unit stays otherwise."""
    drop_in = UNITS / "sshaft-agent-api.conf"
    (command,) = values(UNITS / "sshaft-agent.service", "ExecStart")
    assert values(drop_in, "ExecStart") == ["", f"{command} --api-user sshaft-host-api"]
    assert values(drop_in, "SupplementaryGroups") == ["sshaft-host-api"]
    assert main(["agent", "--help"]) == 0
    assert "--api-user" in capsys.readouterr().out


def test_systemd_understands_every_line() -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("needs systemd")
    units = [*SERVICES, BY_SOCKET, UNITS / "sshaft-accounts.socket", UNITS / "run-sshd.mount"]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, timeout=60, check=False
    )
    told = [line for line in done.stderr.splitlines() if "is not executable" not in line]  # sshaft is not installed
    assert [line for line in told if "systemd/sshaft" in line or line.startswith(("sshaft-", "run-sshd"))] == []


def test_page_has_the_score_of_the_sandbox_of_the_web_server() -> None:
    page = (UNITS.parent / "docs" / "web.md").read_text()
    said = re.search(r"`systemd-analyze security sshaft-web.service` says ([\d.]+) \(systemd (\d+);", page)
    assert said
    if not shutil.which("systemd-analyze"):
        pytest.skip("needs systemd")
    analyze = ["systemd-analyze", "--no-pager"]
    version = subprocess.run([*analyze, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    if version != said[2]:
        pytest.skip(f"another systemd scores otherwise: {version}")
    unit = UNITS / "sshaft-web.service"
    done = subprocess.run(
        [*analyze, "security", "--offline=true", unit], capture_output=True, text=True, timeout=60, check=False
    )
    assert f"Overall exposure level for sshaft-web.service: {said[1]}" in done.stdout
