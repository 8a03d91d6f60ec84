"""The reports of `./dev bench`: tables of the manual, partial results, and a run that a signal stops."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.__main__ import COMPARISONS, meant
from bench.comparisons import report
from bench.comparisons.report import Comparison, markdown
from bench.progress import Measured, Rounds, measure, stop_on_signals


@pytest.fixture
def stoppable() -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    stop_on_signals()
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("name", COMPARISONS)
def test_manual_shows_the_committed_results_and_no_others(name: str) -> None:
    results = report.RESULTS / f"{name}.json"
    table = ""
    if results.exists():
        table = markdown(COMPARISONS[name].table(json.loads(results.read_text())["figures"])) + "\n"
    assert f"<!-- {name} -->\n{table}<!-- end of {name} -->" in report.MANUAL.read_text()


def test_name_before_a_hyphen_means_several_comparisons() -> None:
    assert meant("host") == ["host-logins", "host-module", "host-names", "host-pending"]
    assert meant("logins") == ["logins"]
    assert meant("log") == []


@pytest.mark.usefixtures("stoppable")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_comparison_returns_its_complete_rounds_and_cleans_up(number: signal.Signals) -> None:
    cleaned_up = False

    def rounds() -> Rounds:
        nonlocal cleaned_up
        try:
            yield Measured(1, 3, {"a": 1})
            yield Measured(2, 3, {"a": 2})
            os.kill(os.getpid(), number)
            yield Measured(3, 3, {"a": 3})
        finally:
            os.kill(os.getpid(), number)  # a second signal does not disturb the clean-up
            cleaned_up = True

    kept: list[Measured] = []
    measured, status = measure(rounds(), kept.append)
    assert (measured, status, cleaned_up) == (kept[-1], 128 + number, True)
    assert (str(measured), [each.figures["a"] for each in kept]) == ("2 of 3 rounds", [1, 2])


def test_complete_results_replace_partial_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(report, "MANUAL", tmp_path / "manual.md")
    report.MANUAL.write_text("before\n<!-- x -->\n<!-- end of x -->\nafter\n")
    unused = COMPARISONS["storm"]
    comparison = Comparison("", 1, 1, unused.whole, unused.quick, lambda figures: [["a"], [figures["a"]]])
    report.keep("x", Measured(1, 2, {"a": 1}))
    assert json.loads(report.partial_results("x").read_text())["stopped_early_after"] == "1 of 2 rounds"
    report.publish("x", comparison, Measured(2, 2, {"a": 2}))
    assert [path.name for path in report.RESULTS.iterdir()] == ["x.json"]
    assert json.loads((report.RESULTS / "x.json").read_text())["figures"] == {"a": 2}
    assert report.MANUAL.read_text() == "before\n<!-- x -->\n| a |\n| --- |\n| 2 |\n<!-- end of x -->\nafter\n"
