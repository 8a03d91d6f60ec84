"""Tests that the manual pages are well formed, and cover every command, option and member of a configuration."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import click
import pytest
from pydantic import BaseModel

from sshaft import exit_status
from sshaft.__main__ import CLIENT
from sshaft.command_line import cli
from sshaft.config import Config
from sshaft_agent.host_login.settings import HostLoginSettings
from sshaft_client import options
from sshaft_host_api.configuration import Settings as HostApiSettings
from sshaft_identity.settings import Settings as IdentitySettings
from sshaft_login.__main__ import HELP
from sshaft_web.configuration import Settings as WebSettings
from tools.manual.__main__ import write
from tools.manual.configuration import every_file
from tools.manual.documented import texts_below
from tools.manual.roff import Page, inline

pytestmark = pytest.mark.slow

TOP = Path(__file__).parents[3]
DATE = "1764374400"


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The files of all pages."""
    return write(tmp_path_factory.mktemp("man"))


@pytest.fixture(scope="module")
def pages(paths: list[Path]) -> dict[str, str]:
    """The text of each page by its name, such as `sshaft.1`."""
    return {path.name: path.read_text() for path in paths}


def commands(command: click.Command = cli, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield ("sshaft", *path), command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from commands(below, *path, name)


def entries(page: str) -> set[str]:
    """The tags of the page, without the marks of roff."""
    return {tag.replace("\\-", "-").replace("\\(ga", "`") for tag in re.findall(r"(?m)^\.TP\n\\fB(.*)\\fR$", page)}


def test_every_command_has_a_page_with_all_its_options(pages: dict[str, str]) -> None:
    """Finding U21: there was no manual page."""
    found = list(commands())
    assert len(found) > 60
    for path, command in found:
        tags = entries(pages[f"{'-'.join(path)}.1"])
        for option in command.get_params(click.Context(command)):
            if isinstance(option, click.Option):
                assert any(option.opts[0] in re.split(r"[ ,]+", tag) for tag in tags), (path, option.opts)


def test_every_command_is_listed_on_the_page_above_it(pages: dict[str, str]) -> None:
    for path, _command in commands():
        if len(path) > 1:
            assert f"{'-'.join(path)}(1)" in entries(pages[f"{'-'.join(path[:-1])}.1"])


@pytest.mark.parametrize("name", CLIENT)
def test_page_of_a_client_program_has_all_its_options(name: str, pages: dict[str, str]) -> None:
    tags = {tag.split()[0] for tag in entries(pages[f"sshaft-{name}.1"])}
    taken = set(re.findall(r'"(--[a-z-]+)":', Path(options.__file__).read_text()))
    assert len(taken) > 10
    assert taken - {"--oidc", "--issuer", "--mc-endpoint"} <= tags


def members(model: Any) -> Iterator[str]:
    """The names of all members of a file, found by another way than that of the pages."""
    if isinstance(model, type) and issubclass(model, BaseModel):
        for name, field in model.model_fields.items():
            yield name
            yield from members(field.annotation)
    for part in get_args(model):
        yield from members(part)


@pytest.mark.parametrize(
    ("page", "model"),
    [
        ("sshaft-config.json.5", Config),
        ("sshaft-config.json.5", HostLoginSettings),
        ("sshaft-identity.json.5", IdentitySettings),
        ("sshaft-host-api.json.5", HostApiSettings),
        ("sshaft-web.json.5", WebSettings),
    ],
    ids=["factor", "host_login", "identity", "host-api", "web"],
)
def test_every_member_of_a_configuration_has_an_entry(page: str, model: type, pages: dict[str, str]) -> None:
    assert set(members(model)) - entries(pages[page]) == set()


def test_every_member_of_a_configuration_has_a_description() -> None:
    for file in every_file():
        for group in file.groups:
            assert [member.name for member in group.members if not member.description] == [], (file.name, group.path)


def test_page_of_the_pam_module_has_each_argument_that_the_module_reads(pages: dict[str, str]) -> None:
    source = (TOP / "native/pam_sshaft.c").read_text()
    read = {"socket", "timeout", "break_glass", "config", "debug"}
    ignored = {"logs", "log_level"}  # of another module, for files that were written for it
    assert set(re.findall(r'strn?cmp\(word, "(\w+)', source)) - ignored == read
    assert {tag.partition("=")[0] for tag in entries(pages["pam_sshaft.8"])} == read


TEXTS = texts_below(exit_status)
OF_LOGIN = {name for name, text in TEXTS.items() if text.startswith("`sshaft-login`")}
OF_PROGRAMS = {
    str(getattr(exit_status, name)): text.partition(" `sshaft-login`")[0]
    for name, text in TEXTS.items()
    if name not in OF_LOGIN
}


def documented_statuses(text: str) -> dict[str, str]:
    return dict(re.findall(r"(?m)^\| (\d+) \| (.*) \|$", text.replace("\\|", "|")))


def test_documented_exit_statuses_are_those_of_the_programs() -> None:
    page = (TOP / "docs/commands.md").read_text().partition("## Exit statuses")[2]
    assert documented_statuses(page) == OF_PROGRAMS


def test_documented_exit_statuses_of_ssh_are_those_of_sshaft_login() -> None:
    table = (TOP / "README.md").read_text().partition("passes on this exit")[2].partition("## ")[0]
    rows = re.findall(r"(?m)^\| ([\d, ]+) \|", table)
    documented = {number for row in rows for number in row.split(", ")}
    assert {str(getattr(exit_status, name)) for name in OF_LOGIN} < documented
    in_help = set(re.findall(r"\b\d+\b", HELP.partition("Exit status:")[2]))
    assert documented - {"255"} == in_help, "255 is that of ssh itself"


def test_every_page_of_a_command_names_its_exit_statuses(pages: dict[str, str]) -> None:
    for name, text in pages.items():
        if name.endswith(".1"):
            section = text.partition(".SH EXIT STATUS")[2].partition(".SH")[0]
            assert set(re.findall(r"\\fB(\d+)\\fR", section)) <= set(OF_PROGRAMS)
            assert ".TP" in section, name
    declining = {"sshaft-identity-client-test.1", "sshaft-host-check.1", "sshaft-host-explain.1", "sshaft-setup.1"}
    assert {name for name, text in pages.items() if "A check failed, or you" in text} == declining


def test_every_program_that_ends_with_1_says_so() -> None:
    """A number in the code would be missing in the manual."""
    folders = [
        TOP / name for name in ("sshaft_agent", "sshaft_identity", "sshaft_setup", "sshaft_doctor", "sshaft_web")
    ]
    commands = [path for folder in folders for path in folder.rglob("*.py") if "commands" in str(path.relative_to(TOP))]
    assert len(commands) > 20
    for path in commands:
        assert not re.search(r"exit\(\d|Exit\(\d|exit_status = \d", path.read_text()), path


def test_pages_refer_to_pages_that_exist(pages: dict[str, str]) -> None:
    for name, text in pages.items():
        for page, section in re.findall(r"\\fB((?:lib|pam)?[\w.\\-]*sshaft[\w.\\-]*)\\fR\((\d)\)", text):
            assert f"{page.replace(chr(92), '')}.{section}" in pages, name


def test_groff_and_mandoc_have_nothing_to_say_about_the_pages(paths: list[Path]) -> None:
    done = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-z", *paths], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    if shutil.which("mandoc"):
        lint = subprocess.run(
            ["mandoc", "-T", "lint", "-W", "style", *paths], capture_output=True, text=True, check=False
        )
        assert [line for line in lint.stdout.splitlines() if "longer than 80 bytes" not in line] == []


def test_apropos_reads_the_summary_of_each_page(paths: list[Path]) -> None:
    done = subprocess.run(["lexgrog", *paths], capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == len(paths)
    assert f'{paths[0]}: "sshaft - an SSH login as an authentication factor of a web login"' in done.stdout


def test_two_builds_with_one_date_are_the_same(tmp_path: Path) -> None:
    trees = []
    for name in ("one", "two"):
        environment = {"PYTHONHASHSEED": str(len(trees)), "SOURCE_DATE_EPOCH": DATE}
        subprocess.run([sys.executable, "-m", "tools.manual", tmp_path / name], cwd=TOP, env=environment, check=True)
        folder = tmp_path / name
        trees.append({str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*")})
    assert trees[0] == trees[1]
    assert b'"2025-11-29"' in trees[0]["man1/sshaft.1"]


@pytest.mark.parametrize(
    "text",
    [
        ".TH is no macro here",
        "'br is none, too",
        r"a \fB backslash \e stays",
        "a - b -- c ^ ~ ` '",
        "--option=VALUE",
        '"',
    ],
)
def test_text_is_shown_as_it_was_written(text: str) -> None:
    page = Page("x", 1, "y", "1", "2025-11-29")
    page.paragraph(text)
    shown = subprocess.run(
        ["groff", "-man", "-Tascii", "-P-c", "-ww"], input=page.text(), capture_output=True, text=True, check=True
    )
    assert text in re.sub(r".\x08", "", shown.stdout)


def test_marks_of_markdown_become_those_of_roff() -> None:
    assert inline("run `sshaft host`, **now** or *later*") == r"run \fBsshaft host\fR, \fBnow\fR or \fBlater\fR"
    assert (
        inline("see [the page](pages.md) and [RFC](https://x.example)") == r"see the page and RFC (https://x.example)"
    )
    assert inline("`.hidden` files") == r"\fB\&.hidden\fR files"
