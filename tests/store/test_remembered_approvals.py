"""Tests whose remembered approvals hosts may report, and what ends them, on both databases."""

from dataclasses import replace

import pytest
from fakes.public_keys import ed25519
from service.hosts import Host, approve
from service.service import START, Clock, Service

from sshaft.public_key import parse
from sshaft_identity.host_logins import ending
from sshaft_identity.host_logins.entries import HostLogin, Kind, Reported
from sshaft_identity.host_logins.listing import logins_of
from sshaft_identity.store import Store

KEY = parse(ed25519("alice")).fingerprint


@pytest.fixture(autouse=True)
def people(store: Store) -> None:
    for name in ("alice", "bob"):
        store.users.add(name, START)


@pytest.fixture
def remembered(service: Service) -> Reported:
    """Returns what the host build-1 remembers of a login that alice has approved."""
    host = Host(service)
    opened = host.open(key_fingerprint=KEY)
    assert host.verify(opened["id"], approve(service, opened["id"])).status_code == 200
    return Reported(Kind.REMEMBERED, "r1", "alice", "sshd", "192.0.2.7", approval=opened["id"])


def take(service: Service, entry: Reported, client: str = "build-1") -> list[tuple[str, str]]:
    return service.store.host_reports.take(client, "build-1.example.org", [entry], service.clock())


def at(store: Store, user: str) -> list[HostLogin]:
    with store.database.read() as connection:
        return logins_of(connection, user, Kind.REMEMBERED)


def test_approval_proves_whose_it_is(service: Service, store: Store, remembered: Reported) -> None:
    assert take(service, replace(remembered, account="root", user_id="bob")) == []
    (shown,) = at(store, "alice")
    assert (shown.is_proven, shown.is_ending, shown.fingerprint) == (True, False, KEY)
    assert at(store, "bob") == []


def test_approval_of_another_client_proves_nothing(service: Service, store: Store, remembered: Reported) -> None:
    Host(service, "build-2")
    assert take(service, remembered, "build-2") == [remembered.key]
    assert at(store, "alice") == []


def test_approval_whose_digits_nobody_brought_proves_nothing(service: Service, store: Store) -> None:
    host = Host(service)
    for is_approved in (False, True):
        opened = host.open()
        if is_approved:
            approve(service, opened["id"])
        entry = Reported(Kind.REMEMBERED, "r1", "alice", "sshd", "192.0.2.7", approval=opened["id"])
        assert take(service, entry) == [entry.key]
    assert at(store, "alice") == []


def test_person_and_desk_end_it(service: Service, store: Store, remembered: Reported) -> None:
    take(service, remembered)
    (shown,) = at(store, "alice")
    assert not ending.end(store.database, "bob", shown.id, service.clock())
    assert ending.end(store.database, "alice", shown.id, service.clock())
    assert take(service, remembered) == [remembered.key]


def test_sign_out_everywhere_ends_it_also_if_the_host_reports_it_later(
    service: Service, store: Store, clock: Clock, remembered: Reported
) -> None:
    store.revocation.sign_out("alice", clock.advance(1))
    assert take(service, remembered) == [remembered.key]


def test_removed_key_ends_it(service: Service, store: Store, clock: Clock, remembered: Reported) -> None:
    store.keys.add("alice", [(parse(ed25519("alice")), "")], START)
    assert take(service, remembered) == []
    store.revocation.remove_key(KEY, clock.advance(1))
    assert take(service, remembered) == [remembered.key]


def test_removed_user_leaves_nothing_behind(service: Service, store: Store, remembered: Reported) -> None:
    take(service, remembered)
    store.revocation.remove_user("alice", service.clock())
    assert take(service, remembered) == [remembered.key]
    later = replace(remembered, entry="r2")
    assert later.key in take(service, later)
