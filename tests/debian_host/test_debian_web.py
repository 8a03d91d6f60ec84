"""Tests sshaft-web.service on a Debian that systemd has booted: the whole sandbox, with a terminal in it."""

import json
import re
import shutil
import stat
import sys
from collections.abc import Iterator

import pytest
from debian_host.booted import PACKAGES, Booted
from debian_host.first_login import first_logins
from image.containers import wait_until

from sshaft_demo.parts import free_port
from sshaft_demo.place import CHECKOUT
from sshaft_demo.web_client import WebBrowser

PYTHON = {(3, 11): "bookworm", (3, 13): "trixie"}
"""The Debian whose Python loads the packages of this one."""
PORT = free_port()
pytestmark = pytest.mark.skipif(
    not (CHECKOUT / "sshaft_web/pages/static/vendor/xterm.mjs").exists(), reason="needs tools/xterm"
)


@pytest.fixture(scope="module")
def debian() -> Iterator[Booted]:
    suite = PYTHON.get(sys.version_info[:2])
    if suite is None:
        pytest.skip("no Debian has this Python")
    with first_logins(suite, packages=("python3", *PACKAGES), start=Booted) as made:
        assert isinstance(made, Booted)
        install(made)
        started = made.inside("systemctl", "start", "sshaft-web")
        assert started.returncode == 0, made.journal("-u", "sshaft-web") + started.stderr
        yield made


def install(debian: Booted) -> None:
    """Does what docs/web.md says."""
    root = debian.root
    shutil.copytree(debian.place.packages, root / "opt" / "sshaft" / "packages")
    path = next(root.glob("opt/sshaft/lib/*/site-packages")) / "sshaft.pth"
    path.write_text("/opt/sshaft/packages\n")
    shutil.copy(CHECKOUT / "systemd" / "sshaft-web.service", root / "etc" / "systemd" / "system")
    drop_in = root / "etc" / "systemd" / "system" / "sshaft-web.service.d"
    drop_in.mkdir()
    # The kernel makes no user namespace for a process in a chroot. Everything else of the sandbox is as in the unit.
    (drop_in / "chroot.conf").write_text("[Service]\nPrivateUsers=no\n")
    _, *key = debian.place.known_hosts.read_text().split()
    target = {"host": "127.0.0.1", "port": debian.port, "known_hosts": [f"[127.0.0.1]:{debian.port} {' '.join(key)}"]}
    settings = {
        "public_url": f"http://localhost:{PORT}", "port": PORT, "targets": {"host": target},
        "provider": {"issuer": debian.provider.issuer, "client_id": "demo-web"},
        "recording": {"directory": "/var/lib/sshaft-web"},
    }  # fmt: skip
    (root / "etc" / "sshaft" / "web.json").write_text(json.dumps(settings))
    assert debian.inside("systemctl", "daemon-reload").returncode == 0


def pid(debian: Booted) -> str:
    return debian.inside("systemctl", "show", "--value", "-p", "MainPID", "sshaft-web").stdout.strip()


BECOME = """import os, pwd, sys
account = pwd.getpwnam("sshaft-web")
os.setgroups([])
os.setgid(account.pw_gid)
os.setuid(account.pw_uid)
"""


def in_the_sandbox(debian: Booted, program: str, argument: str) -> tuple[int, str]:
    """Runs a program of Python where the server sees its files, as its account."""
    enter = ("nsenter", "-t", pid(debian), "--mount", "--root", "--wd", "--", "/usr/bin/python3", "-c")
    done = debian.inside(*enter, BECOME + program, argument)
    return done.returncode, done.stderr


def test_terminal_works_and_is_recorded_in_the_sandbox(debian: Booted) -> None:
    browser = WebBrowser(f"http://localhost:{PORT}").sign_in(debian.place.person)
    with browser.attach(browser.open(user=debian.place.person)) as terminal:
        terminal.wait_for("This terminal is recorded")
        shown = terminal.wait_for("Press Enter")
        code = re.search(r"[A-Z]{4}-[A-Z]{4}", shown)
        assert code, shown
        debian.provider.answer(code[0])
        terminal.type("\r")
        terminal.wait_until("open")
        terminal.type("echo t''wo; exit\r")
        terminal.wait_for("two\r\n")
        assert terminal.wait_for_end() == 4002
    folder = debian.root / "var" / "lib" / "sshaft-web"
    wait_until(lambda: "terminal.closed" in debian.journal("-u", "sshaft-web"), "the terminal has ended")
    (file,) = folder.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "two" in file.read_text()


def test_server_has_no_rights_and_only_some_system_calls(debian: Booted) -> None:
    status = debian.inside("cat", f"/proc/{pid(debian)}/status").stdout
    assert re.search(r"CapBnd:\s+0+\n", status)
    assert re.search(r"NoNewPrivs:\s+1\n", status)
    assert re.search(r"Seccomp:\s+2\n", status)


@pytest.mark.parametrize("path", ["/etc/sshaft/x", "/opt/sshaft/x", "/usr/lib/x", "/var/tmp/../lib/x", "/root/x"])
def test_server_writes_nowhere_but_into_its_folder(debian: Booted, path: str) -> None:
    writing = "open(sys.argv[1], 'w')"
    status, said = in_the_sandbox(debian, writing, path)
    assert status != 0
    assert re.search("Read-only file system|Permission denied|No such file", said)
    assert in_the_sandbox(debian, writing, "/var/lib/sshaft-web/trial")[0] == 0
    (debian.root / "var" / "lib" / "sshaft-web" / "trial").unlink()


@pytest.mark.parametrize("program", ["/bin/sh", "/usr/bin/ssh", "/usr/sbin/sshd"])
def test_server_can_start_no_other_program(debian: Booted, program: str) -> None:
    status, said = in_the_sandbox(debian, "os.execv(sys.argv[1], sys.argv[1:])", program)
    assert status != 0
    assert "PermissionError: [Errno 13] Permission denied" in said


@pytest.mark.parametrize("folder", ["/var/lib/sshaft-web", "/tmp", "/var/tmp", "/dev/shm"])
def test_server_can_start_nothing_that_it_has_written(debian: Booted, folder: str) -> None:
    writing = """path = sys.argv[1] + "/program"
with open("/usr/bin/true", "rb") as source, open(path, "wb") as program:
    program.write(source.read())
os.chmod(path, 0o700)
try:
    os.execv(path, [path])
finally:
    os.unlink(path)
"""
    status, said = in_the_sandbox(debian, writing, folder)
    assert status != 0
    assert "PermissionError: [Errno 13] Permission denied" in said


def test_reload_checks_the_files_first_and_ends_no_terminal(debian: Booted) -> None:
    before = pid(debian)
    assert debian.inside("systemctl", "reload", "sshaft-web").returncode == 0
    config = debian.root / "etc" / "sshaft" / "web.json"
    good = config.read_text()
    config.write_text("{}")
    assert debian.inside("systemctl", "reload", "sshaft-web").returncode != 0
    config.write_text(good)
    assert pid(debian) == before


def test_wrong_configuration_is_not_started_again_and_again(debian: Booted) -> None:
    config = debian.root / "etc" / "sshaft" / "web.json"
    good = config.read_text()
    config.write_text("{}")
    assert debian.inside("systemctl", "restart", "sshaft-web").returncode != 0
    shown = debian.inside("systemctl", "show", "-p", "ActiveState", "-p", "NRestarts", "sshaft-web").stdout
    assert sorted(shown.split()) == ["ActiveState=failed", "NRestarts=0"]
    config.write_text(good)
    assert debian.inside("systemctl", "restart", "sshaft-web").returncode == 0
