"""The comparisons of `./dev bench` work; what they measure fails nothing, what they count may."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).parents[2]


def figures(name: str, *options: str) -> dict[str, Any]:
    command = [sys.executable, "-m", f"bench.comparisons.{name}", *options]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_one_call_is_compared() -> None:
    found = figures("calls", "--calls", "10")
    assert {"/bin/true", "python", "curl", "original"} <= set(found)


def test_logins_are_compared() -> None:
    found = figures("logins", "--rounds", "1", "--people", "4")
    assert {"plain", "cat", "native", "python", "stand-alone", "original", "whole"} <= set(found)


def test_warm_login_asks_for_one_list_and_no_token() -> None:
    far = figures("distance", "--round-trips", "0,40", "--logins", "16")["40"]
    assert far["lists_a_login"] <= 1
    assert far["tokens_a_login"] == 0


def test_storm_of_unknown_keys_is_a_bounded_number_of_lists() -> None:
    found = figures("storm", "--seconds", "4")
    assert found["unknown_keys"]["failed"] == 0
    assert found["lists_a_second"] < 60
