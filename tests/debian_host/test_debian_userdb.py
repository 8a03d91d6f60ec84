"""Tests `backend: userdb` on a Debian in a chroot: its sshd, PAM and cron find the accounts through libnss-systemd."""

import json
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from debian_host.booted import PACKAGES, Booted
from debian_host.chroot import SUITES, log_in
from debian_host.first_login import FIRST_UID, FirstLogins, first_logins
from fakes.unix_server import read_question
from image.debian import UnavailableError, skipping

from sshaft import messages
from sshaft_demo.parts import Agent, wait_for
from sshaft_demo.place import AGENT, library

POLICY = {"backend": "userdb", "groups": ["adm"]}
ROLES = [{"groups": ["logs"], "local_groups": ["adm"]}]
IN_PLACE = """set -e
mkdir -p "$1/over/userdb" "$1/root/etc/userdb"
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=$1/over:/etc" /etc
mount --bind "$1/root/etc/userdb" /etc/userdb
shift
exec "$@"
"""
JOBS = """\
@reboot root touch /root/{file}-1
@reboot {user} id -Gn >/home/{user}/{file}
@reboot root touch /root/{file}-2
"""
RUN_CRON = """
rm -f /run/crond.reboot
cron -f &
until [ -e "$1-1" ] && [ -e "$1-2" ] && [ -z "$(cat /proc/$!/task/$!/children)" ]; do sleep 0.1; done
kill $!
"""


class AgentWithRecords(Agent):
    """An agent that also finds the accounts of /etc/userdb in the chroot, with libnss-systemd of this machine."""

    def start(self) -> "subprocess.Popen[bytes]":
        with skipping():
            module = _nss_systemd()
        uid = self.place.accounts.uids[AGENT]
        words = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--pdeathsig=TERM", "--"]
        own = ("--config", self.config, "--runtime-directory", self.runtime)
        command = ["unshare", "-m", "sh", "-c", IN_PLACE, "sh", self.place.directory, *words]
        process = self.place.start(
            self.name,
            [*command, *self.place.sshaft("agent", *own)],
            more={**self.environment, "NSS_WRAPPER_MODULE_SO_PATH": module, "NSS_WRAPPER_MODULE_FN_PREFIX": "systemd"},
        )
        wait_for((self.runtime / "status.sock").exists, process, lambda: self.place.log(self.name), "the agent")
        return process


def _nss_systemd() -> str:
    if not list(Path("/usr/lib").glob("*/libnss_systemd.so.2")):
        raise UnavailableError("missing package: libnss-systemd")
    return library("libnss_systemd.so.2", "libnss-systemd")


HOST: dict[str, Any] = {
    "packages": ("python3", *PACKAGES), "policy": POLICY, "start_agent": AgentWithRecords, "roles": ROLES
}  # fmt: skip


@pytest.fixture(scope="module", params=SUITES)
def debian(request: pytest.FixtureRequest) -> Iterator[FirstLogins]:
    """Yields a host on which systemd does not run."""
    with first_logins(request.param, **HOST) as made:
        yield made


@pytest.fixture(scope="module", params=SUITES)
def booted(request: pytest.FixtureRequest) -> Iterator[FirstLogins]:
    with first_logins(request.param, **HOST, start=Booted) as made:
        yield made


def ask(debian: FirstLogins, kind: str, **fields: str) -> str:
    """Asks sshaft-accounts as root. Returns the kind of the answer."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(str(debian.accounts_socket))
        connection.sendall(messages.encode(kind, fields))
        return read_question(connection)[0]


def test_first_login_makes_records_and_leaves_the_files_of_accounts_alone(debian: FirstLogins) -> None:
    before = debian.files()
    said = log_in(debian, "id -un; id -u; id -g; pwd; echo in > file; ls -A", user="newbie").split()
    uid = said[1]
    assert int(uid) >= FIRST_UID
    assert said == ["newbie", uid, uid, "/home/newbie", ".bash_logout", ".bashrc", ".profile", "file"]
    assert debian.files() == before
    assert debian.inside("getent", "passwd", "newbie").stdout.startswith(f"newbie:x:{uid}:{uid}:")
    assert debian.inside("getent", "group", uid).stdout == f"newbie:x:{uid}:\n"
    assert log_in(debian, "id -u; cat file", user="newbie").split() == [uid, "in"]
    assert debian.inside("useradd", "newbie").returncode != 0
    assert debian.inside("useradd", "--uid", uid, "other").returncode != 0


def test_name_that_was_never_approved_is_unknown_and_gets_no_record(debian: FirstLogins) -> None:
    said, status = debian.ssh("echo in", options=debian.certificate("ghost"), user="ghost").end()
    assert (status, "in\r\n" in said) == (255, False)
    for command in (("getent", "passwd", "ghost"), ("id", "ghost"), ("su", "ghost", "-c", "true")):
        assert debian.inside(*command).returncode != 0
    assert not list((debian.root / "etc" / "userdb").glob("ghost*"))


def test_account_works_without_us_and_a_lock_closes_it(debian: FirstLogins) -> None:
    """Everything of ours is out: the modules, the agent, and at the end sshaft-accounts."""
    uid = log_in(debian, "id -u", user="leaver").strip()
    key = debian.key("leaver")
    stack, module = debian.root / "etc" / "pam.d" / "sshd", next(debian.root.glob("usr/lib/*/libnss_sshaft.so.2"))
    with_us = stack.read_text()
    hidden = module.rename(module.with_suffix(".hidden"))
    stack.write_text(re.sub(r"(?m)^.*pam_sshaft.*\n", "", with_us))
    debian.agent.process.send_signal(signal.SIGSTOP)
    try:
        assert ask(debian, "groups", user="leaver", add="adm") == "done"
        opened = debian.ssh("id -u; id -Gn", options=key, user="leaver").end()
        assert opened == (f"{uid}\r\nleaver adm\r\n", 0)
        assert debian.inside("su", "-", "leaver", "-c", "id -Gn").stdout == "leaver adm\n"
        assert cron_says(debian, "leaver", "open") == "leaver adm\n"

        assert ask(debian, "lock", user="leaver") == "done"
        assert debian.ssh("echo in", options=key, user="leaver").end()[1] == 255
        assert debian.inside("su", "-", "leaver", "-c", "true").returncode != 0
        assert cron_says(debian, "leaver", "locked") is None

        assert ask(debian, "unlock", user="leaver") == "done"
        assert ask(debian, "groups", user="leaver", remove="adm") == "done"
        debian.kill_accounts()
        assert debian.ssh("id -Gn", options=key, user="leaver").end() == ("leaver\r\n", 0)
    finally:
        debian.agent.process.send_signal(signal.SIGCONT)
        stack.write_text(with_us)
        hidden.rename(module)
        debian.start_accounts()
    assert ask(debian, "lock", user="leaver") == "done"  # ends what the last session may have left
    assert ask(debian, "remove", user="leaver") == "done"
    assert debian.inside("id", "leaver").returncode != 0
    assert not list((debian.root / "etc" / "userdb").glob("leaver*"))


def test_pam_mkhomedir_makes_the_home_directory(debian: FirstLogins) -> None:
    policy, stack = debian.root / "etc" / "sshaft" / "accounts.json", debian.root / "etc" / "pam.d" / "sshd"
    before = stack.read_text()
    policy.write_text(json.dumps({**POLICY, "create_home": False}))
    stack.write_text(before + "session required pam_mkhomedir.so umask=0077\n")
    try:
        said = log_in(debian, "pwd; stat -c %U:%G:%a .", user="homer").split()
        assert said == ["/home/homer", "homer:homer:700"]
    finally:
        stack.write_text(before)
        policy.write_text(json.dumps(POLICY))


def cron_says(debian: FirstLogins, user: str, file: str) -> str | None:
    """Returns what a job of the user wrote, or None if cron did not run it. Jobs of root run before and after it."""
    table = debian.root / "etc" / "cron.d" / "jobs"
    table.parent.mkdir(exist_ok=True)
    table.write_text(JOBS.format(user=user, file=file))
    assert debian.inside("sh", "-c", RUN_CRON, "sh", f"/root/{file}").returncode == 0
    wrote = debian.root / "home" / user / file
    return wrote.read_text() if wrote.exists() else None


def test_role_gives_its_groups_and_a_lost_role_takes_them_away(debian: FirstLogins) -> None:
    assert log_in(debian, "id -Gn", user="reader", groups=["logs"]).split() == ["reader", "adm"]
    assert log_in(debian, "id -Gn", user="reader", groups=["logs"]).split() == ["reader", "adm"]
    assert debian.place.log("agent").count("host_account.groups_given") == 1
    assert log_in(debian, "id -Gn", user="reader").split() == ["reader"]


def test_records_are_made_changed_and_removed_in_the_sandbox_of_the_unit(booted: FirstLogins) -> None:
    before = booted.files()
    said = log_in(booted, "id -u; id -Gn; loginctl show-user --value -p Name boots", user="boots", groups=["logs"])
    uid, *names = said.split()
    assert names == ["boots", "adm", "boots"]
    assert booted.inside("getent", "group", uid).stdout == f"boots:x:{uid}:\n"
    assert ask(booted, "lock", user="boots") == "done"
    assert booted.inside("su", "boots", "-c", "true").returncode != 0
    assert ask(booted, "unlock", user="boots") == "done"
    assert booted.inside("su", "boots", "-c", "id -Gn").stdout == "boots adm\n"
    assert ask(booted, "lock", user="boots") == "done"
    assert ask(booted, "remove", user="boots") == "done"
    assert booted.inside("id", "boots").returncode != 0
    assert not list((booted.root / "etc" / "userdb").glob("boots*"))
    assert booted.files() == before
