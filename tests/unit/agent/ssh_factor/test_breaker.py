"""Tests the circuit breaker step by step on a clock."""

from sshaft_agent.breaker import THRESHOLD, Breaker


def test_third_failure_in_a_row_opens_the_breaker() -> None:
    breaker = Breaker()
    assert [(breaker.failed(0), breaker.is_open) for _ in range(4)] == [
        (False, False),
        (False, False),
        (True, True),
        (False, True),
    ]


def opened(now: float = 0.0) -> Breaker:
    breaker = Breaker()
    assert [breaker.failed(now) for _ in range(THRESHOLD)] == [False] * (THRESHOLD - 1) + [True]
    assert breaker.is_open
    return breaker


def test_only_failures_in_a_row_open_the_breaker() -> None:
    breaker = Breaker()
    for _ in range(10):
        for _ in range(THRESHOLD - 1):
            assert breaker.allows(0)
            assert not breaker.failed(0)
        assert not breaker.succeeded()
    assert not breaker.is_open
    assert breaker.allows(0)


def test_open_breaker_allows_one_trial_after_each_pause() -> None:
    breaker = opened()
    answers = [breaker.allows(now) for now in (0, 0.99, 1.0, 1.0, 60)]
    assert answers == [False, False, True, False, False]  # one at a time


def test_pauses_of_the_breaker_get_longer_up_to_a_limit() -> None:
    breaker = opened()
    now, pauses = 0.0, []
    for _ in range(6):
        step = 0.0
        while not breaker.allows(now + step):
            step += 0.25
        pauses.append(step)
        now += step
        assert not breaker.failed(now)  # the breaker was open already
    assert pauses == [1, 2, 4, 8, 10, 10]


def test_success_closes_the_breaker_and_is_reported_once() -> None:
    breaker = opened()
    assert breaker.allows(1)
    assert breaker.succeeded()
    assert not breaker.is_open
    assert not breaker.succeeded()
    assert [breaker.failed(2) for _ in range(THRESHOLD)][-1]  # all the failures are needed again
    assert breaker.allows(3)  # the pause is short again


def test_late_failures_of_earlier_calls_do_not_lengthen_the_pause() -> None:
    breaker = opened()
    for _ in range(100):
        breaker.failed(0.5)
    assert breaker.allows(1.5)
