"""Tests challenges in a real database, also with many threads at the same time."""

import threading
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest
from fakes.public_keys import ed25519
from service.service import Clock, wrong

from sshaft.public_key import parse
from sshaft_identity.challenges.attempts import Answer, Attempt, Rules
from sshaft_identity.challenges.challenge import MAX_TRIES, State, Verdict
from sshaft_identity.challenges.challenges import Opened, Wish
from sshaft_identity.challenges.codes import attempt_name
from sshaft_identity.challenges.limits import Limits
from sshaft_identity.challenges.listing import MAX_LISTED_KEYS, ListedKey
from sshaft_identity.store import Store

MINUTES = timedelta(minutes=5)
KEY = parse(ed25519("alice"))


@pytest.fixture
def opened(store: Store, clock: Clock) -> Opened:
    store.users.add("alice", clock())
    store.keys.add("alice", [(KEY, "alice@laptop")], clock())
    return store.challenges.open(Wish("alice", MINUTES), clock())


def state_of(store: Store, opened: Opened) -> State:
    challenge = store.challenges.get(opened.challenge.id)
    assert challenge
    return challenge.state


def at_once(count: int, act: Callable[[int], Answer]) -> list[Answer]:
    """Returns the answers of `count` threads that start together."""
    start = threading.Barrier(count)
    answers: list[Answer] = []

    def run(number: int) -> None:
        start.wait()
        answers.append(act(number))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == count
    return answers


def verdicts(answers: list[Answer]) -> Counter[Verdict]:
    return Counter(answer.verdict for answer in answers)


def test_exactly_one_of_fifty_parallel_accepts_succeeds(store: Store, opened: Opened, clock: Clock) -> None:
    def accept(number: int) -> Answer:
        name = attempt_name(f"ticket-{number}", opened.code)
        attempt = Attempt("alice", opened.challenge.id, opened.code, KEY.fingerprint, "192.0.2.1", name)
        return store.challenges.accept(attempt, clock())

    assert verdicts(at_once(50, accept)) == {Verdict.ACCEPTED: 1, Verdict.ALREADY_USED: 49}


def test_a_repeated_attempt_counts_once_and_always_succeeds(store: Store, opened: Opened, clock: Clock) -> None:
    name = attempt_name("ticket", opened.code)
    attempt = Attempt("alice", opened.challenge.id, opened.code, name=name)
    answers = at_once(50, lambda _: store.challenges.accept(attempt, clock()))
    assert verdicts(answers) == {Verdict.ACCEPTED: 50}
    challenge = store.challenges.get(opened.challenge.id)
    assert challenge
    assert challenge.tries == 1


def test_five_of_twenty_parallel_wrong_codes_are_counted_and_answered(
    store: Store, opened: Opened, clock: Clock
) -> None:
    def guess(number: int) -> Answer:
        attempt = Attempt("alice", opened.challenge.id, wrong(opened.code, number + 1))
        return store.challenges.accept(attempt, clock())

    answers = at_once(20, guess)
    assert verdicts(answers) == {Verdict.INVALID_CODE: MAX_TRIES, Verdict.TOO_MANY_ATTEMPTS: 15}
    left = sorted(each.attempts_left for each in answers if each.verdict is Verdict.INVALID_CODE)
    assert left == [0, 1, 2, 3, 4]
    assert state_of(store, opened) is State.REJECTED


def test_a_repeated_wrong_attempt_is_counted_once(store: Store, opened: Opened, clock: Clock) -> None:
    code = wrong(opened.code)
    attempt = Attempt("alice", opened.challenge.id, code, name=attempt_name("ticket", code))
    answers = at_once(20, lambda _: store.challenges.accept(attempt, clock()))
    assert verdicts(answers) == {Verdict.INVALID_CODE: 20}
    assert {each.attempts_left for each in answers} == {4}


def test_one_of_parallel_accepts_rejects_and_cancels_wins(store: Store, opened: Opened, clock: Clock) -> None:
    done: list[str] = []

    def act(number: int) -> Answer:
        if number % 3 == 0:
            answer = store.challenges.accept(Attempt("alice", opened.challenge.id, opened.code), clock())
            done.extend(["accepted"] * (answer.verdict is Verdict.ACCEPTED))
            return answer
        if number % 3 == 1:
            answer = store.challenges.reject(Attempt("alice"), clock())
            done.extend(["rejected"] * (answer.verdict is Verdict.REJECTED))
            return answer
        done.extend(["cancelled"] * (store.challenges.cancel(opened.challenge.id, clock()) is not None))
        return Answer(Verdict.CANCELLED)

    at_once(12, act)
    assert done == [state_of(store, opened)]


def test_a_challenge_is_consumed_once(store: Store, opened: Opened, clock: Clock) -> None:
    assert not store.challenges.consume(opened.challenge.id, clock())
    store.challenges.accept(Attempt("alice", opened.challenge.id, opened.code), clock())
    taken = [store.challenges.consume(opened.challenge.id, clock()) for _ in range(2)]
    assert [each and each.state for each in taken] == [State.CONSUMED, None]


def test_only_the_client_that_opened_a_challenge_consumes_it(store: Store, opened: Opened, clock: Clock) -> None:
    store.challenges.accept(Attempt("alice", opened.challenge.id, opened.code), clock())
    assert store.challenges.consume(opened.challenge.id, clock(), "somebody-else") is None
    assert state_of(store, opened) == State.ACCEPTED


def test_an_accept_stores_the_proof(store: Store, opened: Opened, clock: Clock) -> None:
    clock.advance(7)
    attempt = Attempt("alice", opened.challenge.id, opened.code, KEY.fingerprint, "192.0.2.1")
    (challenge,) = store.challenges.accept(attempt, clock()).challenges
    assert challenge.approval
    assert challenge.approval.accepted_at == clock()
    assert challenge.approval.fingerprint == KEY.fingerprint
    assert challenge.approval.key_type == "ssh-ed25519"
    assert challenge.approval.client_ip == "192.0.2.1"


def test_wrong_codes_from_one_ipv6_network_of_64_bits_count_as_one_source(store: Store, clock: Clock) -> None:
    store.challenges.rules = Rules(limits=Limits(source=3))

    def guess(user: str, address: str) -> Verdict:
        store.users.add(user, clock())
        opened = store.challenges.open(Wish(user, MINUTES), clock())
        attempt = Attempt(user, opened.challenge.id, wrong(opened.code), client_ip=address)
        return store.challenges.accept(attempt, clock()).verdict

    for number in range(3):
        assert guess(f"user{number}", f"2001:db8::{number}:1") is Verdict.INVALID_CODE
    assert guess("alice", "2001:db8::ffff") is Verdict.TOO_MANY_ATTEMPTS
    assert guess("bob", "2001:db8:0:1::1") is Verdict.INVALID_CODE


@pytest.mark.parametrize(("seconds", "verdict"), [(299.999999, Verdict.ACCEPTED), (300, Verdict.EXPIRED)])
def test_a_challenge_expires_to_the_microsecond(
    store: Store, opened: Opened, clock: Clock, seconds: float, verdict: Verdict
) -> None:
    clock.advance(seconds)
    assert store.challenges.accept(Attempt("alice", opened.challenge.id, opened.code), clock()).verdict is verdict


def test_no_two_pending_challenges_of_a_user_share_a_code(
    store: Store, opened: Opened, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = iter([opened.page_token, opened.page_token, "another"])
    monkeypatch.setattr("sshaft_identity.challenges.challenges.new_page_token", lambda: next(tokens))
    assert store.challenges.open(Wish("alice", MINUTES, client="wiki"), clock()).page_token == "another"


def test_a_page_is_found_by_its_token_only(store: Store, opened: Opened) -> None:
    found = store.challenges.of_page(opened.page_token)
    assert found == store.challenges.get(opened.challenge.id)
    assert store.challenges.of_page(opened.challenge.id) is None


@pytest.mark.usefixtures("opened")
def test_a_list_for_several_keys_equals_the_lists_for_each_key(store: Store, clock: Clock) -> None:
    bobs = parse(ed25519("bob"))
    store.users.add("bob", clock())
    store.keys.add("bob", [(bobs, "")], clock())
    store.challenges.open(Wish(None, MINUTES, client="shop"), clock())
    unknown = [parse(ed25519(str(number))).fingerprint for number in range(MAX_LISTED_KEYS - 2)]
    asked = [KEY.fingerprint, bobs.fingerprint, *unknown]
    alone = [each for key in asked for each in store.challenges.listed(clock(), [key])]
    assert {each.user for each in alone} == {"alice", "bob"}

    def order(each: ListedKey) -> tuple[str, bool]:
        return each.user, each.challenge is None

    assert sorted(store.challenges.listed(clock(), asked), key=order) == sorted(alone, key=order)


def test_a_listing_writes_nothing(store: Store, opened: Opened, clock: Clock) -> None:
    before = store.challenges.get(opened.challenge.id)
    assert [each.challenge for each in store.challenges.listed(clock(), [KEY.fingerprint])] == [before]
    assert store.challenges.get(opened.challenge.id) == before
