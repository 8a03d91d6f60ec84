"""Tests the limit of open logins of a source."""

from datetime import timedelta

from service.service import START

from sshaft_identity.web.throttle import WINDOW, Throttle


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def test_source_may_begin_again_as_its_oldest_login_ages_out() -> None:
    """Finding S16: 1,001 requests gave everybody at an address 429 for the rest of five minutes."""
    throttle = Throttle(2)
    assert throttle.allows("192.0.2.1", START)
    assert throttle.allows("192.0.2.1", START + seconds(200))
    assert not throttle.allows("192.0.2.1", START + seconds(210))
    assert throttle.allows("192.0.2.2", START + seconds(210))
    wait = throttle.wait("192.0.2.1", START + seconds(210))
    assert wait == 90
    assert not throttle.allows("192.0.2.1", START + seconds(210 + wait - 1))
    assert throttle.allows("192.0.2.1", START + seconds(210 + wait))
    assert not throttle.allows("192.0.2.1", START + seconds(210 + wait)), "the second login is still open"


def test_refused_begin_does_not_count() -> None:
    throttle = Throttle(1)
    assert throttle.allows("192.0.2.1", START)
    for _ in range(100):
        assert not throttle.allows("192.0.2.1", START + seconds(150))
    assert throttle.allows("192.0.2.1", START + WINDOW)


def test_login_that_has_passed_does_not_count() -> None:
    throttle = Throttle(1)
    assert throttle.allows("192.0.2.1", START)
    throttle.ended("192.0.2.1", START)
    throttle.ended("192.0.2.1", START)
    throttle.ended("192.0.2.9", START)
    assert throttle.wait("192.0.2.1", START) == 0
    assert throttle.allows("192.0.2.1", START)
    assert not throttle.allows("192.0.2.1", START)


def test_clock_that_was_set_back_blocks_nobody() -> None:
    throttle = Throttle(1)
    assert throttle.allows("192.0.2.1", START)
    assert throttle.allows("192.0.2.1", START - seconds(3600))
