"""Tests the memory of logins and the bounds of processes that wait for a person."""

import pytest
from fakes import public_keys

from sshaft import public_key
from sshaft.addresses import source_of
from sshaft.listing import Grant
from sshaft_agent.ssh_factor.logins import Login, Logins, Prompts

GRANT = Grant(
    user="alice",
    key=public_key.parse(public_keys.ed25519()),
    pending=True,
    challenge="c1",
    needs_code=True,
    expires_at=None,
    verify_required=False,
    knows_challenges=True,
)


def test_first_session_of_a_connection_decides_the_login() -> None:
    logins = Logins()
    first = logins.add("t1", Login(GRANT, 10))
    assert logins.add("t1", Login(GRANT, 10)) is first is logins.find("t1")
    logins.forget("t1")
    logins.forget("t1")
    assert logins.find("t1") is None


def test_purge_removes_logins_whose_ticket_has_expired() -> None:
    logins = Logins()
    logins.add("t1", Login(GRANT, 10))
    later = logins.add("t2", Login(GRANT, 20))
    logins.purge(10)
    assert (len(logins), logins.find("t2")) == (1, later)


def test_processes_that_wait_are_bounded_for_each_key() -> None:
    """Finding S9: one throwaway key held a hundred prompts."""
    prompts = Prompts(per_key=2, per_address=10)
    assert prompts.begin("t1", "k", "192.0.2.1", 0)
    assert prompts.begin("t2", "k", "192.0.2.2", 0)
    assert not prompts.begin("t3", "k", "192.0.2.3", 0)
    assert prompts.begin("t4", "another", "192.0.2.3", 0)
    prompts.end("t1")
    prompts.end("t1")
    assert prompts.begin("t3", "k", "192.0.2.3", 0)


@pytest.mark.parametrize(
    ("first", "second"), [("192.0.2.1", "192.0.2.2"), ("2001:db8:0:2::1", "2001:db8:0:3::1"), ("", "UNKNOWN")]
)
def test_processes_that_wait_are_bounded_for_each_address(first: str, second: str) -> None:
    prompts = Prompts(per_key=10, per_address=1)
    assert prompts.begin("t1", "a", first, 0)
    assert not prompts.begin("t2", "b", first, 0)
    assert prompts.begin("t3", "c", second, 0)


def test_network_of_one_person_in_ipv6_counts_as_one_address() -> None:
    prompts = Prompts(per_key=10, per_address=1)
    assert prompts.begin("t1", "a", "2001:db8::1", 0)
    assert not prompts.begin("t2", "b", "2001:db8:0:0:ffff::1", 0)


@pytest.mark.parametrize("first", ["2001:db8::1", "192.0.2.1", ""])
@pytest.mark.parametrize("second", ["2001:db8:0:0:1::", "2001:db8::ffff", "::ffff:192.0.2.1", "192.0.2.1"])
def test_address_has_its_bound_whatever_stands_beside_it(first: str, second: str) -> None:
    prompts = Prompts(per_key=10, per_address=1)
    assert prompts.begin("t1", "a", first, 0)
    same = source_of(first) == source_of(second)
    assert prompts.begin("t2", "b", second, 0) is not same


def test_process_counts_no_longer_than_it_can_wait() -> None:
    """sshaft-login waits 90 s for a person. A little later its place is free."""
    prompts = Prompts(per_key=1, per_address=1)
    assert prompts.begin("t1", "k", "192.0.2.1", 0)
    assert not prompts.begin("t2", "k", "192.0.2.1", 94.9)
    assert prompts.begin("t2", "k", "192.0.2.1", 95)


def test_two_hundred_processes_of_an_address_may_wait() -> None:
    """Many people may come from one address."""
    prompts = Prompts()
    begun = [prompts.begin(f"t{number}", f"k{number}", "192.0.2.1", 0) for number in range(201)]
    assert begun == [True] * 200 + [False]
