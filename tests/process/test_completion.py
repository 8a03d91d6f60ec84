"""Tests the completion of `sshaft` in real shells: the files of the package, a terminal, and the Tab key."""

import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

from sshaft.command_line import cli
from sshaft_demo.host import Terminal

TOP = Path(__file__).parents[2]
FILES = {"bash": "bash/sshaft", "zsh": "zsh/_sshaft", "fish": "fish/sshaft.fish"}
START = {
    "bash": "PS1='ready> '\nsource {file}\n",
    "zsh": "PS1='ready> '\nautoload -U compinit && compinit -u -d {home}/dump\nsource {file}\n",
    "fish": "function fish_prompt; echo 'ready> '; end\nset -U fish_greeting\nsource {file}\n",
}
Press = Callable[[str, str], str]


@pytest.mark.parametrize("shell", [BashComplete, ZshComplete, FishComplete], ids=lambda each: each.name)
def test_files_are_those_of_this_click(shell: type[ShellComplete]) -> None:
    source = shell(cli, {}, "sshaft", "_SSHAFT_COMPLETE").source()
    assert (TOP / "completions" / FILES[shell.name]).read_text().strip() == source.strip()


@pytest.fixture(params=FILES)
def press(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Press]:
    """A function that types words and the Tab key, and returns what the shell shows until some text."""
    name = request.param
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"needs {name}: apt-get install {name}")
    command = tmp_path / "bin/sshaft"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nPYTHONPATH={TOP} exec {sys.executable} -m sshaft "$@"\n')
    command.chmod(0o755)
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/config").write_text("Host web1.example.org *.example.net\n  Port 2222\nhost db1\n")
    start = tmp_path / {"bash": "rc", "zsh": ".zshrc", "fish": "rc"}[name]
    start.write_text(START[name].format(file=TOP / "completions" / FILES[name], home=tmp_path))
    words = {"bash": ["--noprofile", "--rcfile", str(start), "-i"], "zsh": ["-d", "-i"],
             "fish": ["--no-config", "-i", "-C", f"source {start}"]}[name]  # fmt: skip
    variables = [f"HOME={tmp_path}", f"ZDOTDIR={tmp_path}", f"PATH={command.parent}:/usr/bin:/bin"]
    terminal = Terminal(["env", "-C", str(tmp_path), *variables, program, *words])
    assert "ready>" in terminal.wait_for("ready>")

    def press_tab(typed: str, awaited: str) -> str:
        terminal.type(f"{typed}\t")
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.wait_for(awaited))

    yield press_tab
    terminal.kill()


def test_tab_completes_a_command(press: Press) -> None:
    """Finding U21: completion was not mentioned."""
    assert "identity" in press("sshaft iden", "identity")


def test_tab_completes_a_command_below(press: Press) -> None:
    assert "signing-key" in press("sshaft identity sig", "signing-key")


def test_tab_completes_an_option_of_a_face(press: Press) -> None:
    assert "--pairwise" in press("sshaft identity client add --pair", "--pairwise")


def test_tab_completes_a_file_of_an_option(press: Press, tmp_path: Path) -> None:
    (tmp_path / "factor.json").touch()
    assert "factor.json" in press("sshaft doctor --config fact", "factor.json")


def test_tab_completes_words_of_the_client(press: Press) -> None:
    assert "web1.example.org" in press("sshaft ssh we", "web1.example.org")


def test_tab_completes_options_and_files_of_the_client(press: Press, tmp_path: Path) -> None:
    (tmp_path / "my-token").touch()
    shown = press("sshaft ssh --token-f", "--token-file")
    assert "--token-file" in shown
    assert "my-token" in press(" my-t" if shown.endswith("file") else "my-t", "my-token")
