"""Tests the limit of open logins of a source."""

from datetime import timedelta
from pathlib import Path

import pytest
from service.service import START

from sshaft_identity.web.refusals import MAX_ALIKE, MAX_OF_STRANGERS
from sshaft_identity.web.throttle import MAX_LOGINS, MAX_SIGN_INS, MAX_UNKNOWN_USERS, WINDOW, Throttle
from sshaft_identity.web.waiting import Waiting

TOP = Path(__file__).parents[4]


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
    assert throttle.wait("192.0.2.1", START + seconds(299.9)) == 1
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


def test_answer_is_a_truth_value() -> None:
    throttle = Throttle(1)
    assert [throttle.allows("192.0.2.1", START) for _ in range(2)] == [True, False]


def test_source_that_was_seen_longest_ago_is_forgotten_when_ten_thousand_are_counted() -> None:
    """The memory is bounded. A source that begins logins now is not forgotten."""
    throttle = Throttle(1)
    for number in range(10_000):
        assert throttle.allows(f"source {number}", START)
    assert throttle.allows("source 0", START) is False, "it is counted, and now it was seen last"
    assert throttle.allows("one more", START)
    assert throttle.allows("source 0", START) is False
    assert throttle.allows("source 2", START) is False
    assert throttle.allows("source 1", START), "it was seen longest ago"


@pytest.mark.parametrize(
    ("page", "sentence", "limits"),
    [
        ("pages.md", "60 open sign-ins", [MAX_SIGN_INS]),
        ("operating.md", "a login before | 1,000 |", [MAX_LOGINS]),
        ("operating.md", "of the process | 16, 1,000, half", [Waiting().most_of_challenge, Waiting().most_of_source]),
        ("audit.md", "10 refusals of one kind", [MAX_ALIKE]),
        ("audit.md", "100 refusals", [MAX_OF_STRANGERS]),
        ("identity-service.md", "30 events for a client in five minutes", [MAX_UNKNOWN_USERS]),
    ],
)
def test_limits_are_those_of_the_manual(page: str, sentence: str, limits: list[int]) -> None:
    text = " ".join((TOP / "docs" / page).read_text().split())
    assert sentence in text
    assert ", ".join(f"{limit:,}" for limit in limits) in sentence


@pytest.mark.parametrize(("most", "number"), [(MAX_SIGN_INS, 60), (MAX_LOGINS, 1000), (MAX_UNKNOWN_USERS, 30)])
def test_source_may_begin_as_often_as_its_limit_says(most: int, number: int) -> None:
    throttle = Throttle(most)
    assert sum(throttle.allows("192.0.2.1", START) for _ in range(1100)) == number


def test_window_is_five_minutes() -> None:
    assert timedelta(minutes=5) == WINDOW
