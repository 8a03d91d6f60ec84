"""Compares one authentication in a fresh process: pam_permit, pam_sshaft, and libpam-python with a script.

The agent of pam_sshaft answers at once. The script imports requests, as modules in Python do, and returns success. This
comparison leaves libpam-python out where Debian's package cannot be had.

    .venv/bin/python -m bench.comparisons.host_module [--calls 400]
"""

import socket
import statistics
import subprocess
import sysconfig
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.comparisons.report import Comparison, Table, new_chart, table_of
from bench.progress import Figures, Measured, Rounds, run_alone, say
from sshaft import messages
from sshaft_demo.host import MODULE
from sshaft_demo.place import Place

CALLS = 10
"""Calls of each module in a round."""
LIMIT, OURS, SCRIPT = "pam_permit", "pam_sshaft", "libpam-python, requests"
_SOURCE = Path(__file__).parents[1] / "load" / "pam_call.c"
_SCRIPT = """\
import sys
sys.path.insert(0, {packages!r})
import requests
def pam_sm_authenticate(pamh, flags, argv):
    return pamh.PAM_SUCCESS
def pam_sm_acct_mgmt(pamh, flags, argv):
    return pamh.PAM_SUCCESS
"""


@dataclass(frozen=True)
class Call:
    wall_ms: float
    cpu_ms: float
    memory_kb: int


@dataclass(frozen=True)
class Caller:
    """Calls PAM services with one module each."""

    place: Place

    def __post_init__(self) -> None:
        subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-o", self._program, _SOURCE, "-lpam"], check=True)
        self._services.mkdir()

    @property
    def _program(self) -> Path:
        return self.place.directory / "pam_call"

    @property
    def _services(self) -> Path:
        return self.place.directory / "pam.d"

    def add(self, name: str, module: str) -> None:
        lines = [f"{phase} required {module}\n" for phase in ("auth", "account")]
        (self._services / name).write_text("".join(lines))

    def call(self, name: str) -> Call:
        """Raises `CalledProcessError` if the module does not let the person in."""
        command = [self._program, self._services, name, self.place.person]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        wall, cpu, memory = map(int, done.stdout.split())
        return Call(wall / 1e6, cpu / 1e6, memory)


@contextmanager
def agent_that_answers_at_once(path: Path) -> Iterator[None]:
    def answer() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                connection.recv(messages.MAX_MESSAGE)
                connection.sendall(messages.encode("result", {"result": "success"}))

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def libpam_python(place: Place) -> Path | None:
    """Returns the module of Debian's libpam-python, or None. It is unpacked into `place`, not installed."""
    folder = place.directory / "libpam-python"
    folder.mkdir()
    try:
        for command in (["apt-get", "-q", "download", "libpam-python"], ["sh", "-c", "dpkg -x *.deb ."]):
            subprocess.run(command, cwd=folder, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return next(folder.rglob("pam_python.so"), None)


def add_script(caller: Caller) -> bool:
    """Whether libpam-python works here."""
    place, module = caller.place, libpam_python(caller.place)
    packages = str(place.packages) if place.accounts.separate else sysconfig.get_path("purelib")
    script = place.directory / "pam_script.py"
    script.write_text(_SCRIPT.format(packages=packages))
    caller.add(SCRIPT, f"{module} {script}")
    try:
        caller.call(SCRIPT)
    except subprocess.CalledProcessError:
        say("  without libpam-python: its Debian package cannot be downloaded, or does not work here")
        return False
    return True


def run(calls: int = 400) -> Rounds:
    with Place() as place, agent_that_answers_at_once(place.directory / "agent.sock"):
        caller = Caller(place)
        module = place.directory / MODULE.name
        module.write_bytes(MODULE.read_bytes())
        caller.add(LIMIT, "pam_permit.so")
        caller.add(OURS, f"{module} socket={place.directory}/agent.sock")
        names = [LIMIT, OURS, *([SCRIPT] if add_script(caller) else [])]
        found: dict[str, list[Call]] = {name: [] for name in names}
        for number in range(calls // CALLS):
            for name in names:
                found[name] += [caller.call(name) for _ in range(CALLS)]
            yield Measured(number + 1, calls // CALLS, summary(found))


def summary(found: Mapping[str, Sequence[Call]]) -> Figures:
    figures: Figures = {}
    for name, calls in found.items():
        wall = sorted(each.wall_ms for each in calls)
        own = {
            "p50_ms": statistics.median(wall),
            "p95_ms": wall[int(len(wall) * 0.95)],
            "cpu_ms": statistics.median(each.cpu_ms for each in calls),
            "memory_mb": statistics.median(each.memory_kb for each in calls) / 1024,
        }
        limit = figures.get(LIMIT, own)
        more = {f"more_{key}": own[key] - limit[key] for key in ("p50_ms", "memory_mb")}
        figures[name] = own | more
    return {name: {key: round(value, 2) for key, value in own.items()} for name, own in figures.items()}


def table(figures: Figures) -> Table:
    columns = {
        "p50_ms": "p50, ms",
        "p95_ms": "p95, ms",
        "cpu_ms": "CPU, ms",
        "memory_mb": "memory, MB",
        "more_p50_ms": "above pam_permit: p50, ms",
        "more_memory_mb": "memory, MB more",
    }
    return table_of("module", columns, figures)


def plot(figures: Figures) -> Any:
    chart = new_chart("HorizontalBar", "One authentication, milliseconds (logarithmic)", logarithmic=True, zero=0.1)
    chart.x_labels = list(reversed(figures))
    chart.add("p50", [each["p50_ms"] for each in reversed(figures.values())])
    chart.add("p95", [each["p95_ms"] for each in reversed(figures.values())])
    return chart


COMPARISON = Comparison(
    "one authentication by PAM in a fresh process: pam_sshaft, pam_permit, libpam-python",
    seconds=90,
    quick_seconds=5,
    whole=run,
    quick=lambda: run(20),
    table=table,
    plot=plot,
)


if __name__ == "__main__":
    run_alone(run, __doc__)
