"""Tests what a host notices of an agent that is stopped, frozen, silent, slow, or in the hands of an attacker.

A Debian in a chroot, with its own sshd and useradd. Steps are counted, and not timed: a login to an account of the host
asks the agent nothing for the name.
"""

import shutil
import signal
import socket
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from itertools import count

import pytest
from debian_host.chroot import log_in
from debian_host.first_login import FIRST_UID, RESCUE, FirstLogins, first_logins
from fakes.unix_server import Answer, UnixServer, drip, hang, read_question

from sshaft import messages

LOOK_UPS = 20
"""sshd looks a name up about twelve times in one login."""
MOST = 1500
NUMBERS = count()
"""A second try of a test uses another name."""
FREE = {"uid": "70900", "gid": "70900", "home": "/home/liar", "shell": "/bin/sh"}
LETS_IN = messages.encode("result", {"result": "success"})


@pytest.fixture(scope="module")
def debian() -> Iterator[FirstLogins]:
    with first_logins(create={"reservations": MOST}) as made:
        yield made


@contextmanager
def impostor(debian: FirstLogins, names: Answer, logins: Answer = LETS_IN) -> Iterator[tuple[UnixServer, UnixServer]]:
    """Puts servers in the place of the agent: for the NSS module, and for the PAM module, which it tells success."""
    debian.place.stop(debian.agent.process)
    folder = debian.agent.runtime / "host"
    for each in folder.iterdir():
        each.unlink()
    try:
        with UnixServer(folder / "names.sock", names) as for_nss, UnixServer(folder / "agent.sock", logins) as for_pam:
            yield for_nss, for_pam
    finally:
        for each in folder.iterdir():
            each.unlink()
        debian.start_agent()


def assert_local_accounts_notice_nothing(debian: FirstLogins) -> None:
    """Root and an emergency account log in, and the programs of the host know their accounts."""
    for name in ("root", RESCUE):
        assert debian.ssh("id -un", options=debian.key(name), user=name).end() == (f"{name}\r\n", 0)
    assert debian.inside("su", RESCUE, "-c", "id -un").stdout == f"{RESCUE}\n"
    assert debian.inside("getent", "passwd", RESCUE).returncode == 0
    assert debian.inside("getent", "passwd", "nobody-has-this").returncode == 2
    assert debian.inside("useradd", "--system", "service").returncode == 0
    assert debian.inside("userdel", "service").returncode == 0


def refused(debian: FirstLogins, name: str, options: tuple[str, ...] = ()) -> bool:
    """Whether ssh with a certificate for the name, which sshd trusts, opens nothing."""
    said, status = debian.ssh("echo in", options=(*options, *debian.certificate(name)), user=name).end()
    return status == 255 and "in\r\n" not in said


@contextmanager
def stopped(debian: FirstLogins) -> Iterator[None]:
    debian.place.stop(debian.agent.process)
    try:
        yield
    finally:
        debian.start_agent()


@contextmanager
def frozen(debian: FirstLogins) -> Iterator[None]:
    debian.agent.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        debian.agent.process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("broken", [stopped, frozen])
def test_agent_that_is_away_harms_only_names_that_the_host_does_not_know(
    debian: FirstLogins, broken: Callable[[FirstLogins], AbstractContextManager[None]]
) -> None:
    """The mistake of others: the PAM stack goes on after a refusal (himmelblau#1561)."""
    with broken(debian):
        before = debian.files()
        assert_local_accounts_notice_nothing(debian)
        assert refused(debian, "unmade")
        assert debian.files() == before
    assert int(log_in(debian, "id -u", user=f"after{next(NUMBERS)}")) >= FIRST_UID


LIES = [
    {"uid": "0"},
    {"gid": "0"},
    {"uid": "0", "gid": "0"},
    {"uid": "1"},
    {"gid": "42"},
    {"uid": "{rescue}"},
    {"uid": "{alice}", "gid": "{alice}"},
    {"gid": "{rescue}"},
    {"uid": "60001"},
    {"uid": "61184"},
    {"gid": "65519"},
    {"uid": "65534"},
    {"uid": "524288"},
    {"uid": "2147483648"},
    {"home": "/"},
    {"home": "/root"},
    {"home": "/home/rescue"},
    {"shell": "/bin/bash"},
    {},
]
"""What an attacker who has the agent might say of a name: root, the system, others, and an account that nobody made."""


def test_agent_that_lies_opens_no_session_and_makes_no_account(debian: FirstLogins) -> None:
    """Mistakes of others: CVE-2025-5689 (gid 0), CVE-2024-9312 (a uid of others), GHSA-6gp8-pp9v-gx45 (DynamicUser)."""
    uids = {"rescue": debian.uid_of(RESCUE), "alice": debian.uid_of(debian.place.person)}
    lies = {f"liar{i}": {each: value.format(**uids) for each, value in lie.items()} for i, lie in enumerate(LIES)}
    asked = Counter[str]()

    def lie(connection: socket.socket) -> None:
        name = read_question(connection)[1]["user"]
        asked[name] += 1
        connection.sendall(messages.encode("name", FREE | lies.get(name, {})))

    with impostor(debian, lie) as (_, for_pam):
        before = debian.files()
        for name, told in lies.items():
            assert refused(debian, name), told
        assert asked.keys() == lies.keys()
        assert debian.files() == before
        asked.clear()
        for_pam.asked.clear()
        assert_local_accounts_notice_nothing(debian)
        assert (asked, for_pam.asked) == ({}, [])


@pytest.mark.parametrize("answer", [hang, drip(messages.encode("name", FREE), 0.05)], ids=["silent", "slow"])
def test_agent_that_answers_too_late_is_asked_a_few_times_and_only_for_unknown_names(
    debian: FirstLogins, answer: Callable[[socket.socket], None]
) -> None:
    asked: list[socket.socket] = []

    def note(connection: socket.socket) -> None:
        asked.append(connection)
        answer(connection)

    with impostor(debian, note) as (_, for_pam):
        assert_local_accounts_notice_nothing(debian)
        assert (asked, for_pam.asked) == ([], [])
        assert refused(debian, "unmade")
        assert 1 <= len(asked) <= LOOK_UPS


@contextmanager
def slowed(debian: FirstLogins, seconds: float) -> Iterator[Counter[str]]:
    """Delays each answer of the agent to the NSS module. Yields how often it is asked for each name."""
    asked = Counter[str]()
    real = debian.names.rename(debian.names.with_name("real.sock"))

    def pass_on(connection: socket.socket) -> None:
        kind, fields = read_question(connection)
        asked[fields["user"]] += 1
        time.sleep(seconds)
        with socket.socket(socket.AF_UNIX) as agent:
            agent.connect(str(real))
            agent.sendall(messages.encode(kind, fields))
            while part := agent.recv(65536):
                connection.sendall(part)

    try:
        with UnixServer(debian.names, pass_on):
            yield asked
    finally:
        debian.names.unlink()
        real.rename(debian.names)


def test_slow_agent_delays_only_names_that_the_host_does_not_know(debian: FirstLogins) -> None:
    name = f"patient{next(NUMBERS)}"
    with slowed(debian, 0.3) as asked:
        assert_local_accounts_notice_nothing(debian)
        assert not asked
        assert int(log_in(debian, "id -u", user=name)) >= FIRST_UID
        assert 1 <= asked[name] <= LOOK_UPS
        asked.clear()
        assert "in" in log_in(debian, "echo in", user=name)
        assert not asked


# --- invented names

FLOOD = """
import os, pwd, socket, sys
sources, names, prefix = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
listening = socket.create_server(("127.0.0.1", 0))
known = 0
for i in range(sources):
    person = socket.create_connection(listening.getsockname(), source_address=(f"127.1.{i // 250}.{i % 250 + 1}", 0))
    at_sshd, _ = listening.accept()
    os.dup2(at_sshd.fileno(), 0)  # where sshd has the connection of a person
    for name in range(names):
        try:
            known += pwd.getpwnam(f"{prefix}{i}-{name}").pw_uid > 0
        except KeyError:
            pass
print(known)
"""


def flood(debian: FirstLogins, sources: int, names: int, prefix: str) -> "subprocess.Popen[str]":
    """Looks invented names up as sshd does, with the real NSS module: `names` for each of the addresses."""
    program = debian.root / "usr" / "local" / "bin" / "sshd-flood"
    shutil.copy((debian.root / "usr" / "bin" / "python3").resolve(), program)
    words = ["/usr/local/bin/sshd-flood", "-c", FLOOD, str(sources), str(names), prefix]
    return subprocess.Popen([*debian.enter, *words], stdout=subprocess.PIPE, text=True, env={"PYTHONHOME": "/usr"})


def known(flooding: "subprocess.Popen[str]") -> int:
    """Returns how many of the names sshd would know."""
    said, _ = flooding.communicate(timeout=200)
    assert flooding.returncode == 0
    return int(said)


def database(debian: FirstLogins) -> sqlite3.Connection:
    return sqlite3.connect(debian.place.directory / "state" / "host-login.sqlite", isolation_level=None)


def test_thousands_of_invented_names_keep_no_colleague_out(debian: FirstLogins) -> None:
    with flood(debian, 1, 4096, "one") as one:
        assert int(log_in(debian, "id -u", user=f"colleague{next(NUMBERS)}")) >= FIRST_UID
        assert 1 <= known(one) <= 10
    with flood(debian, 128, 12, "many") as many:
        assert int(log_in(debian, "id -u", user=f"newcomer{next(NUMBERS)}")) >= FIRST_UID
        assert 1 <= known(many) <= 1280
    assert_local_accounts_notice_nothing(debian)


def test_flood_from_very_many_addresses_stops_first_logins_alone_and_for_a_time(debian: FirstLogins) -> None:
    """SECURITY.md says so. Who has begun before gets in, and so does everybody whose account the host has."""
    waits, newcomer = f"waits{next(NUMBERS)}", f"newcomer{next(NUMBERS)}"
    terminal = debian.ssh("id -u", user=waits)
    code = debian.code_at(terminal)
    with flood(debian, 170, 10, "full") as full, closing(database(debian)) as file:
        assert 1 <= known(full) <= MOST
        ((waiting,),) = file.execute("SELECT count(*) FROM reservations WHERE until > ?", (int(time.time()),))
        assert waiting == MOST
        assert refused(debian, newcomer)
        assert file.execute("SELECT * FROM reservations WHERE account = ?", (newcomer,)).fetchall() == []
        assert_local_accounts_notice_nothing(debian)
        debian.provider.answer(code, user=waits)
        terminal.type("\n")
        assert int(terminal.end()[0]) >= FIRST_UID
        file.execute("UPDATE reservations SET until = ? WHERE account LIKE 'full%'", (int(time.time()),))
    assert int(log_in(debian, "id -u", user=newcomer)) >= FIRST_UID
