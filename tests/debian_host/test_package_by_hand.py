"""Installs sshaft by hand as the page says, then the packages over it. People log in before and after."""

import re
import shutil
from collections.abc import Iterator

import pytest
from debian_host.chroot import SUITES
from debian_host.logins import Logins
from debian_host.packages import Host, host

from sshaft_demo.place import CHECKOUT

pytestmark = pytest.mark.timeout(1800)  # the first test waits for a build

NAMES = ("sshaft", "sshaft-sshd", "sshaft-identity")
SERVICES = ("sshaft-agent", "sshaft-sshd", "sshaft-identity")
BY_HAND = "install-by-hand.md"
UNITS = ("sshaft-agent.service", "sshaft-sshd.service", "sshaft-identity.service", "run-sshd.mount")
LAUNCHER = '#!/bin/sh\nexec /opt/sshaft/bin/python3 -I -m sshaft "$@"\n'


def steps(page: str, first: str, last: str) -> list[str]:
    """Returns the commands of a page from the one that begins with `first` to the one that begins with `last`."""
    lines = re.findall(r"(?m)^    (\S.*)$", (CHECKOUT / "docs" / page).read_text())
    begin = next(number for number, line in enumerate(lines) if line.startswith(first))
    end = next(number for number, line in enumerate(lines) if line.startswith(last) and number >= begin)
    return lines[begin : end + 1]


def put_programs_into_opt(debian: Host) -> None:
    """Does what pip does in the first step. Its packages are those of the Debian package, so nothing is fetched."""
    debian.do("dpkg-deb", "--extract", *debian.files("/packages", "sshaft"), "/root/extracted")
    debian.do("mv", "/root/extracted/usr/lib/sshaft", "/opt/sshaft")
    shutil.rmtree(debian.root / "root" / "extracted")
    launcher = debian.root / "opt" / "sshaft" / "bin" / "sshaft"
    launcher.write_text(LAUNCHER)
    launcher.chmod(0o755)
    shutil.copytree(CHECKOUT / "systemd", debian.root / "root" / "checkout" / "systemd")


@pytest.fixture(scope="module")
def logins() -> Iterator[Logins]:
    """Yields a host on which all steps of the pages are done."""
    with host(SUITES[0]) as debian:
        made = Logins(debian)
        put_programs_into_opt(debian)
        debian.do("useradd", "--system", "somebody-else")  # the accounts get other uids than on a new host
        identity = steps("identity-service.md", "useradd", "install -m")
        for command in [
            *steps(BY_HAND, "ln -sf /opt", "sshaft install-commands"),
            *steps(BY_HAND, "useradd", "install -d -m 0755 /var/empty"),
            "install -d -m 0755 /etc/sshaft",
            *identity,
        ]:
            debian.do("sh", "-c", f"cd /root/checkout && {command}")
        made.set_up_identity()
        for command in [
            "systemctl daemon-reload",
            "systemctl enable --now sshaft-identity",
            *steps(BY_HAND, "install -m 0644 systemd/sshaft-agent", "systemctl enable --now sshaft-agent"),
            *steps(BY_HAND, "install -d -m 0755 /etc/ssh/keys", "sshaft sshd-config"),
        ]:
            debian.do("sh", "-c", f"cd /root/checkout && {command}")
        made.choose_port()
        for command in steps(
            "install-by-hand.md", "install -m 0644 systemd/sshaft-sshd", "systemctl enable --now sshaft-sshd"
        ):
            debian.do("sh", "-c", f"cd /root/checkout && {command}")
        yield made


def test_host_that_was_set_up_by_hand_runs_the_packages_with_its_configuration_and_accounts(logins: Logins) -> None:
    debian = logins.debian
    assert logins.by_factor() == "accepted", debian.journal()
    before = debian.do("getent", "passwd", "sshaft", "mfa", "_sshaft-keys", "sshaft-identity")
    config = (debian.root / "etc" / "sshaft" / "config.json").read_bytes()
    sshd_config = (debian.root / "etc" / "ssh" / "sshaft_sshd_config").read_text()
    said = debian.install(*NAMES)
    for unit in UNITS:
        assert not (debian.root / "etc" / "systemd" / "system" / unit).exists()
        assert f"removed /etc/systemd/system/{unit}" in said
        assert debian.do("systemctl", "is-enabled", unit).strip() in ("enabled", "static")
    assert "rm -r /opt/sshaft" in said
    assert not (debian.root / "usr" / "local" / "bin" / "sshaft").is_symlink()
    assert debian.do("getent", "passwd", "sshaft", "mfa", "_sshaft-keys", "sshaft-identity") == before
    assert (debian.root / "etc" / "sshaft" / "config.json").read_bytes() == config
    assert (debian.root / "etc" / "ssh" / "sshaft_sshd_config").read_text() == sshd_config
    debian.do("rm", "-r", "/opt/sshaft")
    assert [debian.state(name) for name in SERVICES] == ["active"] * 3
    for name in ("sshaft-agent", "sshaft-identity"):
        pid = debian.do("systemctl", "show", "--property=MainPID", "--value", name).strip()
        assert debian.do("cat", f"/proc/{pid}/cmdline").startswith("/usr/lib/sshaft/bin/python3\0")
    assert logins.by_factor() == "accepted", debian.journal()


def test_unit_that_an_administrator_has_changed_stays_and_is_named(logins: Logins) -> None:
    debian = logins.debian
    unit = debian.root / "etc" / "systemd" / "system" / "sshaft-agent.service"
    unit.write_text((CHECKOUT / "systemd" / "sshaft-agent.service").read_text() + "# ours\n")
    done = debian.run("/usr/libexec/sshaft/maintain", "take-over", "sshaft-agent.service")
    assert "/etc/systemd/system/sshaft-agent.service was changed, and hides the unit of the package." in done.stdout
    assert unit.read_text().endswith("# ours\n")
