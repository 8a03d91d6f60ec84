"""Tests the life of an account after its first login: suspended, open again, adopted, in groups, removed.

A Debian in a chroot has its own sshd, PAM and useradd.
"""

import json
import subprocess
from collections.abc import Iterator

import pytest
from debian_host.chroot import log_in
from debian_host.first_login import FirstLogins, first_logins

from sshaft.deadline import Deadline
from sshaft_agent.host_login.first_login import accounts_client
from sshaft_demo.host import Terminal
from sshaft_demo.parts import run, wait_for
from sshaft_demo.place import AGENT

KEEPS_RUNNING = "trap '' HUP TERM; setsid sh -c \"trap '' HUP TERM; while :; do sleep 1; done\" & echo be''gun; cat"
OF_UID = 'for each in /proc/[0-9]*; do [ "$(stat -c %u "$each" 2>/dev/null)" = "$0" ] && cat "$each/comm"; done'


@pytest.fixture(scope="module")
def debian() -> Iterator[FirstLogins]:
    with first_logins(create={"temporary": "30d", "lock_after": "20d"}) as made:
        yield made


def accounts(debian: FirstLogins, *words: str) -> str:
    """Runs `sshaft host accounts` as an operator. Returns what it says."""
    runtime = "--runtime-directory", debian.agent.runtime
    return run(debian.place, debian.place.sshaft("host", "accounts", *words, *runtime), AGENT)


def fails(debian: FirstLogins, *words: str) -> str:
    """Runs a command that is not done, or not all of it. Returns what it says."""
    runtime = "--runtime-directory", str(debian.agent.runtime)
    command = [*debian.place.sshaft("host", "accounts", *words), *runtime]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 65, done.stdout + done.stderr
    return done.stdout + done.stderr


def session(debian: FirstLogins, name: str) -> Terminal:
    """Returns a session that a key has opened, whose processes ignore SIGHUP and SIGTERM."""
    terminal = debian.ssh("-tt", KEEPS_RUNNING, options=debian.key(name), user=name)
    assert "begun" in terminal.wait_for("begun")
    return terminal


def by_key(debian: FirstLogins, name: str) -> tuple[str, int]:
    return debian.ssh("echo in", options=debian.key(name), user=name).end()


def processes(debian: FirstLogins, name: str) -> list[str]:
    uid = debian.uid_of(name)
    assert uid is not None
    return debian.inside("sh", "-c", OF_UID, uid).stdout.split()


def shadow_expiry(debian: FirstLogins, name: str) -> str:
    (line,) = (line for line in (debian.root / "etc/shadow").read_text().splitlines() if line.startswith(f"{name}:"))
    return line.split(":")[7]


def test_suspension_ends_the_sessions_of_its_account_and_no_others(debian: FirstLogins) -> None:
    """Also a process that ignores SIGHUP and SIGTERM, and has left its session, ends."""
    for name in ("leaver", "stayer"):
        log_in(debian, "true", user=name)
    leaver, stayer = session(debian, "leaver"), session(debian, "stayer")
    said = accounts(debian, "suspend", "leaver", "--reason", "left on Friday")
    assert said == "leaver is suspended: new logins are refused, and its sessions end.\n"
    assert leaver.end()[1] != 0
    assert processes(debian, "leaver") == []
    assert "sh" in processes(debian, "stayer")
    stayer.type("still here\n")
    assert "still here" in stayer.wait_for("still here")
    stayer.kill()


def leaders(debian: FirstLogins) -> set[str]:
    """Returns the processes of sshd that serve connections, each with its start, as sshaft-accounts names them."""
    code = (
        "from sshaft_accounts import ssh_sessions as s; all_ = s.processes()\n"
        "served = {each.parent for each in all_.values() if each.name in s._SSHD and each.uids != {0}}\n"
        "print(*(f'{pid}:{all_[pid].began}' for pid in served if pid in all_ and all_[pid].uids == {0}))"
    )
    done = debian.inside("env", "PYTHONPATH=/opt/sshaft", "python3", "-c", code)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_one_session_of_an_account_ends_and_the_account_stays_open(debian: FirstLogins) -> None:
    log_in(debian, "true", user="twice")
    first = session(debian, "twice")
    (leader,) = leaders(debian)
    second = session(debian, "twice")
    fields = {"user": "twice", "sessions": leader}
    accounts_client.ask(debian.accounts_socket, "end_sessions", fields, Deadline.after(60))
    assert first.end()[1] == 255
    assert len(leaders(debian)) == 1
    second.type("still here\n")
    assert "still here" in second.wait_for("still here")
    second.kill()
    assert by_key(debian, "twice") == ("in\r\n", 0)


def test_suspended_account_is_opened_by_nothing_until_it_is_resumed(debian: FirstLogins) -> None:
    log_in(debian, "true", user="paused")
    assert by_key(debian, "paused") == ("in\r\n", 0)
    accounts(debian, "suspend", "paused")
    said, status = by_key(debian, "paused")
    assert (status, "This account is closed now." in said) == (255, True)
    assert debian.ssh("echo in", options=debian.certificate("paused"), user="paused").end()[1] == 255
    assert debian.inside("su", "-", "paused", "-c", "true").returncode != 0
    terminal = debian.ssh("echo in", user="paused")
    debian.provider.answer(debian.code_at(terminal), user="paused")
    terminal.type("\n")
    assert "Your account on this host is closed now." in terminal.wait_for("Enter to go on")
    terminal.type("\n\x03")
    assert terminal.end()[1] != 0
    accounts(debian, "resume", "paused")
    assert by_key(debian, "paused") == ("in\r\n", 0)
    assert log_in(debian, "echo in", user="paused").split() == ["in"]


def test_stranger_does_not_learn_that_an_account_is_suspended(debian: FirstLogins) -> None:
    log_in(debian, "true", user="hidden")
    accounts(debian, "suspend", "hidden")
    terminal = debian.ssh("echo in", user="hidden")
    debian.provider.answer(debian.code_at(terminal), user="mallory")
    terminal.type("\n")
    assert "This login was not accepted." in terminal.wait_for("Enter to go on")
    terminal.kill()


def test_suspension_counts_at_once_and_is_completed_when_sshaft_accounts_is_back(debian: FirstLogins) -> None:
    log_in(debian, "true", user="absent")
    running = session(debian, "absent")
    debian.kill_accounts()
    said = fails(debian, "suspend", "absent")
    assert "sshaft-accounts does not answer" in said
    assert "Until then, sessions and cron jobs go on." in said
    assert by_key(debian, "absent")[1] == 255
    assert "sh" in processes(debian, "absent")
    debian.start_accounts()
    debian.kill_agent()
    debian.start_agent()  # it begins with what is left to do
    assert running.end()[1] != 0
    wait_for(lambda: not processes(debian, "absent"), debian.agent.process, lambda: debian.place.log("agent"), "end")
    assert by_key(debian, "absent")[1] == 255


def test_temporary_account_expires_on_the_host_too(debian: FirstLogins) -> None:
    """The host refuses it from the day after, also when nothing of sshaft is left there."""
    log_in(debian, "true", user="guest")
    (row,) = (row for row in json.loads(accounts(debian, "list", "--json")) if row["account"] == "guest")
    begun = debian.inside("date", "-u", "-d", row["expires_at"], "+%s").stdout
    day = str(int(begun) // 86400 + 1)
    assert shadow_expiry(debian, "guest") == day
    for command in ("suspend", "suspend", "resume"):
        accounts(debian, command, "guest")
    assert shadow_expiry(debian, "guest") == day
    assert by_key(debian, "guest") == ("in\r\n", 0)
    accounts(debian, "resume", "guest", "--expires", "2020-01-01")
    assert shadow_expiry(debian, "guest") == "18262"
    said, status = by_key(debian, "guest")
    assert (status, "This account is closed now." in said) == (255, True)
    accounts(debian, "resume", "guest", "--expires", "never")
    assert shadow_expiry(debian, "guest") == ""
    assert by_key(debian, "guest") == ("in\r\n", 0)


def test_groups_count_at_the_next_login(debian: FirstLogins) -> None:
    debian.inside("groupadd", "ops")
    (debian.root / "etc/sshaft/accounts.json").write_text('{"groups": ["ops"]}')
    log_in(debian, "true", user="worker")
    accounts(debian, "groups", "worker", "--add", "ops")
    assert debian.ssh("id -nG", options=debian.key("worker"), user="worker").end() == ("worker ops\r\n", 0)
    accounts(debian, "groups", "worker", "--remove", "ops")
    assert debian.ssh("id -nG", options=debian.key("worker"), user="worker").end() == ("worker\r\n", 0)
    assert "groups:" in fails(debian, "groups", "worker", "--add", "sudo")


def test_removed_account_leaves_its_files_and_its_uid_to_nobody(debian: FirstLogins) -> None:
    log_in(debian, "echo mine >file", user="gone")
    uid = debian.uid_of("gone")
    running = session(debian, "gone")
    accounts(debian, "remove", "gone")
    assert running.end()[1] != 0
    assert debian.uid_of("gone") is None
    home = debian.root / "home" / "gone"
    assert (home / "file").read_text() == "mine\n"
    assert "gone" not in accounts(debian, "list")
    home.rename(home.with_suffix(".old"))
    assert log_in(debian, "id -u; ls", user="gone").split() != [uid]
    assert debian.uid_of("gone") not in (None, uid)


def test_account_of_others_is_suspended_wholly_after_its_adoption(debian: FirstLogins) -> None:
    debian.inside("useradd", "--create-home", "elder")
    log_in(debian, "true", user="elder")
    running = session(debian, "elder")
    said = fails(debian, "suspend", "elder")
    assert "sshaft host accounts adopt elder" in said
    assert by_key(debian, "elder")[1] == 255
    assert "sh" in processes(debian, "elder")
    adopt = debian.place.sshaft("host", "accounts", "adopt", "elder", "--runtime-directory", debian.agent.runtime)
    socket = "--socket", str(debian.accounts_socket)
    subprocess.run([*map(str, adopt), *socket], check=True, timeout=120)
    assert running.end()[1] != 0
    assert processes(debian, "elder") == []
    accounts(debian, "resume", "elder")
    assert by_key(debian, "elder") == ("in\r\n", 0)
