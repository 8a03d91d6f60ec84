"""Tests a first login in which the agent or sshaft-accounts is killed, and people who come for one name at once.

A Debian in a chroot, with its own sshd and useradd.
"""

import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import count

import pytest
from debian_host.chroot import log_in
from debian_host.first_login import FIRST_UID, ONE_TRY, FirstLogins, first_logins
from image.containers import wait_until

from sshaft_demo.host import Terminal

NUMBERS = count()
"""A second try of a test uses another name."""
WRAPPER = """#!/bin/sh
case $* in *{name}*) ;; *) exec {tool}.real "$@" ;; esac
{before}
{tool}.real "$@"
status=$?
{after}
echo >/run/sshaft-accounts/ended
exit $status
"""
PAUSE = "echo >/run/sshaft-accounts/reached; read word </run/sshaft-accounts/go"


@pytest.fixture(scope="module")
def debian() -> Iterator[FirstLogins]:
    """Two people have one name here: smith.a and smith.b are both smith."""
    with first_logins(match=r"([a-z0-9]+)\.[a-z]", name=r"\1") as made:
        yield made


def subjects(debian: FirstLogins, name: str) -> list[str]:
    """Returns the identities that have the account."""
    with closing(sqlite3.connect(debian.place.directory / "state" / "host-login.sqlite")) as database:
        rows = database.execute("SELECT subject FROM bindings WHERE account = ?", (name,))
        return [subject for (subject,) in rows]


def reserved_uid(debian: FirstLogins, name: str) -> int:
    with closing(sqlite3.connect(debian.place.directory / "state" / "host-login.sqlite")) as database:
        ((uid,),) = database.execute("SELECT uid FROM reservations WHERE account = ?", (name,))
        return int(uid)


def test_name_of_two_people_belongs_to_the_one_who_came_first(debian: FirstLogins) -> None:
    """The mistake of others: a new person gets the name and the account. Cutting `@domain` off does the same."""
    name = f"smith{next(NUMBERS)}"
    assert int(log_in(debian, "id -u", user=name, person=f"{name}.a")) >= FIRST_UID
    assert "was not accepted" in debian.refusal(name, f"{name}.b")
    assert subjects(debian, name) == [f"id-of-{name}.a"]
    assert log_in(debian, "id -un", user=name, person=f"{name}.a").split() == [name]


@contextmanager
def sessions(debian: FirstLogins, name_of: dict[str, str]) -> Iterator[dict[str, Terminal]]:
    """Yields an ssh for each person, to the account that the dictionary has. All of them are approved at once."""
    with ExitStack() as stack:
        terminals = {}
        for i, (person, name) in enumerate(name_of.items()):
            options = (*ONE_TRY, "-o", f"BindAddress=127.0.2.{i // 8 + 1}")
            terminals[person] = debian.ssh("id -un", options=options, user=name)
            stack.callback(terminals[person].kill)
        for person, terminal in terminals.items():
            debian.provider.answer(debian.code_at(terminal), user=person)
        for terminal in terminals.values():
            terminal.type("\n")
        yield terminals


def test_only_one_of_two_people_who_come_at_once_gets_the_name(debian: FirstLogins) -> None:
    """The mistake of others: both get in, and share the account."""
    name = f"smith{next(NUMBERS)}"
    with sessions(debian, {f"{name}.a": name, f"{name}.b": name}) as terminals:
        said = {person: terminal.wait_for("Enter to go on") for person, terminal in terminals.items()}
    (owner,) = [person for person in said if name in said[person].split()]
    assert subjects(debian, name) == [f"id-of-{owner}"]


def test_first_logins_of_a_whole_class_at_once_all_pass(debian: FirstLogins) -> None:
    """Accounts are made one after the other. Nobody has to come again."""
    names = [f"pupil{next(NUMBERS)}" for _ in range(12)]
    with sessions(debian, {f"{name}.a": name for name in names}) as terminals:
        said = [terminal.wait_for("Enter to go on", 60).split() for terminal in terminals.values()]
    assert said == [[name] for name in names]


def test_frozen_sshaft_accounts_delays_first_logins_alone(debian: FirstLogins) -> None:
    known, waits = f"smith{next(NUMBERS)}", f"smith{next(NUMBERS)}"
    log_in(debian, "true", user=known, person=f"{known}.a")
    os.kill(debian.accounts_pid, signal.SIGSTOP)
    try:
        terminal = debian.ssh("id -un", options=ONE_TRY, user=waits)
        debian.provider.answer(debian.code_at(terminal), user=f"{waits}.a")
        terminal.type("\n")
        assert log_in(debian, "id -un", user=known, person=f"{known}.a").split() == [known]
        assert debian.ssh("id -un", options=debian.key(known), user=known).end() == (f"{known}\r\n", 0)
        assert debian.uid_of(waits) is None
    finally:
        os.kill(debian.accounts_pid, signal.SIGCONT)
        debian.accounts.send_signal(signal.SIGCONT)  # nsenter stops with its program
    assert terminal.end()[0].split() == [waits]


def test_killed_agent_gives_the_name_the_same_uid_again(debian: FirstLogins) -> None:
    name = f"smith{next(NUMBERS)}"
    terminal = debian.ssh("id -u", options=ONE_TRY, user=name)
    debian.code_at(terminal)
    uid = reserved_uid(debian, name)
    debian.kill_agent()
    terminal.type("\n")
    assert terminal.end()[1] != 0
    debian.start_agent()
    assert int(log_in(debian, "id -u", user=name, person=f"{name}.a")) == uid


@contextmanager
def paused(debian: FirstLogins, tool: str, moment: str, name: str) -> Iterator[None]:
    """Lets a program of the host wait before or after its work for this name, until `go_on`."""
    folder = debian.accounts_socket.parent
    for each in ("reached", "ended", "go"):
        (folder / each).unlink(missing_ok=True)
    os.mkfifo(folder / "go")
    path = debian.root / "usr" / "sbin" / tool
    path.rename(path.with_suffix(".real"))
    path.write_text(WRAPPER.format(tool=f"/usr/sbin/{tool}", name=name, **{"before": "", "after": "", moment: PAUSE}))
    path.chmod(0o755)
    try:
        yield
    finally:
        path.with_suffix(".real").rename(path)


def go_on(debian: FirstLogins) -> None:
    (debian.accounts_socket.parent / "go").write_text("go\n")
    wait_until((debian.accounts_socket.parent / "ended").exists, "the program ends")


@pytest.mark.parametrize("victim", ["agent", "accounts"])
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("tool", ["groupadd", "useradd"])
def test_first_login_in_which_a_part_is_killed_is_completed_by_the_next_one(
    debian: FirstLogins, tool: str, moment: str, victim: str
) -> None:
    """The next login has the uid of the first one, and until then nobody gets in."""
    name = f"smith{next(NUMBERS)}"
    with paused(debian, tool, moment, name):
        terminal = debian.ssh("echo in", options=ONE_TRY, user=name)
        debian.provider.answer(debian.code_at(terminal), user=f"{name}.a")
        terminal.type("\n")
        wait_until((debian.accounts_socket.parent / "reached").exists, f"{tool} runs")
        uid = reserved_uid(debian, name)
        if victim == "agent":
            debian.kill_agent()
        else:
            debian.kill_accounts()
        go_on(debian)
    terminal.type("\n")
    said, status = terminal.end()
    assert status != 0
    assert "in\r\n" not in said
    if victim == "agent":
        debian.start_agent()
    else:
        debian.start_accounts()
    assert debian.ssh("echo in", options=debian.key(name), user=name).end()[1] == 255
    assert subjects(debian, name) == []
    assert int(log_in(debian, "id -u; echo in >file", user=name, person=f"{name}.a")) == uid
    assert debian.inside("id", name).stdout == f"uid={uid}({name}) gid={uid}({name}) groups={uid}({name})\n"
    assert "was not accepted" in debian.refusal(name, f"{name}.b")
