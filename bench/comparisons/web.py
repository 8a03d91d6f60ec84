"""Compares a terminal of `sshaft web` with plain ssh in a terminal: keys, a long output, and memory.

All of it runs on this machine: the provider, sshd with token login, `sshaft web`, and a program that does what the page
does. The host, the account and the shell are the same for both.

    .venv/bin/python -m bench.comparisons.web [--keys 200] [--megabytes 100] [--idle 50] [--rounds 3] [--page-mib 1024]

The last figures are of a real Chromium, if there is one, which shows the zeros of `--page-mib` as letters.
"""

import multiprocessing
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path

from bench.comparisons.report import Comparison, Table, table_of
from bench.load.identity_service import peak_mb, resident_mb
from bench.load.web_typist import SshTerminal, Typed, cat_mb_per_s, echo_keys, key_ms, prepare_cat
from bench.progress import Figures, Measured, Rounds, run_alone
from sshaft import openssh_version
from sshaft_demo.place import Place
from sshaft_demo.web import AUDIENCE, TARGET, WebHost
from sshaft_demo.web_browser import Browser, NoBrowserError
from sshaft_demo.web_client import TerminalPage, WebBrowser

PLAIN, OURS = "plain ssh", "sshaft web"
_PROMPT = "$ "
_AT_ONCE = 25
_PAGE_SECONDS = 900.0
_LINE = b"The quick brown fox jumps over the lazy dog, again and again, and again: 0123456789 \n"
Found = Mapping[str, Mapping[str, list[float]]]


class Trial:
    """A host, and two ways to it."""

    def __init__(self, host: WebHost, megabytes: int) -> None:
        self.host = host
        self.browser = WebBrowser(host.url).sign_in(host.place.person)
        self.file = host.place.directory / "lines"
        self.file.write_bytes(_LINE * (megabytes * 1_000_000 // len(_LINE)))
        self.file.chmod(0o644)

    @contextmanager
    def terminal(self, name: str) -> Iterator[Typed]:
        """Yields a terminal whose shell waits for the first command."""
        with closing(opened(self.browser) if name == OURS else self._ssh()) as terminal:
            terminal.wait_for(_PROMPT)
            yield terminal

    def _ssh(self) -> SshTerminal:
        command = self.host.sshd.command(self.host.place.person)
        if openssh_version.installed(Path("/usr/bin/ssh")) >= (9, 5):
            command[1:1] = ["-o", "ObscureKeystrokeTiming=no"]  # it waits up to 20 ms with each key
        terminal = SshTerminal(command)
        terminal.wait_for("Access Token:")
        terminal.type(self.host.provider.access_token(AUDIENCE).encode() + b"\n")
        return terminal

    def keys(self, count: int) -> dict[str, list[float]]:
        """Returns the milliseconds of each key, in both terminals in turn."""
        found: dict[str, list[float]] = {PLAIN: [], OURS: []}
        with self.terminal(PLAIN) as plain, self.terminal(OURS) as ours:
            for terminal in (plain, ours):
                echo_keys(terminal)
            for _ in range(count):
                found[PLAIN].append(key_ms(plain))
                found[OURS].append(key_ms(ours))
        return found

    def speed(self, name: str) -> float:
        with self.terminal(name) as terminal:
            prepare_cat(terminal, self.file)
            return cat_mb_per_s(terminal, self.file)

    def keys_beside_a_flood(self) -> list[float]:
        """Returns the milliseconds of each key in a terminal while another one shows the file."""
        times = []
        processes = multiprocessing.get_context("spawn")
        is_ready, may_begin = processes.Event(), processes.Event()
        with self.terminal(OURS) as terminal:
            echo_keys(terminal)
            arguments = (self.browser.url, self.host.place.person, self.file, is_ready, may_begin)
            flood = processes.Process(target=show_file, args=arguments)
            flood.start()  # a process of its own, so that this one measures the server and not Python's lock
            assert is_ready.wait(60)
            may_begin.set()
            while flood.is_alive():
                times.append(key_ms(terminal))
                time.sleep(0.01)
            flood.join()
            assert flood.exitcode == 0
        return times

    def idle_mb(self, count: int) -> float:
        """Returns the megabytes of the server for each terminal that nobody uses, with so many."""
        pid = self.host.web.process.pid
        with self.terminal(OURS):  # what the first terminal alone needs
            before = resident_mb(pid)
        with ExitStack() as stack:
            for number in range(count):
                if number % _AT_ONCE == 0:  # a person may not open more of them in a minute
                    browser = WebBrowser(self.host.url).sign_in(self.host.colleagues[number // _AT_ONCE])
                terminal = stack.enter_context(opened(browser))
                terminal.wait_for(_PROMPT)
            return (resident_mb(pid) - before) / count

    def page(self, mebibytes: int) -> dict[str, float]:
        """Returns how long Chromium shows so much output, and the megabytes by which the server grows meanwhile."""
        pid = self.host.web.process.pid
        try:
            browser = Browser(self.host.place.directory / "chromium")
        except NoBrowserError:
            return {}
        with browser:
            browser.sign_in(self.host.url, self.host.place.person)
            browser.open(TARGET)
            before, began = max(resident_mb(pid), peak_mb(pid)), time.monotonic()
            browser.type(f"clear; head -c {mebibytes * 1024**2} /dev/zero | tr '\\0' x; echo; echo e''nd\n")
            browser.wait_for("\nend", _PAGE_SECONDS)
            return {"page_s": round(time.monotonic() - began), "page_mb": round(peak_mb(pid) - before, 1)}


def opened(browser: WebBrowser) -> TerminalPage:
    """Returns the page of a new terminal."""
    return browser.attach(browser.open(TARGET))


def show_file(url: str, user: str, file: Path, is_ready: Event, may_begin: Event) -> None:
    """Shows the file in a terminal of its own, in another process."""
    with opened(WebBrowser(url).sign_in(user)) as terminal:
        terminal.wait_for(_PROMPT)
        prepare_cat(terminal, file)
        is_ready.set()
        may_begin.wait()
        cat_mb_per_s(terminal, file)


@contextmanager
def trial(megabytes: int, idle: int) -> Iterator[Trial]:
    limits = {"terminals_per_person": idle + 8, "terminals": idle + 8}
    with Place() as place:
        colleagues = tuple(f"colleague{number}" for number in range(-(-idle // _AT_ONCE)))
        yield Trial(WebHost(place, more={"limits": limits}, colleagues=colleagues), megabytes)


def run(keys: int = 200, megabytes: int = 100, idle: int = 50, rounds: int = 3, page_mib: int = 1024) -> Rounds:
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with trial(megabytes, idle) as both:
        for number in range(rounds):
            for name, times in both.keys(keys).items():
                found[name]["key"] += times
            for name in (PLAIN, OURS):
                found[name]["speed"].append(both.speed(name))
            found[OURS]["meanwhile"] += both.keys_beside_a_flood()
            if number == rounds - 1:
                found[OURS]["idle"].append(both.idle_mb(idle))
            figures = summary(found, idle)
            if number == rounds - 1:
                figures[OURS] |= both.page(page_mib)
            yield Measured(number + 1, rounds, figures)


def summary(found: Found, idle: int) -> Figures:
    """Returns medians of the keys, and the best speeds, which other work on the machine disturbs least."""
    figures: Figures = {}
    for name in (PLAIN, OURS):
        own, plain = found[name], found[PLAIN]
        figures[name] = {
            "key_ms": round(statistics.median(own["key"]), 2),
            "late_ms": round(statistics.quantiles(own["key"], n=20)[-1], 2),
            "more_ms": round(statistics.median(own["key"]) - statistics.median(plain["key"]), 2),
            "mb_per_s": round(max(own["speed"])),
            "times": round(max(own["speed"]) / max(plain["speed"]), 2),
        }
    beside = found[OURS]["meanwhile"]
    figures[OURS] |= {
        "meanwhile_ms": round(statistics.median(beside), 1),
        "meanwhile_late_ms": round(statistics.quantiles(beside, n=20)[-1], 1),
    }
    if found[OURS]["idle"]:
        figures[OURS] |= {"idle_mb": round(found[OURS]["idle"][0], 2), "idle": idle}
    return figures


def table(figures: Figures) -> Table:
    columns = {
        "key_ms": "key to echo: p50, ms",
        "late_ms": "p95, ms",
        "more_ms": "more than plain ssh, ms",
        "mb_per_s": "`cat`, MB/s",
        "times": "times as fast as plain ssh",
        "meanwhile_ms": "key in another terminal during `cat`: p50, ms",
        "meanwhile_late_ms": "p95 of these, ms",
        "idle": "idle terminals",
        "idle_mb": "memory of the server for each, MB",
    }
    if "page_s" in figures[OURS]:
        columns |= {"page_s": "1 GiB in Chromium, s", "page_mb": "memory of the server for it, MB"}
    return table_of("", columns, figures)


COMPARISON = Comparison(
    "a terminal of `sshaft web` beside plain ssh: keys, long outputs, memory of idle terminals",
    seconds=150,
    quick_seconds=40,
    whole=run,
    quick=lambda: run(20, 5, 10, 1, 16),
    table=table,
)


if __name__ == "__main__":
    run_alone(run, __doc__)
