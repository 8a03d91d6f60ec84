"""Upgrades a booted bookworm with its packages of sshaft to trixie. People log in before and after."""

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from debian_host.logins import Logins
from debian_host.packages import Host, built, host

pytestmark = [
    pytest.mark.timeout(3600),
    pytest.mark.skipif(os.environ.get("SUITE") != "bookworm", reason="takes many minutes; SUITE=bookworm runs it"),
]

NAMES = ("sshaft", "sshaft-sshd", "sshaft-identity", "libpam-sshaft")
SERVICES = ("sshaft-agent", "sshaft-sshd", "sshaft-identity")
OPTIONS = ("-y", "-o", "Dpkg::Options::=--force-confold", "-o", "APT::Install-Recommends=false")


def reach_debian(debian: Host) -> None:
    """Lets apt on the host reach Debian's archive as apt of this machine does."""
    for name in ("resolv.conf", "hosts"):
        if Path("/etc", name).exists():
            shutil.copy(Path("/etc", name), debian.root / "etc" / name)
    dump = subprocess.run(["apt-config", "dump"], check=True, capture_output=True, text=True).stdout
    settings = [line for line in dump.splitlines() if re.match(r"Acquire::(https?|Check-\S+)\b", line)]
    (debian.root / "etc/apt/apt.conf.d/99this-machine").write_text("\n".join([*settings, ""]))


def add_archive(debian: Host, packages: Path) -> None:
    """Makes an archive of the packages on the host, and lets apt use it beside trixie's."""
    folder = debian.root / "archive"
    folder.mkdir()
    entries = []
    for name in NAMES:
        path = shutil.copy(next(packages.glob(f"{name}_*.deb")), folder)
        control = subprocess.run(["dpkg-deb", "--field", path], check=True, capture_output=True, text=True).stdout
        data = Path(path).read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        entries.append(f"{control}Filename: ./{Path(path).name}\nSize: {len(data)}\nSHA256: {digest}\n")
    (folder / "Packages").write_text("\n".join(entries))
    sources = [debian.root / "etc/apt/sources.list", *(debian.root / "etc/apt/sources.list.d").iterdir()]
    for path in sources:
        if path.is_file():
            path.write_text(path.read_text().replace("bookworm", "trixie"))
    (debian.root / "etc/apt/sources.list.d/sshaft.list").write_text("deb [trusted=yes] file:/archive ./\n")


def test_logins_work_after_a_dist_upgrade_and_nothing_of_the_old_python_is_left() -> None:
    trixie = built("trixie")
    with host("bookworm") as debian:
        debian.install(*NAMES)
        logins = Logins(debian)
        logins.set_up_identity()
        logins.choose_port()
        debian.do("systemctl", "start", *SERVICES)
        logins.enable_host_login()
        assert (logins.by_factor(), logins.by_host_login()) == ("accepted", "accepted"), debian.journal()
        assert "Python 3.11" in debian.do("/usr/lib/sshaft/bin/python3", "--version")
        reach_debian(debian)
        add_archive(debian, trixie)
        debian.do("apt-get", "update")
        debian.do("apt-get", *OPTIONS, "full-upgrade", seconds=1800)
        assert "Python 3.13" in debian.do("/usr/lib/sshaft/bin/python3", "--version")
        assert [debian.state(name) for name in SERVICES] == ["active"] * 3
        assert (logins.by_factor(), logins.by_host_login()) == ("accepted", "accepted"), debian.journal()
        debian.do("apt-get", "-y", "autoremove", seconds=600)
        assert debian.run("find", "/usr/lib/sshaft", "/usr/libexec/sshaft", "-name", "*3.11*").stdout == ""
        assert "3.11" not in debian.do("cat", "/usr/libexec/sshaft/sshaft-login", "/usr/lib/sshaft/pyvenv.cfg")
        assert debian.run("dpkg-query", "-W", "-f", "${db:Status-Status}", "python3.11").stdout != "installed"
        assert (logins.by_factor(), logins.by_host_login()) == ("accepted", "accepted"), debian.journal()
