"""Describes a comparison, and writes what it has measured: a table, a plot, and figures as JSON."""

import json
import os
import platform
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.progress import Figures, Measured, Rounds

TOP = Path(__file__).parents[2]
RESULTS, IMAGES, MANUAL = TOP / "bench" / "results", TOP / "docs" / "images", TOP / "docs" / "performance.md"

Table = list[list[object]]
"""Rows of cells; the first row is the head."""


@dataclass(frozen=True)
class Comparison:
    """A comparison of `./dev bench`. The seconds are those of two cores with no other work."""

    subject: str
    seconds: int
    quick_seconds: int
    whole: Callable[[], Rounds]
    quick: Callable[[], Rounds]
    table: Callable[[Figures], Table]
    plot: Callable[[Figures], Any] = lambda _: None


def table_of(head: str, columns: dict[str, str], figures: Figures) -> Table:
    """Returns a row for each member of `figures`. `columns` maps the keys of its cells to their heads."""
    rows = [[name, *(each.get(key, "") for key in columns)] for name, each in figures.items()]
    return [[head, *columns.values()], *rows]


def new_chart(kind: str, title: str, **options: Any) -> Any:
    """Returns an empty pygal chart of this kind, with the look that all plots have in common."""
    import pygal  # noqa: PLC0415 - its import hook warns at failing imports, which is an error in tests

    style = pygal.style.Style(
        background="transparent", plot_background="transparent", colors=("#2f4fb0", "#c0672b", "#5b8c5a", "#8a6fa8"),
        label_font_size=13, legend_font_size=13, value_font_size=13, major_label_font_size=13, title_font_size=15,
    )  # fmt: skip
    look = {"style": style, "js": [], "pretty_print": True, "width": 720, "height": 300, "margin": 12,
            "explicit_size": True, "legend_at_bottom": True, "truncate_legend": -1}  # fmt: skip
    return getattr(pygal, kind)(title=title, **look, **options)


def markdown(table: Table) -> str:
    head, *rows = [[str(cell) for cell in row] for row in table]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def partial_results(name: str) -> Path:
    return RESULTS / f"{name}.partial.json"


def keep(name: str, measured: Measured) -> None:
    """Writes the rounds of a comparison that is not complete. The committed results stay as they are."""
    _write_json(partial_results(name), measured, stopped_early_after=str(measured))


def publish(name: str, comparison: Comparison, measured: Measured) -> None:
    """Writes the figures, the plot and the manual's table of a complete comparison."""
    _write_json(RESULTS / f"{name}.json", measured)
    partial_results(name).unlink(missing_ok=True)
    chart = comparison.plot(measured.figures)
    if chart is not None:
        (IMAGES / f"performance-{name}.svg").write_bytes(chart.render())
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    filled = f"{begin}\n{markdown(comparison.table(measured.figures))}\n{end}"
    text, count = re.subn(
        f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: filled, MANUAL.read_text(), flags=re.DOTALL
    )
    if count != 1:
        raise SystemExit(f"{MANUAL}: no marks for {name}")
    MANUAL.write_text(text)


def _write_json(path: Path, measured: Measured, **more: str) -> None:
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps({"machine": _machine(), **more, "figures": measured.figures}, indent=1) + "\n")


def _machine() -> str:
    ssh = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=True).stderr.split(",")[0]
    python = platform.python_version()
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {python}, {ssh}"
