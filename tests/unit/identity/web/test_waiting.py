"""Tests the bounds of waiting pages."""

from contextlib import ExitStack

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
