"""Finds out whether sshd runs: which program listens at its port, and whether systemd starts it at boot."""

import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sshaft_doctor.effective import Effective
from sshaft_doctor.findings import Finding, error, ok, warning

CHECK = "sshd.runs"
_LISTEN = "0A"
_UNITS = {"/etc/ssh/sshaft_sshd_config": "sshaft-sshd", "/etc/ssh/sshd_config": "ssh"}


@dataclass(frozen=True)
class Listener:
    """The program behind a port. `name` and `unit` are empty if this process may not see them."""

    name: str = ""
    unit: str = ""
    by_systemd: bool = False
    """Whether systemd itself listens, and starts the program for each connection."""


def examine(settings: Effective, root: Path = Path("/")) -> list[Finding]:
    """Returns a finding about each port that sshd's settings name."""
    unit = _UNITS.get(settings.file, "")
    booted = (root / "run/systemd/system").is_dir()
    start = f"systemctl enable --now {unit}" if unit and booted else f"start sshd with {settings.file}"
    return [_judge(port, find(port, root), start, booted=booted) for port in ports(settings)]


def ports(settings: Effective) -> list[int]:
    """Returns the ports of ListenAddress, or those of Port."""
    addresses = [re.search(r":(\d+)(?:\s.*)?$", value) for value in settings.all("ListenAddress")]
    found = [found[1] for found in addresses if found] or [*settings.all("Port")] or ["22"]
    return list(dict.fromkeys(int(port) for port in found if port.isdigit()))


def _judge(port: int, listener: Listener | None, start: str, *, booted: bool) -> Finding:
    where = f"port {port}"
    if listener is None:
        return error(CHECK, f"sshd does not run: no program listens at port {port}", where, start)
    if listener.by_systemd or not listener.name:
        return ok(CHECK, f"a program listens at port {port}")
    if not listener.name.startswith("sshd"):
        what = f"{listener.name} listens at port {port}, and not sshd"
        return error(CHECK, what, where, "give one of them another port")
    if booted and not listener.unit:
        what = f"sshd at port {port} was started by hand: the next boot does not start it"
        return warning(CHECK, what, where, start)
    if booted and not _is_enabled(listener.unit):
        what = f"sshd at port {port} runs as {listener.unit}, which the next boot does not start"
        return warning(CHECK, what, where, f"systemctl enable {listener.unit}")
    by = f" ({listener.unit})" if listener.unit else ""
    return ok(CHECK, f"sshd listens at port {port}{by}")


def find(port: int, root: Path = Path("/")) -> Listener | None:
    """Returns the program that listens at this TCP port, or None."""
    inodes = {inode for number, inode in _listening(root) if number == port}
    if not inodes:
        return None
    links = {f"socket:[{inode}]" for inode in inodes}
    for process in sorted((root / "proc").glob("[0-9]*"), key=lambda path: int(path.name)):
        try:
            if any(str(fd.readlink()) in links for fd in (process / "fd").iterdir()):
                name = (process / "comm").read_text().strip()
                return Listener(
                    name, _unit((process / "cgroup").read_text()), process.name == "1" and name == "systemd"
                )
        except OSError:
            continue  # the process has ended, or belongs to another account
    return Listener()


def _listening(root: Path) -> Iterable[tuple[int, str]]:
    """Yields port and inode of each listening TCP socket (proc(5), /proc/net/tcp)."""
    for name in ("tcp", "tcp6"):
        try:
            lines = (root / "proc/net" / name).read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if len(fields) > 9 and fields[3] == _LISTEN:
                yield int(fields[1].rpartition(":")[2], 16), fields[9]


def _unit(cgroups: str) -> str:
    """Returns the service of systemd that a process belongs to (cgroups(7)), or an empty string."""
    found = re.search(r"(?m)/system\.slice/(?:\S+/)?([^/\s]+\.service)", cgroups)
    return found[1] if found else ""


def _is_enabled(unit: str) -> bool:
    try:
        return subprocess.run(["systemctl", "is-enabled", "--quiet", unit], timeout=10, check=False).returncode == 0  # noqa: S603, S607
    except (OSError, subprocess.TimeoutExpired):
        return True  # not known
