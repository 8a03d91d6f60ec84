"""Tests which logins a remembered approval opens. Most of them are attacks, which it must not open."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from sshaft_agent.host_login.auth_info import UsedKey
from sshaft_agent.host_login.bindings import Bindings
from sshaft_agent.host_login.conversation import LoginQuestion
from sshaft_agent.host_login.remembered.entries import Entry, machine_id, origin_of
from sshaft_agent.host_login.remembered.remembered import Remembered
from sshaft_agent.host_login.remembered.store import MOST, MOST_OF_ACCOUNT
from sshaft_oidc.identity import Identity

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()
HOURS = 3600
ISSUER = "https://id.example"
KEY, OTHER_KEY = UsedKey("ssh-ed25519", "SHA256:own"), UsedKey("ssh-ed25519", "SHA256:other")
LOGIN = LoginQuestion("alice", "192.0.2.7", "sshd", 100, keys=(KEY,))
ALICE = Identity(ISSUER, "s1", {"sub": "s1", "preferred_username": "alice", "amr": ["swk"]}, frozenset())
HERE = origin_of("https://id.example", "web1", "web1.example", "machine 1")


@dataclass
class Host:
    """A host where alice may be remembered for 12 hours.

    `closed` says why an account is closed, and `refused` why the rules do not give it to its person.
    """

    directory: Path
    now: float = NOW
    is_confirmed: bool = True
    closed: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    changes: int = 0

    def __post_init__(self) -> None:
        self.bindings = Bindings(self.directory)
        self.remembered = Remembered(
            self.bindings,
            lambda account, _issuer, _subject: self.closed.get(account),
            lambda entry: self.refused.get(entry.circumstances.account),
            self._changed,
            lambda: self.now,
        )
        self.use()
        self.bindings.bind("alice", ISSUER, "s1", self.time)

    def use(self, origin: str = HERE, longest: timedelta | None = timedelta(hours=12), **more: bool) -> None:
        self.remembered.use(origin, longest, **{"without_key": False} | more)

    @property
    def time(self) -> datetime:
        return datetime.fromtimestamp(self.now, UTC)

    def _changed(self) -> None:
        self.changes += 1

    def approve(self, **changes: Any) -> None:
        self.remembered.remember(replace(LOGIN, **changes), "approval-1", ALICE)

    def opens(self, **changes: Any) -> bool:
        return self.found(**changes) is not None

    def found(self, **changes: Any) -> Entry | None:
        return self.remembered.find(replace(LOGIN, **changes), lambda: self.is_confirmed)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path)
    host.approve()
    return host


def test_same_login_needs_no_new_approval_until_its_time_is_over(host: Host) -> None:
    host.now += 12 * HOURS - 1
    found = host.found()
    assert found is not None
    assert (found.approval, found.issuer, found.subject, found.claims) == ("approval-1", ISSUER, "s1", ALICE.claims)
    host.now += 1
    assert not host.opens()
    host.now -= 1
    assert not host.opens()  # it is forgotten


@pytest.mark.parametrize(
    "login",
    [
        {"client_ip": "198.51.100.7"},
        {"client_ip": "192.0.2.8"},
        {"client_ip": "2001:db8::7"},
        {"client_ip": ""},
        {"client_ip": "laptop.example"},
        {"keys": (OTHER_KEY,)},
        {"keys": ()},
        {"keys": (KEY, OTHER_KEY)},
        {"user": "bob"},
        {"user": "root"},
        {"service": "sudo"},
        {"service": ""},
        {"config": "/etc/sshaft/other.json"},
    ],
)
def test_login_that_differs_from_the_approved_one_is_asked_again(host: Host, login: dict[str, Any]) -> None:
    assert not host.opens(**login)
    assert host.opens()


def test_addresses_of_one_ipv6_network_are_one_place(host: Host) -> None:
    host.approve(client_ip="2001:db8:1:2::7")
    assert host.opens(client_ip="2001:db8:1:2:ffff::9")
    assert not host.opens(client_ip="2001:db8:1:3::7")
    assert host.opens(client_ip="::ffff:192.0.2.7")


@pytest.mark.parametrize(
    "login",
    [
        {"client_ip": "laptop.example"},
        {"keys": ()},
        {"keys": (KEY, OTHER_KEY)},
        {"config": "/x"},
        {"service": ""},
        {"service": "sshd\n"},
        {"service": "s" * 65},
    ],
)
def test_approval_that_nothing_binds_is_not_remembered(tmp_path: Path, login: dict[str, Any]) -> None:
    host = Host(tmp_path)
    host.approve(**login)
    assert host.remembered.listed() == []
    assert not host.opens(**login)


def test_login_without_a_key_is_remembered_only_where_the_operator_allows_it(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.use(without_key=True)
    host.approve(keys=())
    assert host.opens(keys=())
    assert not host.opens()  # a key does not make up for another approval
    assert not host.opens(keys=(), client_ip="192.0.2.8")
    host.use(without_key=False)
    assert not host.opens(keys=())
    assert host.remembered.present() == []
    host.use(without_key=True)
    assert not host.opens(keys=())


def test_nothing_is_remembered_unless_it_is_switched_on(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.use(longest=None)
    host.approve()
    assert host.remembered.listed() == []
    host.use()
    host.approve()
    host.use(longest=None)
    assert not host.opens()


def test_shorter_time_counts_for_older_approvals(host: Host) -> None:
    host.use(longest=timedelta(hours=1))
    host.now += HOURS
    assert not host.opens()


def test_longer_time_does_not_prolong_older_approvals(host: Host) -> None:
    host.use(longest=timedelta(days=7))
    host.now += 12 * HOURS
    assert not host.opens()


def test_use_does_not_prolong_an_approval(host: Host) -> None:
    for _ in range(11):
        host.now += HOURS
        assert host.opens()
    host.now += HOURS
    assert not host.opens()


def test_clock_that_is_set_forward_ends_an_approval_for_good(host: Host) -> None:
    host.now += 13 * HOURS
    assert not host.opens()
    host.now -= 13 * HOURS
    assert not host.opens()


def test_clock_that_is_set_back_before_the_approval_ends_it(host: Host) -> None:
    host.now -= 2 * HOURS
    assert not host.opens()


def test_small_correction_of_the_clock_ends_nothing(host: Host) -> None:
    host.now -= 5
    assert host.opens()


def test_approval_counts_only_while_the_identity_service_confirms(host: Host) -> None:
    host.is_confirmed = False
    assert not host.opens()
    host.is_confirmed = True
    assert host.opens()


@pytest.mark.parametrize("origin", [
    ("https://id.example", "web1", "web2.example", "machine 1"),
    ("https://id.example", "web1", "web1.example", "machine 2"),
    ("https://id.example", "web2", "web1.example", "machine 1"),
    ("https://other.example", "web1", "web1.example", "machine 1"),
])  # fmt: skip
def test_copied_database_opens_nothing_on_another_host(host: Host, origin: tuple[str, ...]) -> None:
    host.use(origin_of(*origin))
    assert not host.opens()
    assert host.remembered.present() == []


def test_unbound_account_is_asked_again(host: Host) -> None:
    host.bindings.unbind("alice")
    assert not host.opens()


@pytest.mark.parametrize("subject", ["s1", "s2"])
def test_account_that_is_bound_again_is_asked_again(host: Host, subject: str) -> None:
    host.now += 60
    host.bindings.unbind("alice")
    host.bindings.bind("alice", ISSUER, subject, host.time)
    assert not host.opens()


def test_account_of_the_same_subject_elsewhere_is_asked_again(host: Host) -> None:
    host.bindings.unbind("alice")
    host.bindings.bind("alice", "https://other.example", "s1", host.time)
    assert not host.opens()


@pytest.mark.parametrize("rules", ["closed", "refused"])
def test_account_that_the_rules_of_today_refuse_is_asked_again_also_after_they_allow_it(host: Host, rules: str) -> None:
    getattr(host, rules)["alice"] = "suspended"
    assert not host.opens()
    getattr(host, rules).clear()
    assert not host.opens()


def test_approval_of_a_suspended_account_ends_without_a_login(host: Host) -> None:
    host.closed["alice"] = "suspended"
    assert host.remembered.present() == []
    host.closed.clear()
    assert not host.opens()


def test_ended_approval_is_asked_again(host: Host) -> None:
    (row,) = host.remembered.present()
    changes = host.changes
    assert host.remembered.end(["unknown", row["id"]], "ended") == 1
    assert host.changes == changes + 1
    assert not host.opens()


def test_end_of_an_account_leaves_the_others(host: Host) -> None:
    host.approve(service="login")
    host.bindings.bind("bob", ISSUER, "s1", host.time)
    host.approve(user="bob")
    assert host.remembered.end_of("alice", "removed") == 2
    assert not host.opens()
    assert host.opens(user="bob")


def test_new_approval_replaces_the_older_one(host: Host) -> None:
    host.now += HOURS
    host.approve()
    assert len(host.remembered.present()) == 1
    host.now += 11.5 * HOURS
    assert host.opens()


def test_report_names_what_the_identity_service_must_know_and_nothing_secret(host: Host) -> None:
    (row,) = host.remembered.present()
    assert len(row.pop("id")) <= 64
    assert row == {
        "approval": "approval-1", "account": "alice", "service": "sshd", "network": "192.0.2.7",
        "key_fingerprint": "SHA256:own", "until": "2030-01-02T15:04:05+00:00", "used_at": "2030-01-02T03:04:05+00:00",
    }  # fmt: skip


def test_report_has_no_fingerprint_where_there_was_no_key(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.use(without_key=True)
    host.approve(keys=())
    assert "key_fingerprint" not in host.remembered.present()[0]


def test_use_is_noted_but_not_at_each_of_many_logins(host: Host) -> None:
    def used() -> str:
        return str(host.remembered.present()[0]["used_at"])

    host.now += 30
    assert host.opens()
    assert used() == "2030-01-02T03:04:05+00:00"
    host.now += 30
    assert host.opens()
    assert used() == "2030-01-02T03:05:05+00:00"


def test_account_has_room_for_a_few_and_the_least_used_goes(host: Host) -> None:
    for number in range(MOST_OF_ACCOUNT):
        host.now += 1
        host.approve(client_ip=f"198.51.100.{number}")
    assert len(host.remembered.present()) == MOST_OF_ACCOUNT
    assert not host.opens()
    assert host.opens(client_ip="198.51.100.0")


def test_host_with_too_many_remembers_no_more(tmp_path: Path) -> None:
    host = Host(tmp_path)
    with sqlite3.connect(host.bindings.path) as connection:  # one commit, and not thousands
        rows = [
            (f"id{n}", "a", HERE, f"user{n}", "sshd", "192.0.2.1", "k", ISSUER, "s", "{}", int(NOW), int(NOW) + 9, 0)
            for n in range(MOST)
        ]
        connection.executemany(f"INSERT INTO remembered VALUES ({', '.join('?' * 13)})", rows)
    with capture_logs() as logs:
        host.approve()
    assert not host.opens()
    assert [each["event"] for each in logs] == ["host_remembered.full"]


def test_other_agent_process_knows_the_same_approvals(host: Host) -> None:
    other: Callable[..., bool] = Host(host.directory).opens
    assert other()
    (row,) = host.remembered.present()
    host.remembered.end([row["id"]], "ended")
    assert not other()


def test_full_disk_refuses_nobody_who_was_approved(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.bindings.path.write_bytes(b"no database" * 100)
    with capture_logs() as logs:
        host.approve()
    assert [(each["event"], each["user"]) for each in logs] == [("host_remembered.not_kept", "alice")]


def test_machine_without_a_number_has_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "machine-id").write_text("0123\n")
    assert [machine_id(tmp_path / name) for name in ("machine-id", "missing")] == ["0123", ""]


def test_disk_that_takes_no_writes_refuses_nobody_who_is_remembered(host: Host) -> None:
    with sqlite3.connect(host.bindings.path) as connection:
        connection.execute(
            "CREATE TRIGGER full BEFORE UPDATE ON remembered BEGIN SELECT RAISE(FAIL, 'database or disk is full'); END"
        )
    host.now += 60
    with capture_logs() as logs:
        assert host.opens()
    assert [each["event"] for each in logs] == ["host_remembered.not_kept"]
