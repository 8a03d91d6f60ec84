"""Tests `sshaft demo` from the view of a new user."""

import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sshaft_demo.host import MODULE

ROOT = Path(__file__).resolve().parent.parent.parent
COMMAND = [sys.executable, "-I", "-m", "sshaft", "demo"]


def folder_of(output: str) -> Path:
    found = re.search(r"/\S+/sshaft-demo-\w+", output)
    assert found, output
    return Path(found[0])


def running_in(folder: Path) -> list[str]:
    processes = subprocess.run(["ps", "-ww", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in processes.splitlines() if str(folder) in line]


@contextmanager
def running_demo(*options: str) -> Iterator["subprocess.Popen[str]"]:
    demo = subprocess.Popen([*COMMAND, *options], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    try:
        yield demo
    finally:
        demo.terminate()
        demo.communicate(timeout=60)


def read_until_it_stays(demo: "subprocess.Popen[str]") -> str:
    """Returns what `demo` printed until it waits for a person."""
    assert demo.stdout is not None
    output = ""
    while "Ctrl-C" not in output:
        line = demo.stdout.readline()
        assert line, output
        output += line
    return output


def words(output: str) -> list[str]:
    """Removes times, numbers and the words that differ between root and an ordinary user."""
    plain = re.sub(r"/\S+/sshaft-demo-\w+", "DIR", output)
    plain = re.sub(r"each part with its own account|all parts as you \(not root\)", "WHO", plain)
    return re.sub(r"\d+", "0", plain).replace("second ago", "seconds ago").split()


def test_demo_once_passes_as_the_readme_shows_and_leaves_nothing() -> None:
    done = subprocess.run([*COMMAND, "--once"], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    shown = (ROOT / "README.md").read_text().split("```\n  0.63 s")[1].split("```")[0]
    assert words(done.stdout) == words("  0.63 s" + shown)
    folder = folder_of(done.stdout)
    assert not folder.exists()
    assert running_in(folder) == []


def test_demo_passes_under_a_strict_umask_and_an_empty_environment() -> None:
    """Finding N11."""
    done = subprocess.run(
        [*COMMAND, "--once"], capture_output=True, text=True, timeout=120, check=False, umask=0o077, env={}
    )
    assert (done.returncode, done.stderr) == (0, "")


def check_that_nothing_is_left(how: signal.Signals, processes: int, *words: str) -> None:
    """Starts a demo, which has so many processes at least, and interrupts it."""
    with running_demo(*words) as demo:
        output = read_until_it_stays(demo)
        folder = folder_of(output)
        assert len(running_in(folder)) >= processes
        demo.send_signal(how)
        output += demo.communicate(timeout=60)[0]
        assert demo.returncode == 0
    assert output.endswith("nothing is left running\n")
    assert not folder.exists()
    assert running_in(folder) == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_demo_that_is_interrupted_leaves_nothing(how: signal.Signals) -> None:
    check_that_nothing_is_left(how, 3)


def test_demo_that_is_killed_leaves_no_process() -> None:
    """Finding N14."""
    with running_demo() as demo:
        folder = folder_of(read_until_it_stays(demo))
        assert len(running_in(folder)) >= 3
        demo.kill()
        demo.communicate(timeout=60)
    end = time.monotonic() + 20
    while running := running_in(folder):
        assert time.monotonic() < end, running
        time.sleep(0.1)
    shutil.rmtree(folder)


def test_demo_that_is_interrupted_while_it_starts_leaves_nothing() -> None:
    with running_demo("--once") as demo:
        assert demo.stdout is not None
        folder = folder_of(demo.stdout.readline())
        time.sleep(0.3)
        demo.send_signal(signal.SIGTERM)
        demo.communicate(timeout=60)
        assert demo.returncode == 130
    assert not folder.exists()
    assert running_in(folder) == []


def test_demo_steps_over_taken_ports() -> None:
    with socket.socket() as first, socket.socket() as second:
        for taken in (first, second):
            taken.bind(("127.0.0.1", 0))
            taken.listen()
        ports = [first.getsockname()[1], second.getsockname()[1]]
        options = ["--once", "--port", str(ports[0]), "--identity-port", str(ports[1])]
        done = subprocess.run([*COMMAND, *options], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert f"127.0.0.1:{ports[1]} " not in done.stdout
    assert f"port {ports[0]}," not in done.stdout


needs_terminal = pytest.mark.skipif(
    not (ROOT / "sshaft_web/pages/static/vendor/xterm.mjs").exists() or not MODULE.exists(), reason="./dev setup web"
)
FREE = ["--port", "0", "--provider-port", "0", "--ssh-port", "0"]


@needs_terminal
def test_demo_of_terminals_in_the_browser_passes_and_leaves_nothing() -> None:
    if not shutil.which("chromium"):
        pytest.skip("needs chromium and chromedriver")
    done = subprocess.run([*COMMAND, "web", "--once", *FREE], capture_output=True, text=True, timeout=200, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    folder = folder_of(done.stdout)
    for said in ("0 are errors", "Chromium: the shell is there", "\n          in as ", "You are signed out"):
        assert said in done.stdout
    assert not folder.exists()
    assert running_in(folder) == []


@needs_terminal
def test_demo_of_terminals_without_chromium_says_so_and_passes(tmp_path: Path) -> None:
    programs = {each.name: each for folder in ("/usr/bin", "/usr/sbin") for each in Path(folder).iterdir()}
    for name, program in programs.items():
        if not name.startswith("chrom"):
            (tmp_path / name).symlink_to(program)
    command = [*COMMAND, "web", "--once", *FREE]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=200, check=False, env={"PATH": str(tmp_path)}
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Chromium is not installed: apt-get install chromium chromium-driver" in done.stdout
    assert "\n          in as " in done.stdout
    assert "the terminal ends (4001)" in done.stdout


@needs_terminal
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_demo_of_terminals_that_is_interrupted_leaves_nothing(how: signal.Signals) -> None:
    check_that_nothing_is_left(how, 4, "web", *FREE)


@pytest.mark.skipif(not MODULE.exists(), reason="./dev setup host")
def test_demo_of_approvals_passes_and_leaves_nothing() -> None:
    ports = ["--port", "0", "--identity-port", "0", "--provider-port", "0"]
    done = subprocess.run(
        [*COMMAND, "approval", "--once", *ports], capture_output=True, text=True, timeout=200, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "logged in as" in done.stdout
    assert running_in(folder_of(done.stdout)) == []
