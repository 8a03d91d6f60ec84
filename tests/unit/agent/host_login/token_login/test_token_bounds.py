"""Tests how long a good token is remembered, and how many wrong ones are shown to a provider."""

from dataclasses import dataclass

import pytest

from sshaft_agent.host_login.token_login.failures import Failures
from sshaft_agent.host_login.token_login.known import KnownTokens
from sshaft_oidc.access_tokens import AccessToken
from sshaft_oidc.identity import Identity


@dataclass
class Times:
    """Two clocks. The operator of the host may move `clock` alone."""

    clock: float = 1_800_000_000.0
    monotonic: float = 500.0

    def wait(self, seconds: float) -> None:
        self.clock += seconds
        self.monotonic += seconds


@pytest.fixture
def times() -> Times:
    return Times()


@pytest.fixture
def known(times: Times) -> KnownTokens:
    return KnownTokens(lambda: times.clock, lambda: times.monotonic)


def good(expires_at: float | None = None, subject: str = "subject-1") -> AccessToken:
    return AccessToken(Identity("https://op.example.org", subject, {}, frozenset()), expires_at)


def test_token_is_known_for_a_minute(known: KnownTokens, times: Times) -> None:
    known.put("token", good())
    times.wait(59)
    assert known.get("token") == good()
    times.wait(1)
    assert known.get("token") is None


def test_token_that_is_asked_for_is_not_known_for_longer(known: KnownTokens, times: Times) -> None:
    known.put("token", good())
    for _ in range(6):
        times.wait(10)
        known.get("token")
    assert known.get("token") is None


def test_token_that_has_expired_is_not_known(known: KnownTokens, times: Times) -> None:
    known.put("token", good(times.clock + 5))
    times.wait(4)
    assert known.get("token") is not None
    times.wait(1)
    assert known.get("token") is None


def test_clock_that_is_set_back_keeps_no_token(known: KnownTokens, times: Times) -> None:
    known.put("token", good(times.clock + 5))
    times.wait(61)
    times.clock -= 3600
    assert known.get("token") is None


def test_oldest_token_of_too_many_is_forgotten(known: KnownTokens) -> None:
    for number in range(5000):
        known.put(f"token-{number}", good(subject=str(number)))
    assert known.get("token-0") is None
    assert known.get("token-4999") == good(subject="4999")
    assert len(known) == 4096


def test_wrong_tokens_count_for_a_minute_and_for_their_source_alone(times: Times) -> None:
    failures = Failures(lambda: times.monotonic)
    for _ in range(30):
        assert not failures.are_too_many("192.0.2.7")
        failures.add("192.0.2.7")
    assert failures.are_too_many("192.0.2.7")
    assert not failures.are_too_many("192.0.2.8")
    times.wait(60)
    assert not failures.are_too_many("192.0.2.7")
