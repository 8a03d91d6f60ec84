"""Tests the units of systemd: how they end and reload, and that each command in them exists."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from sshaft.__main__ import main

UNITS = Path(__file__).resolve().parents[2] / "systemd"
SERVICES = sorted(UNITS.glob("*.service"))


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


def test_systemd_understands_every_line() -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("needs systemd")
    units = [*SERVICES, UNITS / "run-sshd.mount"]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, timeout=60, check=False
    )
    told = [line for line in done.stderr.splitlines() if "is not executable" not in line]  # sshaft is not installed
    assert [line for line in told if "systemd/sshaft" in line or line.startswith(("sshaft-", "run-sshd"))] == []
