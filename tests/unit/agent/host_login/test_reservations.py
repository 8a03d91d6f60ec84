"""Tests that a name keeps its uid, that no uid means two people, and that strangers cannot take all of them."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sshaft_agent.host_login.bindings import Bindings
from sshaft_agent.host_login.database import DatabaseError
from sshaft_agent.host_login.first_login import free
from sshaft_agent.host_login.first_login.reservations import Reservations
from sshaft_agent.host_login.first_login.settings import CreateSettings

NOW = 2_000_000_000
HERE = "192.0.2.7"


def settings(**changes: Any) -> CreateSettings:
    return CreateSettings(**({"uid_first": 70000, "uid_last": 70009, "reservation_seconds": 600} | changes))


def on_a_host(directory: Path, is_free: Callable[[int, str], bool] = lambda _uid, _name: True) -> Reservations:
    return Reservations(directory, is_free)


def test_name_has_the_same_uid_again_also_for_another_agent_and_after_the_end(tmp_path: Path) -> None:
    """sshd keeps the uid of its first look-up. A second uid for the name would open the account of somebody else."""
    reservations = on_a_host(tmp_path)
    assert reservations.reserve("alice", HERE, settings(), NOW) == 70000
    assert reservations.reserve("bob", HERE, settings(), NOW) == 70001
    assert on_a_host(tmp_path).reserve("alice", HERE, settings(), NOW + 599) == 70000
    assert reservations.reserve("carol", HERE, settings(), NOW + 5000) == 70002
    assert reservations.reserve("alice", HERE, settings(), NOW + 5000) == 70000


def test_uid_that_waited_longest_goes_to_another_name_when_the_range_is_used_up(tmp_path: Path) -> None:
    reservations, few = on_a_host(tmp_path), settings(uid_last=70002)
    for i, name in enumerate(("alice", "bob", "carol")):
        assert reservations.reserve(name, HERE, few, NOW + i) == 70000 + i
    reservations.keep("alice")
    assert reservations.reserve("dave", HERE, few, NOW + 600 + 3600) is None
    assert reservations.reserve("dave", HERE, few, NOW + 600 + 3602) == 70001
    assert reservations.of("bob") is None
    assert reservations.reserve("bob", HERE, few, NOW + 600 + 3603) == 70002


def test_uid_of_an_account_that_was_made_goes_to_nobody_else(tmp_path: Path) -> None:
    reservations, one = on_a_host(tmp_path), settings(uid_last=70000)
    reservations.reserve("alice", HERE, one, NOW)
    reservations.keep("alice")
    reservations.end("alice", NOW)
    assert reservations.reserve("bob", HERE, one, NOW * 2) is None
    assert reservations.reserve("alice", HERE, one, NOW * 2) == 70000


def test_uid_that_sshaft_accounts_refuses_is_replaced(tmp_path: Path) -> None:
    reservations = on_a_host(tmp_path)
    assert reservations.reserve("alice", HERE, settings(), NOW) == 70000
    reservations.refuse("alice")
    assert reservations.reserve("alice", HERE, settings(), NOW + 599) is None, "an sshd may hold the uid"
    assert reservations.reserve("alice", HERE, settings(), NOW + 600) == 70001
    assert reservations.reserve("bob", HERE, settings(uid_last=70000), NOW * 2) is None


def test_uid_of_another_account_is_never_reserved(tmp_path: Path) -> None:
    taken = {70000, 70001, 70003}
    reservations = on_a_host(tmp_path, lambda uid, _name: uid not in taken)
    assert reservations.reserve("alice", HERE, settings(), NOW) == 70002
    assert reservations.reserve("bob", HERE, settings(), NOW) == 70004
    taken.add(70002)
    assert reservations.reserve("alice", HERE, settings(), NOW + 599) is None, "an sshd may hold the uid"
    assert reservations.reserve("alice", HERE, settings(), NOW + 600) == 70005


def test_full_range_gives_nothing(tmp_path: Path) -> None:
    reservations = on_a_host(tmp_path, lambda _uid, _name: False)
    assert reservations.reserve("alice", HERE, settings(), NOW) is None
    assert reservations.of("alice") is None


def test_one_source_can_reserve_only_its_share(tmp_path: Path) -> None:
    reservations, bounded = on_a_host(tmp_path), settings(reservations_per_source=3, reservations=5)
    got = [reservations.reserve(f"invented{i}", HERE, bounded, NOW) for i in range(4096)]
    assert [uid for uid in got if uid] == [70000, 70001, 70002]
    assert reservations.reserve("alice", "192.0.2.8", bounded, NOW) == 70003
    assert reservations.reserve("bob", "192.0.2.9", bounded, NOW) == 70004
    assert reservations.reserve("carol", "192.0.2.10", bounded, NOW) is None
    assert reservations.reserve("alice", "192.0.2.8", bounded, NOW + 599) == 70003
    assert reservations.reserve("carol", HERE, bounded, NOW + 600) == 70005


def test_approved_name_makes_room(tmp_path: Path) -> None:
    reservations, one = on_a_host(tmp_path), settings(reservations_per_source=1)
    reservations.reserve("alice", HERE, one, NOW)
    assert reservations.reserve("bob", HERE, one, NOW) is None
    reservations.end("alice", NOW)
    assert reservations.reserve("bob", HERE, one, NOW) == 70001


def test_stranger_who_asks_for_the_name_of_a_person_takes_nothing_from_them(tmp_path: Path) -> None:
    reservations, one = on_a_host(tmp_path), settings(reservations_per_source=1)
    reservations.reserve("alice", HERE, one, NOW)
    reservations.reserve("invented", "203.0.113.9", one, NOW)
    assert reservations.reserve("alice", "203.0.113.9", one, NOW + 500) == 70000
    found = reservations.of("alice")
    assert found is not None
    assert (found.source, found.until) == (HERE, NOW + 600)


def test_look_ups_of_one_login_write_once(tmp_path: Path) -> None:
    reservations = on_a_host(tmp_path)
    reservations.reserve("alice", HERE, settings(), NOW)
    database = tmp_path / "host-login.sqlite"
    before = database.stat().st_mtime_ns
    assert reservations.reserve("alice", HERE, settings(), NOW + 20) == 70000
    assert database.stat().st_mtime_ns == before


def test_two_agents_never_give_one_uid_to_two_names(tmp_path: Path) -> None:
    agents = [on_a_host(tmp_path) for _ in range(4)]
    many = settings(uid_last=70999, reservations_per_source=1000)

    def ask(i: int) -> int | None:
        try:
            return agents[i % 4].reserve(f"name{i}", HERE, many, NOW)
        except DatabaseError:  # the other agent was faster, or the disk is slow: the name is unknown this time
            return None

    with ThreadPoolExecutor(4) as pool:
        got = [uid for uid in pool.map(ask, range(40)) if uid]
    assert len(set(got)) == len(got) > 0


def test_reservation_survives_a_killed_agent(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path;"
        "from sshaft_agent.host_login.first_login.reservations import Reservations;"
        "from sshaft_agent.host_login.first_login.settings import CreateSettings;"
        f"Reservations(Path(sys.argv[1]), lambda *_: True).reserve('alice', '', CreateSettings(), {NOW});"
        "os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    found = on_a_host(tmp_path).of("alice")
    assert found is not None
    assert (found.uid, found.until) == (70000, NOW + 600)


def test_database_that_cannot_be_written_reserves_nothing(tmp_path: Path) -> None:
    reservations = Reservations(tmp_path, lambda _uid, _name: True, busy_seconds=0.05)
    with sqlite3.connect(tmp_path / "host-login.sqlite", isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(DatabaseError, match="locked"):
            reservations.reserve("alice", HERE, settings(), NOW)
    other.close()
    assert reservations.of("alice") is None


def test_flood_of_names_makes_no_approval_fail(tmp_path: Path) -> None:
    """SQLite gives up after `busy_seconds`, although the others write for a moment each."""
    reservations = Reservations(tmp_path, lambda _uid, _name: True, busy_seconds=0.05)
    bindings = Bindings(tmp_path, busy_seconds=0.05)
    many, is_done = settings(uid_last=79999, reservations_per_source=4096), threading.Event()

    def flood() -> None:
        for i in range(4000):
            if is_done.is_set():
                return
            reservations.reserve(f"name{i}", HERE, many, NOW)

    with ThreadPoolExecutor(1) as pool:
        flooding = pool.submit(flood)
        try:
            assert all(bindings.bind(f"account{i}", "https://op.example", "1", datetime.now(UTC)) for i in range(200))
        finally:
            is_done.set()
        flooding.result()


def test_full_disk_reserves_nothing(tmp_path: Path) -> None:
    """A limit of the file size stands for the disk: the file may not grow."""
    program = (
        "import resource, signal, sys; from pathlib import Path;"
        "from sshaft_agent.host_login.database import DatabaseError;"
        "from sshaft_agent.host_login.first_login.reservations import Reservations;"
        "from sshaft_agent.host_login.first_login.settings import CreateSettings;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "reservations = Reservations(Path(sys.argv[1]), lambda *_: True);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100));\n"
        f"try: reservations.reserve('alice', '', CreateSettings(), {NOW})\n"
        "except DatabaseError: print('refused')"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path], timeout=60, check=False, stdout=subprocess.PIPE)
    assert done.stdout == b"refused\n"
    reservations = on_a_host(tmp_path)
    assert reservations.of("alice") is None
    assert reservations.reserve("alice", HERE, settings(), NOW) == 70000


def test_uids_with_another_meaning_are_not_free(tmp_path: Path) -> None:
    subordinate = tmp_path / "subuid"
    subordinate.write_text("alice:71000:10\nbroken\n#:x:y\nbob:71020:1")
    for uid in (0, 999, 60001, 60513, 61184, 65519, 65534, 65535, 524288, 1879048191, 2**32 - 1, 71000, 71009, 71020):
        assert not free.is_free_uid(uid, "newbie", [subordinate])
    assert not free.is_free_uid(os.getuid(), "newbie", [])
    for uid in (71010, 71021):
        assert free.is_free_uid(uid, "newbie", [subordinate, tmp_path / "missing"])


@pytest.mark.parametrize("name", ["root", "daemon", "adm", "sudo", "nogroup"])
def test_name_of_an_account_or_a_group_is_not_free(name: str) -> None:
    assert not free.is_free_name(name, None)
    assert free.is_free_name("no-such-user", None)
