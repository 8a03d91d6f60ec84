"""Tests the operator's command: each command has help, and an error is one line and a status of sysexits.h."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import pytest

import sshaft
from sshaft import launchers
from sshaft.__main__ import CLIENT, main
from sshaft.command_line import PROGRAMS, cli
from sshaft.errors import ConfigurationError
from tools.manual import commands as manual

pytestmark = pytest.mark.slow

Capture = pytest.CaptureFixture[str]


def every_command(command: click.Command = cli, *path: str) -> Iterator[tuple[str, ...]]:
    yield path
    if command is cli:
        yield from ((name,) for name in CLIENT)
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from every_command(below, *path, name)


@pytest.mark.parametrize("path", list(every_command()), ids=" ".join)
def test_every_command_has_help(path: tuple[str, ...], capsys: Capture) -> None:
    assert main([*path, "--help"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"Usage: {' '.join(['sshaft', *path])}")
    assert err == ""
    assert all(len(line) <= 120 for line in out.splitlines())


def test_every_program_is_listed(capsys: Capture) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in (*PROGRAMS, *CLIENT, "install-commands"))


def test_version_is_printed(capsys: Capture) -> None:
    assert main(["--version"]) == 0
    assert sshaft.__version__ in capsys.readouterr().out


def test_call_without_a_command_prints_the_help_and_is_wrong_use(capsys: Capture) -> None:
    assert main([]) == 64
    out, err = capsys.readouterr()
    assert out == ""
    assert "Usage: sshaft" in err


def test_argument_that_is_not_utf_8_is_one_line_of_error(tmp_path: Path) -> None:
    directory = ["identity", "--directory", str(tmp_path)]
    assert main([*directory, "init"]) == 0
    for odd in (["user", "add", b"\xff"], ["key", "list", b"\xff"], ["init", "--database", b"sqlite:////tmp/\xff/x"]):
        done = run_as_program([*directory, *odd])
        assert (done.returncode, done.stderr.count(b"\n")) in ((64, 1), (65, 1), (69, 1))
        assert b"fault" not in done.stderr
    assert main([*directory, "user", "list"]) == 0


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_full_disk_is_one_line_of_error(unbuffered: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    with Path("/dev/full").open("wb") as full:
        done = run_as_program(["--help"], stdout=full)
    assert (done.returncode, done.stderr) == (69, b"sshaft: the output cannot be written: no space left on device\n")


def run_as_program(
    arguments: Sequence[str | bytes], stdout: Any = subprocess.PIPE
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "sshaft", *arguments], stdout=stdout, stderr=subprocess.PIPE, check=False, timeout=60
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["--unknown"],
        ["-x"],
        ["agnet"],
        ["a\nb\x1b[2J"],
        ["--a\nb\x1b[2J"],
        ["agent", "--unknown"],
        ["agent", "statsu"],
        ["agent"],
        ["agent", "--config"],
        ["agent", "--config", "x", "--log-level", "loud"],
        ["agent", "--log-level=a\nb\x1b[2J", "--config", "x"],
        ["agent", "status", "extra\n\x1b[2J"],
        ["install-commands"],
        ["install-commands", "/a", "/b"],
        ["identity", "--unknown"],
        ["demo", "--unknown"],
        ["scp", "--unknown"],
        ["info", "--a\nb\x1b[2J"],
        ["sftp", "--token", "secret"],
    ],
    ids=ascii,
)
def test_wrong_use_is_one_line_and_status_64(arguments: list[str], capsys: Capture) -> None:
    assert main(arguments) == 64
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("sshaft: ")
    assert err.count("\n") == 1
    assert err[:-1].isprintable()
    assert "--help" in err


def test_mistyped_word_gets_a_question_about_the_right_one(capsys: Capture) -> None:
    """Finding U29: did-you-mean came only sometimes."""
    commands = [path for path in every_command() if path]
    options = [
        (*each.path[1:], option.opts[-1])
        for each in manual.every_command()
        for option in each.command.params
        if isinstance(option, click.Option)
    ]
    assert options
    for *before, word in [*commands, *options]:
        assert main([*before, f"{word}x"]) == 64
        assert re.search(rf"Did you mean (one of: )?.*'{word}'", capsys.readouterr().err), [*before, word]


@pytest.mark.parametrize("program", CLIENT)
def test_mistyped_option_of_the_client_gets_a_question_too(program: str, capsys: Capture) -> None:
    assert main([program, "--tokenfile", "x"]) in (64, 255)
    assert "did you mean --token-file?" in capsys.readouterr().err


def test_wrong_configuration_is_one_line_and_status_78(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-m", "sshaft", "agent", "--config", tmp_path / "a\nb.json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert (done.returncode, done.stdout) == (78, "")
    *warnings, line = done.stderr.splitlines()
    assert all("agent.runs_as_root" in warning for warning in warnings)
    assert line.startswith("sshaft: ")
    assert line.isprintable()


def test_program_whose_packages_are_missing_says_what_to_install() -> None:
    code = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(['sqlalchemy', 'starlette', 'uvicorn', 'alembic', 'jinja2']))\n"
        "from sshaft.__main__ import main\n"
        "assert main(['agent', '--help']) == 0\n"
        "sys.exit(main(['identity', '--help']))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False, timeout=20)
    assert "Usage: sshaft agent" in done.stdout
    assert done.returncode in (0, 70)
    assert done.stderr.count("\n") <= 1
    if done.returncode:
        assert "pip install 'sshaft[identity]'" in done.stderr


# --- install-commands


def test_command_refuses_to_bind_sshd_to_a_checkout(tmp_path: Path, capsys: Capture) -> None:
    """Finding N2 (U3): who owned the checkout owned every login."""
    assert main(["install-commands", str(tmp_path / "bin")]) == 78
    out, err = capsys.readouterr()
    checkout = Path(launchers.__file__).parent.parent
    assert (out, list(tmp_path.iterdir())) == ("", [])
    assert err == (
        f"sshaft: sshaft runs from the source checkout {checkout}. "
        "Install sshaft as docs/install.md says, and run the installed `sshaft install-commands`.\n"
    )


def test_commands_are_not_bound_to_packages_that_another_account_can_change(tmp_path: Path) -> None:
    """Finding N2 (U3)."""
    with pytest.raises(ConfigurationError) as error:
        launchers.check(Path("/usr/libexec/sshaft"), [str(tmp_path)])  # below /tmp, where everybody may write
    assert str(error.value).startswith("another account could change every login: ")
    assert "docs/install.md" in str(error.value)


def test_folders_that_other_accounts_cannot_read_are_known(tmp_path: Path) -> None:
    """Finding N11: with umask 077, sshd's accounts could not read the packages, and every login failed."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a").chmod(0o700)
    (tmp_path / "a" / "b").chmod(0o751)
    closed = launchers.closed_parts(tmp_path / "a" / "b")
    assert {tmp_path / "a", tmp_path / "a" / "b"} <= set(closed)
    (tmp_path / "a").chmod(0o711)
    (tmp_path / "a" / "b").chmod(0o755)
    assert not {tmp_path / "a", tmp_path / "a" / "b"} & set(launchers.closed_parts(tmp_path / "a" / "b"))


def test_commands_are_not_written_where_sshd_refuses_them(tmp_path: Path) -> None:
    """Finding N2 (U3): the advice is another place, and no change of a folder that others use."""
    with pytest.raises(ConfigurationError) as error:
        launchers.check(tmp_path / "not" / "there", [])
    assert str(error.value).startswith(f"sshd runs no command in {tmp_path}/not/there: ")
    assert str(error.value).endswith("such as /usr/libexec/sshaft.")
    assert "chmod" not in str(error.value)


def test_commands_in_folders_of_root_alone_are_accepted() -> None:
    """Finding N2 (U3)."""
    if launchers.unsafe_parts(Path(sys.executable)):
        pytest.skip("the interpreter of this run is not root's")
    if launchers.unsafe_parts(Path(launchers.__file__)) or launchers.closed_parts(Path(launchers.__file__)):
        pytest.skip("the checkout of this run is not root's")
    launchers.check(Path("/usr/libexec/sshaft"), ["/usr/lib"])


def test_commands_are_installed_and_run(tmp_path: Path) -> None:
    """Finding N11: a strict umask must not keep sshd's accounts out."""
    before = os.umask(0o077)
    try:
        written = launchers.install(tmp_path / "lib" / "bin")
    finally:
        os.umask(before)
    assert written == [tmp_path / "lib/bin/sshaft-keys", tmp_path / "lib/bin/sshaft-login"]
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "lib", tmp_path / "lib/bin", *written)} == {0o755}
    for path in written:
        first = path.read_text().splitlines()[0]
        assert first.endswith(" -IS")
        assert len(first) <= launchers.MAX_INTERPRETER_LINE
        done = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)
        assert done.stdout == f"{path.name} {sshaft.__version__}\n"
    assert sorted(path.name for path in (tmp_path / "lib/bin").iterdir()) == ["sshaft-keys", "sshaft-login"]


def test_commands_are_replaced_while_they_run(tmp_path: Path) -> None:
    for _ in range(2):
        before = launchers.install(tmp_path)[0].stat().st_ino
    assert launchers.install(tmp_path)[0].stat().st_ino != before


@pytest.mark.parametrize("name", ["a b", "a;id", "a'b", "a\nb", "$HOME", "é"])
def test_directory_that_sshd_config_cannot_hold_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="may hold only"):
        launchers.install(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_directory_that_cannot_be_made_is_one_line_of_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError) as error:
        launchers.install(tmp_path / "file")
    assert str(error.value) == f"{tmp_path}/file: File exists"


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make paths that sshd would trust")
def test_unsafe_parts_are_those_of_sshds_rule(tmp_path: Path) -> None:
    (program := tmp_path / "program").touch(0o755)
    base = set(launchers.unsafe_parts(program))
    for change in (lambda: program.chmod(0o775), lambda: program.chmod(0o757), lambda: os.chown(program, 1, 0)):
        change()
        assert len(set(launchers.unsafe_parts(program)) - base) == 1
        os.chown(program, 0, 0)
        program.chmod(0o755)
    tmp_path.chmod(0o777)
    assert any(part.startswith(f"{tmp_path} belongs ") for part in launchers.unsafe_parts(program))
