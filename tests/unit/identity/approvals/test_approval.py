"""Tests the states of an approval, alone and over the whole of a random life."""

from datetime import timedelta

import pytest
from fakes.public_keys import ed25519
from hypothesis import example, given, settings
from hypothesis import strategies as st
from service.hosts import HOME, approval_of, consent_of
from service.service import START, Service, wrong

from sshaft_identity.approvals.approval import (
    MAX_TRIES,
    OPEN,
    TRANSITIONS,
    Approval,
    Asked,
    Consent,
    Person,
    State,
    Verdict,
    may_become,
    verdict_before_consent,
)
from sshaft_identity.approvals.approvals import Opened
from sshaft_identity.approvals.limits import ApprovalLimits
from sshaft_identity.challenges.challenge import AddressCheck

MINUTE = timedelta(minutes=1)
ALICE = Person("alice", "id-of-alice", START)
WAITS = Approval("a" * 32, "build-1", Asked("build-1", "sshd", "alice", "alice", HOME), START, START + 5 * MINUTE)
STEPS = ["approve", "approve as bob", "deny", "report", "right", "wrong", "passed", "gone", "later", "much later"]


def test_final_states_become_nothing_else() -> None:
    final = {state for state, after in TRANSITIONS.items() if not after}
    assert final == {State.PASSED, State.DENIED, State.REPORTED, State.EXPIRED, State.ENDED}
    assert set(TRANSITIONS) == set(State)
    assert {state for state in State if may_become(state, State.EXPIRED)} == set(OPEN)
    assert {state for state in State if may_become(state, State.VERIFIED)} == {State.APPROVED}


@pytest.mark.parametrize("minutes", [5, -2], ids=["late", "the clock was set back"])
@pytest.mark.parametrize("state", State)
def test_only_an_open_approval_expires(state: State, minutes: int) -> None:
    approval = Approval(WAITS.id, WAITS.client, WAITS.asked, WAITS.created_at, WAITS.expires_at, state)
    expected = State.EXPIRED if state in OPEN else state
    assert approval.state_at(START + minutes * MINUTE) is expected
    assert approval.state_at(START + MINUTE) is state


@pytest.mark.parametrize(
    ("subject", "user", "user_id", "may"),
    [
        (None, "alice", "anything", True),
        (None, "Alice", "alice", False),
        (None, "bob", "alice", False),
        ("id-of-bob", "alice", "id-of-alice", False),
        ("id-of-bob", "bob", "id-of-bob", True),
        ("", "alice", "id-of-alice", False),
    ],
)
def test_name_or_subject_decides_who_may_approve(subject: str | None, user: str, user_id: str, may: bool) -> None:
    asked = Asked("build-1", "sshd", "alice", "alice", HOME, subject=subject)
    assert Approval(WAITS.id, WAITS.client, asked, START, START + MINUTE).is_for(user, user_id) is may


def test_confirmation_does_not_let_another_person_approve() -> None:
    bob = Person("bob", "id-of-bob", START)
    verdict = verdict_before_consent(WAITS, Consent(bob, START, HOME), AddressCheck.OFF, confirmed=True)
    assert verdict is Verdict.OTHER_PERSON
    assert verdict_before_consent(WAITS, Consent(ALICE, START, HOME), AddressCheck.OFF, confirmed=False) is None


def test_every_life_follows_the_table_and_gives_the_identity_at_most_once(service: Service) -> None:
    for name in ("alice", "bob"):
        service.add_user(name, ed25519(name))
    most = ApprovalLimits(person=10**6, source=10**6, host=10**6)

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(steps=st.lists(st.sampled_from(STEPS), max_size=8))
    @example(["approve", "wrong", "wrong", "right", "right", "passed", "gone"])
    @example(["approve", "wrong", "wrong", "wrong", "right"])
    @example(["approve", "right", "much later", "gone"])
    def check(steps: list[str]) -> None:
        opened = service.store.approvals.open("build-1", WAITS.asked, most, service.clock())
        assert isinstance(opened, Opened)
        live(service, opened.approval.id, steps)

    check()


def live(service: Service, identifier: str, steps: list[str]) -> None:
    state, approved, given_away, counted = State.PENDING, 0, 0, 0
    for step in steps:
        verdict, is_right, was_counted = take(service, identifier, step)
        approved += verdict is Verdict.APPROVED
        given_away += is_right
        counted += was_counted and not is_right
        after = approval_of(service, identifier).state
        assert after is state or may_become(state, after), step
        state = after
    assert given_away <= approved <= 1
    assert counted <= MAX_TRIES
    events = [each["user"] for each in service.audited("approval.verified") if each["approval"] == identifier]
    assert events == ["alice"] * given_away


def take(service: Service, identifier: str, step: str) -> tuple[Verdict | None, bool, bool]:
    """Returns the verdict of Approve, whether the digits gave the identity, and whether they counted."""
    store, now, row = service.store.approvals, service.clock(), approval_of(service, identifier)
    match step:
        case "approve" | "approve as bob":
            consent = consent_of(service, "bob" if step.endswith("bob") else "alice")
            verdict = store.approve(identifier, consent, AddressCheck.WARN, now).verdict
            assert (step, verdict) != ("approve as bob", Verdict.APPROVED)
            return verdict, False, False
        case "deny" | "report":
            store.refuse(identifier, State.DENIED if step == "deny" else State.REPORTED, now)
        case "right" | "wrong":
            digits = store.digits_of(row)
            judged = store.verify(row, digits if step == "right" else wrong(digits), now)
            return None, judged.is_right, judged.was_counted
        case "passed" | "gone":
            store.finish(identifier, now, passed=step == "passed")
        case _:
            service.clock.advance(30 if step == "later" else 300)
    return None, False, False
