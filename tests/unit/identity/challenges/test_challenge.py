"""Tests the states and verdicts of a challenge."""

from dataclasses import replace
from datetime import timedelta
from itertools import product

import pytest
from service.service import START

from sshaft_identity.challenges.challenge import (
    MAX_TRIES,
    TRANSITIONS,
    Challenge,
    Context,
    State,
    Verdict,
    amr,
    may_become,
    verdict_before_code,
)

PENDING = Challenge("c1", "alice", "web", Context(), START, START + timedelta(minutes=5))
ENDED = (State.CONSUMED, State.REJECTED, State.EXPIRED, State.CANCELLED)


def test_only_the_documented_steps_are_possible() -> None:
    possible = {(a, b) for a, b in product(State, State) if may_become(a, b)}
    assert possible == {
        (State.PENDING, State.ACCEPTED),
        (State.ACCEPTED, State.CONSUMED),
        (State.ACCEPTED, State.CANCELLED),
        (State.PENDING, State.REJECTED),
        (State.PENDING, State.EXPIRED),
        (State.PENDING, State.CANCELLED),
    }


@pytest.mark.parametrize("state", ENDED)
def test_no_state_follows_an_end_state(state: State) -> None:
    assert not TRANSITIONS[state]


@pytest.mark.parametrize(
    ("seconds", "state"), [(0, "pending"), (299.999, "pending"), (300, "expired"), (301, "expired")]
)
def test_a_pending_challenge_expires_by_the_clock_alone(seconds: float, state: str) -> None:
    assert PENDING.state_at(START + timedelta(seconds=seconds)) == state


def test_result_expires_one_minute_after_its_challenge() -> None:
    accepted = replace(PENDING, state=State.ACCEPTED)
    assert accepted.state_at(START + timedelta(seconds=359.999)) is State.ACCEPTED
    assert accepted.state_at(START + timedelta(seconds=360)) is State.EXPIRED


@pytest.mark.parametrize("state", [state for state in State if state not in (State.PENDING, State.ACCEPTED)])
def test_time_changes_no_other_state(state: State) -> None:
    assert replace(PENDING, state=state).state_at(START + timedelta(days=1)) is state


@pytest.mark.parametrize(
    ("state", "tries", "same", "verdict"),
    [
        (State.PENDING, 0, False, None),
        (State.PENDING, 1, True, Verdict.INVALID_CODE),
        (State.ACCEPTED, 1, True, Verdict.ACCEPTED),
        (State.ACCEPTED, 1, False, Verdict.ALREADY_USED),
        (State.CONSUMED, 1, True, Verdict.ACCEPTED),
        (State.CONSUMED, 1, False, Verdict.ALREADY_USED),
        (State.REJECTED, 1, False, Verdict.REJECTED),
        (State.REJECTED, 1, True, Verdict.REJECTED),
        (State.REJECTED, MAX_TRIES, True, Verdict.INVALID_CODE),
        (State.REJECTED, MAX_TRIES, False, Verdict.TOO_MANY_ATTEMPTS),
        (State.EXPIRED, 1, True, Verdict.EXPIRED),
        (State.CANCELLED, 0, False, Verdict.CANCELLED),
    ],
)
def test_the_state_gives_a_verdict_before_the_code_is_checked(
    state: State, tries: int, same: bool, verdict: Verdict | None
) -> None:
    challenge = replace(PENDING, state=state, tries=tries, attempt="mine" if same else "another")
    assert verdict_before_code(challenge, "mine", START) == verdict


def test_an_attempt_without_a_name_is_never_a_repeated_one() -> None:
    assert verdict_before_code(replace(PENDING, state=State.ACCEPTED), None, START) == Verdict.ALREADY_USED
    assert verdict_before_code(PENDING, None, START) is None


def test_a_pending_challenge_after_its_time_is_expired_for_every_attempt() -> None:
    assert verdict_before_code(replace(PENDING, attempt="mine"), "mine", PENDING.expires_at) == Verdict.EXPIRED


@pytest.mark.parametrize(
    ("key_type", "proven"),
    [
        ("ssh-ed25519", ["swk", "pop"]),
        ("ssh-rsa", ["swk", "pop"]),
        ("ecdsa-sha2-nistp256", ["swk", "pop"]),
        (None, ["swk", "pop"]),
        ("sk-ssh-ed25519@openssh.com", ["hwk", "pop", "user"]),
        ("sk-ecdsa-sha2-nistp256@openssh.com", ["hwk", "pop", "user"]),
    ],
)
def test_amr_depends_on_the_key_type_and_is_never_mfa(key_type: str | None, proven: list[str]) -> None:
    assert amr(key_type) == proven
