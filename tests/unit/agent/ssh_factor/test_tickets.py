"""Tests that tickets are random, bound, short-lived and spent after one use."""

import re
from dataclasses import replace

import pytest
from fakes import public_keys

from sshaft import authorized_keys, public_key
from sshaft.listing import Grant
from sshaft_agent.ssh_factor.tickets import LIFETIME, MAX_TICKETS, Ticket, Tickets

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


def issue(out: Tickets, now: float = 0.0, grant: Grant = GRANT, **more: float) -> Ticket:
    ticket = out.issue(grant, "r" * 32, now, **more)
    assert ticket is not None
    return ticket


def test_ticket_passes_once() -> None:
    out = Tickets()
    ticket = issue(out)
    assert out.take(ticket.secret, 1) == ticket
    assert out.take(ticket.secret, 1) is None
    assert out.peek(ticket.secret, 1) is None
    assert len(out) == 0


def test_peek_spends_no_ticket() -> None:
    out = Tickets()
    ticket = issue(out)
    assert out.peek(ticket.secret, 1) == out.peek(ticket.secret, 1) == ticket
    assert out.take(ticket.secret, 1) == ticket


@pytest.mark.parametrize("lifetime", [LIFETIME, 3600.0, 30.0, 0.5])
def test_ticket_ends_with_its_lifetime_and_two_minutes_at_most(lifetime: float) -> None:
    out = Tickets()
    secret = issue(out, 100, lifetime=lifetime).secret
    end = 100 + min(lifetime, 120)
    assert out.peek(secret, end - 0.01)
    assert out.peek(secret, end) is None
    assert out.take(secret, end) is None
    assert out.take(secret, 100) is None  # a clock that goes back does not make it valid again


@pytest.mark.parametrize("lifetime", [0.0, -5.0])
def test_ticket_of_an_ended_challenge_is_never_valid(lifetime: float) -> None:
    out = Tickets()
    assert out.take(issue(out, 100, lifetime=lifetime).secret, 100) is None


@pytest.mark.parametrize("secret", ["", "t", "x" * 25, "\0", "T"])
def test_made_up_ticket_is_not_valid(secret: str) -> None:
    out = Tickets()
    issue(out)
    assert out.peek(secret, 0) is None
    assert out.take(secret, 0) is None
    assert len(out) == 1


def test_tickets_are_long_random_and_safe_in_a_command() -> None:
    secrets = {issue(Tickets()).secret for _ in range(200)}
    assert len(secrets) == 200
    for secret in secrets:
        assert re.fullmatch(r"t[A-Za-z0-9_-]{24}", secret)  # 144 bits behind a letter
        assert authorized_keys.is_safe_word(secret)


def test_same_grant_gets_the_same_ticket_while_it_has_a_minute_left() -> None:
    out = Tickets()
    first = issue(out, 0)
    assert issue(out, 59.9) is first
    second = issue(out, 60.1)
    assert second.secret != first.secret
    assert out.take(first.secret, 119)  # a session can end with the ticket that it began with
    assert issue(out, 119) is second


def test_short_ticket_is_issued_again_for_half_of_its_lifetime() -> None:
    out = Tickets()
    first = issue(out, 0, lifetime=10)
    assert issue(out, 4, lifetime=6) is first
    assert issue(out, 8, lifetime=2) is first
    assert issue(out, 9.5, lifetime=2) is not first


def test_spent_ticket_is_not_issued_again() -> None:
    out = Tickets()
    first = issue(out)
    out.take(first.secret, 0)
    assert issue(out).secret != first.secret


@pytest.mark.parametrize(
    "other",
    [
        {"user": "bob"},
        {"challenge": "c2"},
        {"key": public_key.parse(public_keys.ed25519("b"))},
        {"pending": False},
        {"needs_code": False},
        {"verify_required": True},
    ],
    ids=str,
)
def test_another_grant_gets_another_ticket(other: dict[str, object]) -> None:
    out = Tickets()
    first = issue(out)
    second = issue(out, grant=replace(GRANT, **other))  # type: ignore[arg-type]
    assert second.secret != first.secret
    assert out.peek(first.secret, 0).grant == GRANT  # type: ignore[union-attr]


def test_number_of_tickets_is_limited_and_expired_ones_make_room() -> None:
    out = Tickets()
    for i in range(MAX_TICKETS):
        issue(out, 0, replace(GRANT, user=f"user{i}"))
    assert out.issue(replace(GRANT, user="one more"), "r", 60) is None
    assert issue(out, 0, replace(GRANT, user="user7"))  # a present ticket stays valid
    assert issue(out, 120, replace(GRANT, user="one more"))
    assert len(out) == 1


def test_purge_removes_expired_tickets_only() -> None:
    out = Tickets()
    issue(out, 0, lifetime=10)
    longer = issue(out, 0, replace(GRANT, user="bob"), lifetime=20)
    out.purge(10)
    assert len(out) == 1
    assert out.peek(longer.secret, 10)


def test_ticket_that_is_put_back_is_valid_once_more_until_its_old_end() -> None:
    out = Tickets()
    ticket = issue(out)
    assert out.take(ticket.secret, 1.0) is ticket
    out.put_back(ticket)
    assert out.peek(ticket.secret, LIFETIME) is None
    assert out.take(ticket.secret, 2.0) is ticket
    assert out.take(ticket.secret, 2.0) is None
