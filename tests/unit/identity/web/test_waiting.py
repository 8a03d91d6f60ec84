"""Tests the bounds of waiting pages."""

from contextlib import ExitStack

import pytest

from sshaft_identity.web.waiting import Waiting


def test_source_is_bounded_and_other_sources_are_not() -> None:
    """Finding S8: nothing bounded the event streams of an address. All addresses of an IPv6 /64 are one source."""
    waiting = Waiting(most_of_source=2)
    with ExitStack() as stack:
        assert stack.enter_context(waiting.place("a", "2001:db8::1"))
        assert stack.enter_context(waiting.place("b", "2001:db8::2"))
        assert not stack.enter_context(waiting.place("c", "2001:db8::3"))
        assert stack.enter_context(waiting.place("c", "2001:db8:0:1::1"))
        assert stack.enter_context(waiting.place("d", "192.0.2.1"))
    with waiting.place("c", "2001:db8::3") as has_place:
        assert has_place


def test_process_is_bounded() -> None:
    """Finding S8."""
    waiting = Waiting(most=1)
    with waiting.place("a", "192.0.2.1"), waiting.place("b", "192.0.2.2") as has_place:
        assert not has_place
    assert not waiting._counts  # noqa: SLF001 - there is no public list of places


def test_page_has_one_place_of_each_bound_until_it_ends() -> None:
    """A page that found no place takes none, and pages without an address share one source."""
    waiting = Waiting(most=3, most_of_source=2, most_of_challenge=1)
    with ExitStack() as stack:
        places = [("a", None), ("a", "192.0.2.1"), ("b", None), ("c", None), ("c", "192.0.2.1"), ("d", "192.0.2.2")]
        taken = [stack.enter_context(waiting.place(*place)) for place in places]
        assert taken == [True, False, True, False, True, False]
    with waiting.place("a", "192.0.2.1") as has_place:
        assert has_place


@pytest.mark.parametrize(("same", "most"), [("challenge", 16), ("source", 1_000), ("process", 5_000)])
def test_pages_find_so_many_places(same: str, most: int) -> None:
    waiting, taken = Waiting(), 0
    with ExitStack() as stack:
        for number in range(most + 2):
            challenge = "a" if same == "challenge" else f"challenge {number}"
            address = "192.0.2.1" if same == "source" else f"10.0.{number // 256}.{number % 256}"
            taken += stack.enter_context(waiting.place(challenge, address))
    assert taken == most
