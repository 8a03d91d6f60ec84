"""Tests which program listens at sshd's port: on this machine, and on hosts in a folder."""

import socket
from pathlib import Path

import pytest

from sshaft_doctor import listening
from sshaft_doctor.effective import Effective
from sshaft_doctor.findings import Severity
from sshaft_doctor.listening import Listener

OWN_FILE = "/etc/ssh/sshaft_sshd_config"
HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
LINE = (
    "   0: 00000000:08AE 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0\n"  # port 2222
)


def host(root: Path, name: str = "sshd", cgroup: str = "0::/system.slice/sshaft-sshd.service\n") -> Path:
    """Makes a booted host whose process 42 listens at port 2222."""
    process = root / "proc" / "42"
    (process / "fd").mkdir(parents=True)
    (process / "fd" / "3").symlink_to("socket:[4711]")
    (process / "comm").write_text(f"{name}\n")
    (process / "cgroup").write_text(cgroup)
    (root / "proc/net").mkdir()
    (root / "proc/net/tcp").write_text(HEAD + LINE)
    (root / "run/systemd/system").mkdir(parents=True)
    return root


def settings(**values: str | tuple[str, ...]) -> Effective:
    return Effective({k: (v,) if isinstance(v, str) else v for k, v in values.items()}, OWN_FILE)


def test_program_of_a_port_is_found_on_this_machine() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        found = listening.find(port)
        assert found is not None
        assert found.name == Path("/proc/self/comm").read_text().strip()
    assert listening.find(port) is None


def test_sshd_that_does_not_run_is_an_error_with_the_command_that_starts_it(tmp_path: Path) -> None:
    """Finding N6 (U5): after a reboot sshd was gone, and the doctor found no error."""
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    (found,) = listening.examine(settings(port="2222"), tmp_path)
    assert (found.check, found.severity) == ("sshd.runs", Severity.ERROR)
    assert found.remedy == "systemctl enable --now sshaft-sshd"


def test_sshd_that_was_started_by_hand_is_a_warning(tmp_path: Path) -> None:
    """Finding N6 (U5)."""
    root = host(tmp_path, cgroup="0::/user.slice/user-0.slice/session-3.scope\n")
    (found,) = listening.examine(settings(port="2222"), root)
    assert (found.severity, found.remedy) == (Severity.WARNING, "systemctl enable --now sshaft-sshd")
    assert "by hand" in found.what


def test_other_program_at_the_port_is_an_error(tmp_path: Path) -> None:
    (found,) = listening.examine(settings(port="2222"), host(tmp_path, "nginx"))
    assert (found.severity, found.where) == (Severity.ERROR, "port 2222")
    assert found.what.startswith("nginx listens at port 2222")


@pytest.mark.skipif(Path("/run/systemd/system").exists(), reason="systemd of this machine would be asked")
def test_sshd_of_a_unit_is_found_with_port_and_unit(tmp_path: Path) -> None:
    assert listening.find(2222, host(tmp_path)) == Listener("sshd", "sshaft-sshd.service")


def test_sshd_of_a_container_needs_no_unit(tmp_path: Path) -> None:
    root = host(tmp_path, cgroup="0::/\n")
    (root / "run/systemd/system").rmdir()
    (found,) = listening.examine(settings(port="2222"), root)
    assert (found.severity, found.what) == (Severity.OK, "sshd listens at port 2222")


def test_port_is_known_to_an_ordinary_user_and_its_program_is_not(tmp_path: Path) -> None:
    root = host(tmp_path)
    (root / "proc/42/fd/3").unlink()  # as if closed to this user
    (found,) = listening.examine(settings(port="2222"), root)
    assert (found.severity, found.what) == (Severity.OK, "a program listens at port 2222")


@pytest.mark.parametrize(
    ("values", "ports"),
    [
        ({}, [22]),
        ({"port": ("22", "2222")}, [22, 2222]),
        ({"port": "22", "listenaddress": ("0.0.0.0:2201", "[::]:2201", "192.0.2.1:2202 rdomain x")}, [2201, 2202]),
        ({"port": "2222", "listenaddress": "192.0.2.1"}, [2222]),
    ],
)  # fmt: skip
def test_ports_are_those_of_the_addresses_or_of_port(values: dict[str, str], ports: list[int]) -> None:
    assert listening.ports(settings(**values)) == ports


def test_systemd_that_listens_for_sshd_is_right(tmp_path: Path) -> None:
    root = host(tmp_path, "systemd", "0::/init.scope\n")
    (root / "proc/42").rename(root / "proc/1")
    (found,) = listening.examine(settings(port="2222"), root)
    assert found.severity == Severity.OK
