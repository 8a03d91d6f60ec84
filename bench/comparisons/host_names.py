"""Compares look-ups of names with libnss_sshaft and without it, while the agent answers, is stopped, or is frozen.

A program named sshd asks, and one of another name. Needs root: nsswitch.conf and the module are in a mount namespace.

    .venv/bin/python -m bench.comparisons.host_names [--rounds 20]
"""

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from bench.comparisons.report import Comparison, Table, table_of
from bench.progress import Figures, Measured, Rounds, run_alone
from sshaft import messages
from sshaft_demo.place import CHECKOUT, Place

_SOURCE = Path(__file__).parents[1] / "load" / "look_up.c"
_MODULE = CHECKOUT / "native" / "libnss_sshaft.so.2"
_CALLS = 2000
_START = """set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run -o mode=755
mkdir -p /run/sshaft/host
mount --bind "$1/host" /run/sshaft/host
mount --bind "$1/passwd" /etc/passwd
mount --bind "$1/$2" /etc/nsswitch.conf
mount -t overlay overlay -o "lowerdir=$1/library:$3" "$3"
shift 3
exec "$@"
"""
WITHOUT, AGAIN, ANSWERS, STOPPED, FROZEN = (
    "without the module", "without, again", "the agent answers", "the agent is stopped", "the agent is frozen",
)  # fmt: skip
ASKS = {
    "local_sshd": ("sshd", "local", _CALLS),
    "local_other": ("other", "local", _CALLS),
    "unknown_other": ("other", "unknown", _CALLS),
    "unknown_sshd": ("sshd", "unknown", 1),
}
"""The program that asks, the name, and how often."""


@dataclass(frozen=True)
class Host:
    """A folder with the module, the programs, and the files that /etc has in the mount namespace."""

    folder: Path

    def __post_init__(self) -> None:
        accounts = [f"person{i}:x:{20000 + i}:{20000 + i}::/home/person{i}:/bin/sh\n" for i in range(100)]
        (self.folder / "passwd").write_text("".join(["root:x:0:0::/root:/bin/sh\n", *accounts, _line("local", 30000)]))
        (self.folder / WITHOUT).write_text("passwd: files\ngroup: files\n")
        (self.folder / ANSWERS).write_text("passwd: files sshaft\ngroup: files\n")
        for name in ("host", "library"):
            (self.folder / name).mkdir(mode=0o755)
        (self.folder / "library" / _MODULE.name).write_bytes(_MODULE.read_bytes())
        for program in ("sshd", "other"):
            subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-o", self.folder / program, _SOURCE], check=True)

    @property
    def socket(self) -> Path:
        return self.folder / "host" / "names.sock"

    def ask(self, sources: str, program: str, name: str, calls: int) -> float:
        """Returns the microseconds of one look-up."""
        library = next(Path("/usr/lib").glob("*/libc.so.6")).parent
        start = ["unshare", "--mount", "sh", "-c", _START, "sh", self.folder, sources, library]
        command = [*start, self.folder / program, name, str(calls)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return int(done.stdout.split()[0]) / 1000


def _line(name: str, uid: int) -> str:
    return f"{name}:x:{uid}:{uid}::/home/{name}:/bin/sh\n"


@contextmanager
def agent(path: Path, *, is_frozen: bool) -> Iterator[None]:
    """Serves the socket of the agent. A frozen agent listens, and does nothing more."""
    reserved = {"uid": "70100", "gid": "70100", "home": "/home/unknown", "shell": "/bin/sh"}

    def answer() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                connection.recv(messages.MAX_MESSAGE)
                connection.sendall(messages.encode("name", reserved))

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        thread = threading.Thread(target=answer)
        if not is_frozen:
            thread.start()
        try:
            yield
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            if not is_frozen:
                thread.join()
            path.unlink()


def run(rounds: int = 20) -> Rounds:
    if os.geteuid() != 0:
        raise SystemExit("host-names needs root: it makes mount namespaces")
    with Place() as place:
        host = Host(place.folder("names", mode=0o755))
        os.chown(host.folder, 0, 0)
        found: dict[str, dict[str, list[float]]] = {
            name: {each: [] for each in ASKS} for name in (WITHOUT, AGAIN, ANSWERS, STOPPED, FROZEN)
        }
        for number in range(rounds):
            for name, of in found.items():
                is_running = name in (ANSWERS, FROZEN)
                with agent(host.socket, is_frozen=name == FROZEN) if is_running else nullcontext():
                    sources = WITHOUT if name in (WITHOUT, AGAIN) else ANSWERS
                    for each, (program, user, calls) in ASKS.items():
                        of[each].append(host.ask(sources, program, user, calls))
            yield Measured(number + 1, rounds, summary(found))


def summary(found: dict[str, dict[str, list[float]]]) -> Figures:
    """Returns the shortest times, which other work on the machine disturbs least, and their ratios to the limit."""
    shortest = {name: {each: min(times) for each, times in of.items()} for name, of in found.items()}
    limit = shortest[WITHOUT]
    figures: Figures = {}
    for name, of in shortest.items():
        figures[name] = {"unknown_sshd": round(of.pop("unknown_sshd") / 1000, 2)}
        for each, value in of.items():
            figures[name] |= {each: round(value, 1), f"ratio_{each}": round(value / limit[each], 2)}
    return figures


def table(figures: Figures) -> Table:
    columns = {
        "local_sshd": "local account, by sshd: µs",
        "ratio_local_sshd": "ratio",
        "local_other": "local account, by others: µs",
        "ratio_local_other": "ratio",
        "unknown_other": "unknown name, by others: µs",
        "ratio_unknown_other": "ratio",
        "unknown_sshd": "unknown name, by sshd: ms",
    }
    return table_of("look-up", columns, figures)


COMPARISON = Comparison(
    "look-ups of names with the NSS module and without it, also while the agent is away",
    seconds=60,
    quick_seconds=5,
    whole=run,
    quick=lambda: run(1),
    table=table,
)


if __name__ == "__main__":
    run_alone(run, __doc__)
