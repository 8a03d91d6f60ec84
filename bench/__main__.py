"""Runs the comparisons and reports what they measure: `./dev bench [--quick] [NAME...]`.

A complete comparison writes its figures to bench/results/NAME.json, its plot to docs/images/performance-NAME.svg, and
its table into docs/performance.md. A comparison that is stopped early changes none of these: its rounds are printed
and kept in bench/results/NAME.partial.json. --quick only tries whether everything works, and writes nothing.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial

from bench.comparisons import (
    calls,
    distance,
    footprint,
    host_logins,
    host_module,
    host_names,
    host_pending,
    image,
    logins,
    pending,
    scale,
    storm,
    token_login,
    web,
)
from bench.comparisons.report import TOP, keep, markdown, partial_results, publish
from bench.progress import Measured, duration, measure, say, stop_on_signals

COMPARISONS = {
    "logins": logins.COMPARISON,
    "calls": calls.COMPARISON,
    "pending": pending.COMPARISON,
    "distance": distance.COMPARISON,
    "storm": storm.COMPARISON,
    "footprint": footprint.COMPARISON,
    "scale": scale.COMPARISON,
    "host-logins": host_logins.COMPARISON,
    "host-module": host_module.COMPARISON,
    "host-names": host_names.COMPARISON,
    "host-pending": host_pending.COMPARISON,
    "token": token_login.COMPARISON,
    "web": web.COMPARISON,
    "image": image.COMPARISON,
}


def main() -> int:
    options = _parse()
    names = options.names or list(COMPARISONS)
    say(f"{_plan(names, quick=options.quick)}\nCtrl-C stops the run early: it reports the rounds measured so far.")
    stop_on_signals()
    for number, name in enumerate(names):
        say(f"{name}:")
        comparison = COMPARISONS[name]
        if options.quick:
            measured, status = measure(comparison.quick())
        else:
            measured, status = measure(comparison.whole(), partial(keep, name))
        if measured:
            _print(name, measured)
        if measured and measured.is_complete and not options.quick:
            publish(name, comparison, measured)
        if status:
            say(_stop_report(name, measured, names[number + 1 :], quick=options.quick))
            return status
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./dev bench",
        description=__doc__,
        epilog=_plan(list(COMPARISONS), quick=False),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="a comparison to run (default: all); host: those of host login"
    )
    parser.add_argument("--quick", action="store_true", help="only try whether everything works; write nothing")
    options = parser.parse_args()
    unknown = [name for name in options.names if not meant(name)]
    if unknown:
        parser.error(f"no such comparison: {', '.join(sorted(unknown))}; there are {', '.join(COMPARISONS)}")
    options.names = [each for name in options.names for each in meant(name)]
    return options


def meant(name: str) -> list[str]:
    """Returns the comparisons with this name, or with this name before a hyphen."""
    return [each for each in COMPARISONS if each == name or each.startswith(f"{name}-")]


def _plan(names: Sequence[str], *, quick: bool) -> str:
    """Returns one line for each comparison, with its duration on two cores, below a line with the sum."""
    chosen = {name: COMPARISONS[name] for name in names}
    seconds = {name: each.quick_seconds if quick else each.seconds for name, each in chosen.items()}
    lines = [f"  {name:<13}{duration(seconds[name]):>7}  {each.subject}" for name, each in chosen.items()]
    return "\n".join([f"On two cores this takes about {duration(sum(seconds.values()))}:", *lines])


def _print(name: str, measured: Measured) -> None:
    early = "" if measured.is_complete else f", stopped early after {measured}"
    print(f"\n{name}{early}\n\n{markdown(COMPARISONS[name].table(measured.figures))}\n", flush=True)


def _stop_report(name: str, measured: Measured | None, left: Sequence[str], *, quick: bool) -> str:
    """Returns what a run that was stopped early has kept and what it has left out."""
    lines = [f"stopped early: {name} {f'after {measured}' if measured else 'before the end of its first round'}"]
    if measured and not measured.is_complete and not quick:
        kept = partial_results(name).relative_to(TOP)
        lines.append(f"its figures are in {kept}; bench/results/{name}.json and docs/performance.md are unchanged")
    if left:
        lines.append(f"not run: {', '.join(left)}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
