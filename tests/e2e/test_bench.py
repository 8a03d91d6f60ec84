"""The comparisons of `./dev bench` work. No test depends on a measured time; some depend on a count."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sshaft_demo.host import MODULE

needs_module = pytest.mark.skipif(not MODULE.exists(), reason="native/pam_sshaft.so is not built: ./dev setup host")
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


@needs_module
def test_logins_to_a_host_are_compared() -> None:
    found = figures("host_logins", "--rounds", "1", "--logins", "4")
    assert set(found) == {"pam_permit", "pam_permit again", "pam_sshaft"}


@needs_module
def test_one_call_of_the_module_is_compared() -> None:
    found = figures("host_module", "--calls", "10")
    assert {"pam_permit", "pam_sshaft"} <= set(found)


@pytest.mark.root
@needs_module
def test_names_are_compared() -> None:
    found = figures("host_names", "--rounds", "1")
    assert {"without the module", "the agent is frozen"} <= set(found)


@needs_module
def test_logins_to_a_host_that_wait_are_polled() -> None:
    found = figures("host_pending", "--pending", "40", "--seconds", "8", "--rounds", "1", "--away", "0")
    assert found["40"]["polls_a_second"] >= 4


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of what `./dev bench` writes to, so that the tests leave the checkout as it is."""
    shutil.copytree(CHECKOUT / "bench", tmp_path / "bench", ignore=shutil.ignore_patterns("*.partial.json"))
    shutil.copytree(CHECKOUT / "docs", tmp_path / "docs")
    (tmp_path / "tests").symlink_to(CHECKOUT / "tests")
    return tmp_path


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}


@pytest.mark.parametrize(
    ("send", "number"),
    [(os.killpg, signal.SIGINT), (os.kill, signal.SIGTERM)],
    ids=["Ctrl-C in a terminal", "SIGTERM to the process"],
)
def test_run_that_is_stopped_early_keeps_its_rounds_and_changes_no_committed_result(
    copy: Path, send: Callable[[int, int], None], number: signal.Signals
) -> None:
    before = contents(copy)
    command = [sys.executable, "-m", "bench", "calls", "storm"]
    with subprocess.Popen(
        command, cwd=copy, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as run:
        assert run.stderr
        said = ""
        while "2 of 20 rounds" not in said:
            line = run.stderr.readline()
            assert line, said
            said += line
        send(run.pid, number)
        printed, rest = run.communicate(timeout=60)
    assert run.returncode == 128 + number, rest
    assert "this takes about 2 min" in said
    rounds = re.search(r"calls, stopped early after (\d+ of 20 rounds)\n\n\| command \|", printed)
    assert rounds, printed
    assert rest.endswith(
        f"stopped early: calls after {rounds[1]}\n"
        "its figures are in bench/results/calls.partial.json; "
        "bench/results/calls.json and docs/performance.md are unchanged\n"
        "not run: storm\n"
    )
    after = contents(copy)
    kept = json.loads(after.pop(copy / "bench/results/calls.partial.json"))
    assert kept["stopped_early_after"] == rounds[1]
    assert {"/bin/true", "python", "curl", "original"} <= set(kept["figures"])
    assert after == before


@needs_module
@pytest.mark.root
@pytest.mark.timeout(900)  # the first run installs motley_cue
def test_services_for_access_tokens_are_compared() -> None:
    if shutil.which("ab") is None:
        pytest.skip("needs ab: apt-get install apache2-utils")
    options = ("--requests", "20", "--tokens", "5", "--logins", "1", "--rounds", "1")
    found = figures("token_login", *options)
    assert set(found) == {"motley_cue, 2 workers", "sshaft host-api and agent", "plain ssh", "sshaft ssh"}


@needs_module
@pytest.mark.skipif(not (CHECKOUT / "sshaft_web/pages/static/vendor/xterm.mjs").exists(), reason="./dev setup web")
def test_terminal_in_the_browser_is_compared_with_plain_ssh() -> None:
    found = figures("web", "--keys", "5", "--megabytes", "1", "--idle", "2", "--rounds", "1", "--page-mib", "4")
    assert set(found) == {"plain ssh", "sshaft web"}
    assert found["sshaft web"]["idle"] == 2
    assert {"key_ms", "times", "meanwhile_ms", "idle_mb"} <= set(found["sshaft web"])
    assert ("page_mb" in found["sshaft web"]) is (shutil.which("chromium") is not None)
