"""All comparisons in one run, and what they say as tables and plots: `./dev bench [--quick] [NAME...]`.

Figures go to bench/results/NAME.json, plots to docs/images/performance-NAME.svg, tables into docs/performance.md, each
between its two marks. --quick: a look whether all of it works; writes nothing.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pygal

from bench.comparisons import calls, distance, footprint, logins, pending, scale, storm
from bench.load.trial import say

TOP = Path(__file__).parents[1]
RESULTS, IMAGES, MANUAL = TOP / "bench" / "results", TOP / "docs" / "images", TOP / "docs" / "performance.md"
STYLE = pygal.style.Style(
    background="transparent", plot_background="transparent", colors=("#2f4fb0", "#c0672b", "#5b8c5a", "#8a6fa8"),
    label_font_size=13, legend_font_size=13, value_font_size=13, major_label_font_size=13, title_font_size=15,
)  # fmt: skip
LOOK: dict[str, Any] = {"style": STYLE, "js": [], "pretty_print": True,
                        "width": 720, "height": 300, "margin": 12, "explicit_size": True,
                        "legend_at_bottom": True, "truncate_legend": -1}  # fmt: skip

Figures = dict[str, Any]
Table = list[list[object]]

BENCHES: dict[str, tuple[Callable[[], Figures], Callable[[], Figures]]] = {
    "logins": (lambda: logins.run(14, logins.PEOPLE), lambda: logins.run(1, 8)),
    "calls": (lambda: calls.run(200), lambda: calls.run(20)),
    "pending": (lambda: pending.run([1, 10_000, 1_000_000], 8), lambda: pending.run([1, 1000], 2)),
    "distance": (lambda: distance.run([0, 10, 50, 150], 48), lambda: distance.run([0, 50], 16)),
    "storm": (lambda: storm.run(1000, 20), lambda: storm.run(1000, 4)),
    "footprint": (lambda: footprint.run(1_000_000), lambda: footprint.run(20_000)),
    "scale": (lambda: scale.run([1, 2, 3], 15), lambda: scale.run([1, 2], 3)),
}
"""By name: the whole one, and the quick one."""


def table_of(name: str, found: Figures) -> Table:
    columns: tuple[str, ...]
    match name:
        case "logins":
            columns = ("a_second", "of_the_limit", "cpu_ms", "by_cpu", "agent_ms", "identity_ms")
            head = [
                "behind sshd",
                "logins a second",
                "of the limit",
                "CPU a login, ms",
                "of the limit by CPU",
                "the agent's part, ms",
                "the identity service's, ms",
            ]
        case "calls":
            columns = ("wall_ms", "more_than_true_ms", "cpu_ms", "agent_cpu_ms", "times_less_cpu_than_original")
            head = [
                "",
                "ms",
                "more than /bin/true, ms",
                "CPU, ms",
                "and the agent's, ms",
                "times less CPU than the original",
            ]
        case "pending":
            columns = ("lookup_ms", "login_ms")
            head = ["pending", "look-up, ms", "login, ms"]
        case "distance":
            columns = ("lookup_ms", "round_trips", "login_ms", "lists_a_login", "tokens_a_login")
            head = [
                "round trip, ms",
                "look-up, ms",
                "round trips a look-up",
                "login, ms",
                "lists a login",
                "tokens a login",
            ]
        case "scale":
            found = found["processes"]
            columns = tuple(found["1"])
            head = ["processes", *(column.replace("_", " ") for column in columns)]
        case "storm":
            times, strangers, cores = found["login_ms"], found["unknown_keys"], found["cores"]
            return [
                ["", "quiet", "in the storm"],
                ["a real login, ms", times["quiet"], times["storm"]],
                ["times", 1, found["times_slower"]],
                ["unknown keys answered a second", "", strangers["a_second"]],
                ["the median of these answers, ms", "", strangers["p50_ms"]],
                ["lists a second at the identity service", "", found["lists_a_second"]],
                *([f"cores that the {part} takes", "", taken] for part, taken in cores.items()),
            ]
        case _:
            memory = found["memory_mb"]
            moments = list(memory["agent"])
            rows = [
                [part, *(memory[part][moment] for moment in moments), found["cpu_ms_a_login"][part]] for part in memory
            ]
            return [["", *(f"memory {moment}, MB" for moment in moments), "CPU a login, ms"], *rows]
    return [list(head), *([key, *(each.get(column, "") for column in columns)] for key, each in found.items())]


def plot_of(name: str, found: Figures) -> Any:
    """None: the table says it all."""
    match name:
        case "logins":
            chart = pygal.HorizontalBar(title="As a part of the limit", **LOOK)
            chart.x_labels = list(reversed(found))
            chart.add("logins a second", [each["of_the_limit"] for each in reversed(found.values())])
            chart.add("by CPU a login", [each["by_cpu"] for each in reversed(found.values())])
        case "calls":
            title = "One keys call, milliseconds (logarithmic)"
            chart = pygal.HorizontalBar(title=title, logarithmic=True, zero=0.5, **LOOK)
            chart.y_labels = [0.5, 1, 2, 5, 10, 20, 50, 100, 200]
            chart.x_labels = list(reversed(found))
            chart.add("wall time", [each["wall_ms"] for each in reversed(found.values())])
            chart.add(
                "CPU, the agent's too", [each["cpu_ms"] + each["agent_cpu_ms"] for each in reversed(found.values())]
            )
        case "pending":
            chart = pygal.Bar(title="Milliseconds by number of pending challenges", range=(0, None), **LOOK)
            chart.x_labels = [f"{int(size):,}" for size in found]
            chart.add("a login", [each["login_ms"] for each in found.values()])
            chart.add("a look-up", [each["lookup_ms"] for each in found.values()])
        case "distance":
            chart = pygal.XY(title="Milliseconds by round-trip time to the identity service", **LOOK)
            chart.add("a login", [(float(far), each["login_ms"]) for far, each in found.items()])
            chart.add("a look-up", [(float(far), each["lookup_ms"]) for far, each in found.items()])
        case "footprint":
            chart = pygal.XY(title="The agent's memory by look-ups, MB", range=(0, 60), show_legend=False, **LOOK)
            chart.add("", [tuple(point) for point in found["agent_memory_by_lookups"]])
        case "scale":
            chart = pygal.Bar(title="Complete challenges a second by processes, PostgreSQL", **LOOK)
            chart.x_labels = list(found["processes"])
            for column in ("a_second", "predicted"):
                chart.add(
                    column.replace("a_second", "measured"), [each[column] for each in found["processes"].values()]
                )
        case _:
            return None
    return chart


def markdown(table: Table) -> str:
    head, *rows = [[str(cell) for cell in row] for row in table]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def machine() -> str:
    ssh = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=True).stderr.split(",")[0]
    python = platform.python_version()
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {python}, {ssh}"


def write(name: str, found: Figures) -> None:
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps({"machine": machine(), "figures": found}, indent=1) + "\n")
    chart = plot_of(name, found)
    if chart is not None:
        (IMAGES / f"performance-{name}.svg").write_bytes(chart.render())
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    filled = f"{begin}\n{markdown(table_of(name, found))}\n{end}"
    text, count = re.subn(
        f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: filled, MANUAL.read_text(), flags=re.DOTALL
    )
    if count != 1:
        raise SystemExit(f"{MANUAL}: no marks for {name}")
    MANUAL.write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHES)}; without one all")
    parser.add_argument("--quick", action="store_true", help="a look whether all of it works; writes nothing")
    options = parser.parse_args()
    unknown = set(options.names) - set(BENCHES)
    if unknown:
        parser.error(f"no such comparison: {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}")
    for name in options.names or BENCHES:
        say(f"{name}:")
        whole, quick = BENCHES[name]
        found = (quick if options.quick else whole)()
        print(f"\n{name}\n{markdown(table_of(name, found))}\n", flush=True)
        if not options.quick:
            write(name, found)


if __name__ == "__main__":
    sys.exit(main())
