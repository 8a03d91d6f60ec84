"""Tests that all threads share one access token, until just before its end or until it is refused."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from sshaft.deadline import Deadline
from sshaft.errors import IdentityServiceError, ReachError
from sshaft.oauth.access_token import AccessToken, AccessTokens, usable_until


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Endpoint:
    """Returns tokens `t1`, `t2`, ... that are valid for `lifetime` seconds of `clock`."""

    def __init__(self, clock: Clock, lifetime: float | None = 300) -> None:
        self.clock = clock
        self.lifetime = lifetime
        self.fetched = 0
        self.delay = 0.0
        self.error: Exception | None = None

    def __call__(self, _deadline: Deadline) -> AccessToken:
        time.sleep(self.delay)
        self.fetched += 1
        if self.error:
            raise self.error
        return AccessToken(f"t{self.fetched}", usable_until(self.clock(), self.lifetime))


SOON = Deadline.after(3600)


@pytest.mark.parametrize(
    ("expires_in", "usable"),
    [
        (3600, 3570),
        (300, 270),
        (299, 269.1),
        (60, 54),
        (10, 9),
        (1, 0.9),
        (0, 0),
        (None, 54),
        (86400 * 365, 86400 * 365 - 30),
    ],
)
def test_token_is_used_until_just_before_its_end(expires_in: float | None, usable: float) -> None:
    assert usable_until(5.0, expires_in) == pytest.approx(5.0 + usable)


def test_token_is_kept_and_fetched_again_when_it_ends() -> None:
    clock = Clock()
    endpoint = Endpoint(clock)
    tokens = AccessTokens(endpoint, clock)
    assert tokens.seconds_left() is None
    assert tokens.get(SOON).value == "t1"
    clock.now += 269.9
    assert tokens.get(SOON).value == "t1"
    assert tokens.seconds_left() == pytest.approx(0.1)
    clock.now += 0.1
    assert tokens.seconds_left() == 0
    assert tokens.get(SOON).value == "t2"


@pytest.mark.parametrize("lifetime", [0, -1, -3600])
def test_token_that_expires_at_once_is_used_once(lifetime: float) -> None:
    clock = Clock()
    tokens = AccessTokens(Endpoint(clock, lifetime), clock)
    assert [tokens.get(SOON).value for _ in range(3)] == ["t1", "t2", "t3"]
    assert tokens.seconds_left() == 0


def test_refused_token_is_fetched_again_once_for_all_threads() -> None:
    clock = Clock()
    endpoint = Endpoint(clock)
    tokens = AccessTokens(endpoint, clock)
    first = tokens.get(SOON)
    assert {tokens.get(SOON, refused=first).value for _ in range(10)} == {"t2"}
    assert tokens.get(SOON).value == "t2"
    assert endpoint.fetched == 2


def test_hundred_threads_fetch_one_token() -> None:
    clock = Clock()
    endpoint = Endpoint(clock)
    endpoint.delay = 0.05
    tokens = AccessTokens(endpoint, clock)
    start = threading.Barrier(100)

    def get(_: int) -> str:
        start.wait()
        return tokens.get(SOON).value

    with ThreadPoolExecutor(100) as pool:
        assert set(pool.map(get, range(100))) == {"t1"}
    assert endpoint.fetched == 1


def test_failure_is_not_remembered() -> None:
    clock = Clock()
    endpoint = Endpoint(clock)
    endpoint.error = IdentityServiceError("no")
    tokens = AccessTokens(endpoint, clock)
    with pytest.raises(IdentityServiceError):
        tokens.get(SOON)
    endpoint.error = None
    assert tokens.get(SOON).value == "t2"


def test_refused_token_is_not_given_out_again_after_a_failed_renewal() -> None:
    clock = Clock()
    endpoint = Endpoint(clock)
    tokens = AccessTokens(endpoint, clock)
    first = tokens.get(SOON)
    endpoint.error = IdentityServiceError("no")
    with pytest.raises(IdentityServiceError):
        tokens.get(SOON, refused=first)
    assert tokens.seconds_left() is None


def test_thread_waits_for_another_thread_until_its_deadline() -> None:
    clock = Clock()
    endpoint = Endpoint(clock)
    endpoint.delay = 0.5
    tokens = AccessTokens(endpoint, clock)
    other = threading.Thread(target=tokens.get, args=(SOON,))
    other.start()
    time.sleep(0.05)
    began = time.monotonic()
    with pytest.raises(ReachError) as error:
        tokens.get(Deadline.after(0.1))
    assert error.value.unsent
    assert time.monotonic() - began < 3
    other.join()
