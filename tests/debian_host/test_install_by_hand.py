"""Runs the commands of docs/install-by-hand.md on a Debian that systemd has booted, and logs in."""

import re
import shutil
from collections.abc import Iterator

import pytest
from debian_host.booted import PACKAGES
from debian_host.chroot import SUITES, unpacked
from debian_host.packages import Host, copy_checkout, log_in_by_the_factor, wheels
from image.debian import skipping

from sshaft_demo.parts import free_port
from sshaft_demo.place import CHECKOUT

pytestmark = pytest.mark.timeout(900)

DOCS = CHECKOUT / "docs"


def commands(page: str, heading: str) -> list[str]:
    """Returns the commands of a section: the indented lines, without a file that is shown there."""
    section = re.split(r"(?m)^## ", (DOCS / page).read_text())
    (text,) = [part for part in section if part.startswith(heading)]
    blocks = re.findall(r"(?m)(?:^    .*\n)+", text)
    return [line.strip() for block in blocks if not block.lstrip().startswith("Match ") for line in block.splitlines()]


@pytest.fixture(scope="module")
def debian() -> Iterator[Host]:
    """Yields a host with a checkout in /root/sshaft, whose pip takes the packages of the lock file from a folder."""
    with skipping():
        found = wheels(SUITES[0])
    with unpacked("python3", *PACKAGES, suite=SUITES[0]) as (place, root):
        shutil.copytree(found, root / "wheels")
        (root / "etc" / "pip.conf").write_text("[global]\nno-index = true\nfind-links = /wheels\n")
        copy_checkout(root / "root" / "sshaft")
        nothing = place.directory / "no-packages"
        nothing.mkdir()
        made = Host(place, root, nothing)
        try:
            made.do("useradd", "--create-home", "alice")
            (root / "home" / "alice" / ".ssh").mkdir()
            key = place.generate_key("key-of-alice").with_suffix(".pub")
            shutil.copy(key, root / "home" / "alice" / ".ssh" / "id_ed25519.pub")
            yield made
        finally:
            made.stop()


def test_commands_of_the_pages_set_up_a_factor_in_which_doctor_finds_no_error(debian: Host) -> None:
    port, ssh_port = str(free_port()), str(free_port())
    addresses = {
        "https://id.example.org": f"http://127.0.0.1:{port}", "127.0.0.1:8080": f"127.0.0.1:{port}",
        "mfa.example.org": "127.0.0.1", "--ssh-port 2222": f"--ssh-port {ssh_port}",
        "sshaft sshd-config": f"sshaft sshd-config --port {ssh_port}",
    }  # fmt: skip

    def follow(page: str, heading: str, without: str = "nothing") -> None:
        for command in commands(page, heading):
            for example, ours in addresses.items():
                command = command.replace(example, ours)  # noqa: PLW2901
            if without not in command:
                debian.do("sh", "-c", f"cd /root/sshaft && {command}")

    follow("install-by-hand.md", "1. The programs")
    follow("identity-service.md", "Set it up", without="client add factor")  # the page of the factor has it, too
    for heading in ("2. The accounts", "3. The configuration", "4. The agent", "5. sshd"):
        follow("install-by-hand.md", heading)
    doctor, ssh = commands("install-by-hand.md", "6. Try it")
    said = debian.run("sh", "-c", doctor).stdout
    assert "0 errors" in said, said
    assert ssh == "ssh -p 2222 mfa@localhost"
    assert "No login is waiting for you." in debian.factor().stdout


def test_login_passes_when_the_checkout_is_gone(debian: Host) -> None:
    """Finding N2: the owner of the checkout could have changed every login."""
    shutil.move(debian.root / "root" / "sshaft", debian.root / "root" / "away")
    debian.do("systemctl", "restart", "sshaft-agent", "sshaft-identity", "sshaft-sshd")
    assert log_in_by_the_factor(debian) == "accepted"


def test_every_command_of_the_page_is_in_a_section_that_is_tested() -> None:
    page = (DOCS / "install-by-hand.md").read_text()
    headings = [part.partition("\n")[0] for part in re.split(r"(?m)^## ", page)[1:]]
    assert [heading for heading in headings if commands("install-by-hand.md", heading)] == [
        "1. The programs", "2. The accounts", "3. The configuration", "4. The agent", "5. sshd", "6. Try it",
    ]  # fmt: skip
