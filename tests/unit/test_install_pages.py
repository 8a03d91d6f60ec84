"""Tests that the pages for Debian set up all that the units need, and overwrite no file of the project."""

import re
import shlex
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
PAGES = [
    TOP / "docs" / name
    for name in (
        "install.md",
        "install-by-hand.md",
        "identity-service.md",
        "operating.md",
        "host-login.md",
        "accounts.md",
        "host-api.md",
        "web.md",
    )
]


def commands_of(page: Path) -> list[str]:
    return [line.strip() for line in page.read_text().splitlines() if line.startswith("    ")]


COMMANDS = [line for page in PAGES for line in commands_of(page)]


@pytest.mark.parametrize("unit", sorted((TOP / "systemd").iterdir()), ids=lambda path: path.name)
def test_every_unit_is_installed_and_its_account_is_made(unit: Path) -> None:
    """Finding N7 (U5): the identity service had no account, no owner of its folder and no enabled unit in the pages."""
    assert any(line.startswith("install ") and f"systemd/{unit.name}" in line for line in COMMANDS)
    text = unit.read_text()
    if "[Install]" in text:
        assert f"systemctl enable --now {unit.name.removesuffix('.service')}" in COMMANDS
    for account in re.findall(r"(?m)^User=(\S+)$", text):
        assert any(line.startswith("useradd ") and line.endswith(f" {account}") for line in COMMANDS)
    for folder in re.findall(r"(?m)^StateDirectory=(\S+)$", text):
        assert any(line.startswith("install -d ") and line.endswith(f" /var/lib/{folder}") for line in COMMANDS)


def test_sshaft_is_on_the_path_before_a_page_uses_it() -> None:
    """Finding N7 (U5)."""
    first = {
        page: next(
            line for line in commands_of(page) if re.match(r"ln .*/usr/local/bin/sshaft$|apt install |sshaft ", line)
        )
        for page in PAGES[:2]
    }
    assert first[PAGES[0]].startswith("apt install ./sshaft_")  # the package has /usr/bin/sshaft
    assert first[PAGES[1]].startswith("ln ")
    assert not [line for line in COMMANDS if "python3 -m sshaft" in line]


def test_no_command_of_the_pages_writes_over_a_file_of_the_project() -> None:
    """Finding N7 (U5): `client add --config-json config.json` in a checkout met the project's own file."""
    written = [
        words[words.index(option) + 1]
        for words in map(shlex.split, (line.partition("  #")[0] for line in COMMANDS if "sshaft identity" in line))
        for option in ("--config-json", "--write-config")
        if option in words
    ]
    assert written
    assert not [name for name in written if (TOP / name).exists()]
