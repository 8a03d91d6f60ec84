"""Tests one-time passwords: how long they are good, how often, and how many there may be."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import pytest

from sshaft_agent.host_login.token_login.one_time_passwords import OneTimePasswords

ALICE = ("https://login.example.org", "subject-1")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def passwords(clock: Clock) -> OneTimePasswords:
    return OneTimePasswords(clock)


def of(token: str) -> str:
    """Returns the password as mccli computes it."""
    return hashlib.sha512(token.encode()).hexdigest()


def test_password_stands_for_its_token_once(passwords: OneTimePasswords) -> None:
    assert passwords.make("token", ALICE)
    assert passwords.token_of(of("token")) == "token"
    assert passwords.use(of("token"))
    assert not passwords.use(of("token"))
    assert passwords.token_of(of("token")) == of("token")


def test_password_that_nobody_has_made_is_a_text_as_any_other(passwords: OneTimePasswords) -> None:
    assert passwords.token_of(of("token")) == of("token")
    assert passwords.token_of("token") == "token"
    assert not passwords.use(of("token"))


@pytest.mark.parametrize("change", [str.upper, lambda text: text[:-1], lambda text: text + " ", lambda _: ""])
def test_password_in_another_form_is_none(passwords: OneTimePasswords, change: object) -> None:
    passwords.make("token", ALICE)
    assert callable(change)
    assert not passwords.use(change(of("token")))


def test_password_is_good_for_five_minutes(passwords: OneTimePasswords, clock: Clock) -> None:
    passwords.make("token", ALICE)
    clock.now += 299.9
    assert passwords.token_of(of("token")) == "token"
    clock.now += 0.1
    assert passwords.token_of(of("token")) == of("token")
    assert not passwords.use(of("token"))


def test_two_clients_with_one_token_can_both_log_in(passwords: OneTimePasswords) -> None:
    """rsync and Ansible run several ssh at once. Each of them has asked for its password."""
    assert passwords.make("token", ALICE)
    assert passwords.make("token", ALICE)
    assert [passwords.use(of("token")) for _ in range(3)] == [True, True, False]


def test_password_never_opens_more_than_four_logins(passwords: OneTimePasswords) -> None:
    for _ in range(10):
        assert passwords.make("token", ALICE)
    assert sum(passwords.use(of("token")) for _ in range(10)) == 4


def test_fifth_password_of_a_person_ends_the_oldest(passwords: OneTimePasswords) -> None:
    tokens = [f"token-{number}" for number in range(5)]
    assert all(passwords.make(token, ALICE) for token in tokens)
    assert [passwords.use(of(token)) for token in tokens] == [False, True, True, True, True]


@pytest.mark.slow
def test_many_people_cannot_end_the_password_of_another(passwords: OneTimePasswords, clock: Clock) -> None:
    passwords.make("token", ALICE)
    made = [passwords.make(f"token-{number}", ("issuer", str(number))) for number in range(5000)]
    assert made.count(True) == 4095
    assert passwords.use(of("token"))
    clock.now += 300
    assert passwords.make("token", ALICE)


def test_of_many_threads_one_uses_the_password(passwords: OneTimePasswords) -> None:
    with ThreadPoolExecutor(16) as threads:
        for _ in range(50):
            passwords.make("token", ALICE)
            assert sum(threads.map(passwords.use, [of("token")] * 32)) == 1
