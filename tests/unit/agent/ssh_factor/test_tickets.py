"""Tests that only the agent makes tickets, and that a ticket is bound to its key, its facts and its end."""

import base64
import re

import pytest
from fakes import public_keys

from sshaft import authorized_keys, public_key
from sshaft_agent.ssh_factor.tickets import Purpose, Ticket, Tickets

KEY = public_key.parse(public_keys.ed25519())
OTHER_KEY = public_key.parse(public_keys.ed25519("other"))
TICKET = Ticket(Purpose.LOGIN, "0123456789abcdef" * 2, 1120.5, b"ownerown")


@pytest.mark.parametrize("purpose", Purpose)
def test_ticket_is_read_as_it_was_written(purpose: Purpose) -> None:
    tickets = Tickets()
    ticket = Ticket(purpose, "f" * 32, 1120.5, tickets.owner("alice"))
    assert tickets.read(tickets.write(ticket, KEY), KEY, 1120.4) == ticket


def test_ticket_of_an_unregistered_key_is_read_as_it_was_written() -> None:
    tickets = Tickets()
    ticket = Ticket(Purpose.ENROLMENT, "f" * 32, 1120.5)
    assert tickets.read(tickets.write(ticket, KEY), KEY, 0) == ticket


def test_ticket_ends_at_its_time() -> None:
    tickets = Tickets()
    assert tickets.read(tickets.write(TICKET, KEY), KEY, 1120.5) is None


def test_ticket_is_valid_for_its_own_key_only() -> None:
    tickets = Tickets()
    assert tickets.read(tickets.write(TICKET, KEY), OTHER_KEY, 0) is None


def test_another_agent_makes_no_valid_ticket() -> None:
    assert Tickets().read(Tickets().write(TICKET, KEY), KEY, 0) is None


def test_changed_ticket_is_not_valid() -> None:
    tickets = Tickets()
    word = tickets.write(TICKET, KEY)
    data = base64.urlsafe_b64decode(word[1:])
    for place in range(len(data)):
        changed = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        assert tickets.read("t" + base64.urlsafe_b64encode(changed).decode(), KEY, 0) is None
    assert tickets.read("T" + word[1:], KEY, 0) is None
    assert tickets.read(f"{word[:9]}%{word[9:]}", KEY, 0) is None


@pytest.mark.parametrize("word", ["", "t", "tAAAA", "t" + "A" * 68, "t" + "A" * 10_000, "\0", "té", "t=", "t%%%%"])
def test_made_up_ticket_is_not_valid(word: str) -> None:
    assert Tickets().read(word, KEY, 0) is None


def test_tickets_are_plain_words_of_one_length() -> None:
    for _ in range(200):
        word = Tickets().write(TICKET, KEY)
        assert re.fullmatch(r"t[A-Za-z0-9_-]{68}", word)
        assert authorized_keys.is_safe_word(word)


def test_ticket_does_not_show_its_owner() -> None:
    assert Tickets().owner("alice") != Tickets().owner("alice")
    tickets = Tickets()
    assert tickets.owner("alice") == tickets.owner("alice") != tickets.owner("bob")


def test_offered_keys_leave_nothing_in_the_memory() -> None:
    """Findings S9 and S23: strangers who offer keys used up the tickets."""
    tickets = Tickets()
    before = dict(vars(tickets))
    for number in range(1000):
        tickets.write(Ticket(Purpose.ENROLMENT, f"{number:032x}", 1e9), KEY)
    assert vars(tickets) == before
