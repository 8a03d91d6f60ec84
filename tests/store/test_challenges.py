"""Tests challenges in a real database, also with many threads at the same time."""

import json
import secrets
import threading
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from fakes.public_keys import ed25519, sk_ed25519
from service.service import Clock, wrong
from sqlalchemy import func, select

from sshaft.public_key import parse
from sshaft_identity.challenges.attempts import Answer, Attempt, Rules
from sshaft_identity.challenges.challenge import MAX_TRIES, Binding, Context, State, Verdict
from sshaft_identity.challenges.challenges import Opened, Wish
from sshaft_identity.challenges.codes import attempt_name
from sshaft_identity.challenges.limits import Limits
from sshaft_identity.challenges.listing import MAX_LISTED_KEYS, ListedKey
from sshaft_identity.database.tables import audit_events, failures
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
    """Finding S17: a source with IPv6 had a new address for each wrong code."""
    store.challenges.rules = Rules(limits=Limits(source=3))

    store.users.add("alice", clock())

    def guess(user: str, address: str) -> Verdict:
        opened = store.challenges.open(Wish(user, MINUTES), clock())
        attempt = Attempt(user, opened.challenge.id, wrong(opened.code), client_ip=address)
        return store.challenges.accept(attempt, clock()).verdict

    for number in range(3):
        assert guess("alice", f"2001:db8::{number}:1") is Verdict.INVALID_CODE
    assert guess("alice", "2001:db8::ffff") is Verdict.TOO_MANY_ATTEMPTS
    assert guess("alice", "2001:db8:0:1::1") is Verdict.INVALID_CODE


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


# --- strangers, and codes that come too late


def at_address(address: str | None, **more: Any) -> Wish:
    """Returns the wish of a client for alice's login in a browser at this address."""
    return Wish("alice", MINUTES, client="mail", context=Context(ip=address), **more)


def accept(store: Store, clock: Clock, code: str | None, user: str = "alice", **more: Any) -> Answer:
    return store.challenges.accept(Attempt(user, code=code, **more), clock())


def audited(store: Store, event: str) -> list[dict[str, Any]]:
    """Returns the facts of the events of this name."""
    query = select(audit_events.c.facts).where(audit_events.c.event == event).order_by(audit_events.c.id)
    with store.database.read() as connection:
        return [json.loads(facts) for facts in connection.scalars(query)]


def wrong_codes(store: Store) -> int:
    with store.database.read() as connection:
        return connection.scalar(select(func.coalesce(func.sum(failures.c.times), 0))) or 0


def test_login_at_another_address_ends_no_login(store: Store, opened: Opened, clock: Clock) -> None:
    """Finding S2: a stranger who begins logins for alice does not end hers, also for the same client."""
    mine = store.challenges.open(at_address("192.0.2.1"), clock())
    for address in ("203.0.113.9", "2001:db8::9", None):
        store.challenges.open(at_address(address), clock())
    again = store.challenges.open(at_address("192.0.2.1"), clock())
    assert [each.id for each in again.superseded] == [mine.challenge.id]
    assert accept(store, clock, mine.code).verdict is Verdict.CANCELLED, "the code of a superseded login"
    assert accept(store, clock, again.code).verdict is Verdict.ACCEPTED
    assert accept(store, clock, opened.code).verdict is Verdict.ACCEPTED
    assert wrong_codes(store) == 0


def test_hint_ends_no_login_and_is_not_listed(store: Store, opened: Opened, clock: Clock) -> None:
    """Findings S2 and S3: an unauthenticated request names alice. Her key, her login and her list stay the same."""
    listed = store.challenges.listed(clock(), [KEY.fingerprint])
    stranger = store.challenges.open(Wish(None, MINUTES, hint="alice", client="wiki", verify_required=True), clock())
    assert not stranger.superseded
    entries = store.challenges.listed(clock(), [KEY.fingerprint])
    assert [each for each in entries if each.challenge] == listed
    assert accept(store, clock, opened.code).verdict is Verdict.ACCEPTED


def test_hinted_login_passes_only_for_its_user(store: Store, opened: Opened, clock: Clock) -> None:
    store.users.add("bob", clock())
    hinted = store.challenges.open(Wish(None, MINUTES, hint="alice", client="wiki"), clock())
    assert accept(store, clock, hinted.code, "bob").verdict is Verdict.OTHER_USER
    assert wrong_codes(store) == 0
    assert accept(store, clock, hinted.code).verdict is Verdict.ACCEPTED
    assert accept(store, clock, hinted.code, "bob").verdict is Verdict.OTHER_USER
    assert accept(store, clock, hinted.code).verdict is Verdict.ALREADY_USED
    assert state_of(store, opened) is State.PENDING


def test_user_denies_every_login_with_their_name(store: Store, opened: Opened, clock: Clock) -> None:
    store.users.add("bob", clock())
    hinted = store.challenges.open(Wish(None, MINUTES, hint="alice", client="wiki"), clock())
    others = [store.challenges.open(Wish(None, MINUTES, hint=hint, client="wiki"), clock()) for hint in ("bob", None)]
    store.challenges.reject(Attempt("alice"), clock())
    assert [state_of(store, each) for each in (opened, hinted, *others)] == [State.REJECTED] * 2 + [State.PENDING] * 2


def test_security_key_that_brings_the_code_claims_its_login(store: Store, opened: Opened, clock: Clock) -> None:
    """Finding S3: only after that the line of the key gets `verify-required`, and only if no other login waits."""
    key = parse(sk_ed25519("alice"))
    store.keys.add("alice", [(key, "")], clock())
    hinted = store.challenges.open(Wish(None, MINUTES, hint="alice", client="wiki", verify_required=True), clock())

    def verifying() -> list[bool]:
        listed = store.challenges.listed(clock(), [key.fingerprint])
        return [each.challenge.verify_required for each in listed if each.challenge]

    assert verifying() == [False]
    software = accept(store, clock, hinted.code, fingerprint=KEY.fingerprint)
    assert (software.verdict, verifying()) == (Verdict.VERIFICATION_REQUIRED, [False])
    touched = accept(store, clock, hinted.code, fingerprint=key.fingerprint)
    assert (touched.verdict, verifying()) == (Verdict.VERIFICATION_REQUIRED, [False, True])
    verified = accept(store, clock, hinted.code, fingerprint=key.fingerprint, verified=True)
    assert verified.verdict is Verdict.ACCEPTED
    assert accept(store, clock, opened.code, fingerprint=key.fingerprint).verdict is Verdict.ACCEPTED
    assert wrong_codes(store) == 0


@pytest.mark.parametrize("user", ["alice", None])
def test_right_code_of_an_ended_login_is_never_a_wrong_code(store: Store, clock: Clock, user: str | None) -> None:
    """The state of the login is the answer, and nothing counts: also while another login waits."""
    store.users.add("alice", clock())

    def open_one() -> Opened:
        return store.challenges.open(Wish(user, MINUTES, client=secrets.token_hex(4)), clock())

    expired = open_one()
    clock.advance(300)
    cancelled, used, waiting = open_one(), open_one(), open_one()
    store.challenges.cancel(cancelled.challenge.id, clock())
    assert accept(store, clock, used.code).verdict is Verdict.ACCEPTED
    assert [accept(store, clock, each.code).verdict for each in (expired, cancelled, used)] == [
        Verdict.EXPIRED,
        Verdict.CANCELLED,
        Verdict.ALREADY_USED,
    ]
    named = store.challenges.accept(Attempt("alice", waiting.challenge.id, cancelled.code), clock())
    assert named.verdict is Verdict.CANCELLED, "the ticket of an older line names another login"
    assert wrong_codes(store) == 0
    assert accept(store, clock, waiting.code).verdict is Verdict.ACCEPTED


def test_code_passes_its_own_login_whatever_login_the_ticket_names(store: Store, opened: Opened, clock: Clock) -> None:
    other = store.challenges.open(Wish("alice", MINUTES, client="wiki"), clock())
    answer = store.challenges.accept(Attempt("alice", opened.challenge.id, other.code), clock())
    assert [each.id for each in answer.challenges] == [other.challenge.id]
    assert (state_of(store, opened), state_of(store, other)) == (State.PENDING, State.ACCEPTED)


def test_long_code_that_finds_nothing_counts_and_is_audited(store: Store, opened: Opened, clock: Clock) -> None:
    """Finding S11: a user with a pending `code_back` login guessed the codes of logins that name no user."""
    store.challenges.cancel(opened.challenge.id, clock())
    store.challenges.open(Wish(None, MINUTES), clock())
    store.challenges.open(Wish("alice", MINUTES, client="wiki", binding=Binding.CODE_BACK), clock())
    answers = [accept(store, clock, f"{number:08}", client_ip="192.0.2.1").verdict for number in range(12)]
    assert answers == [Verdict.INVALID_CODE] * 9 + [Verdict.TOO_MANY_ATTEMPTS] * 3
    assert audited(store, "challenge.wrong_code") == [{"ssh_address": "192.0.2.1"}] * 10
    assert audited(store, "limit.reached") == [{"scope": "user", "subject": "alice", "until": "2026-11-22T13:00:00Z"}]


def test_result_ends_one_minute_after_its_login(store: Store, opened: Opened, clock: Clock) -> None:
    """Finding S19."""
    other = store.challenges.open(Wish("alice", MINUTES, client="wiki"), clock())
    for each in (opened, other):
        accept(store, clock, each.code)
    clock.advance(359.999999)
    assert store.challenges.consume(opened.challenge.id, clock()) is not None
    clock.advance(0.000001)
    assert store.challenges.consume(other.challenge.id, clock(), "wiki") is None
    late = store.challenges.get(other.challenge.id)
    assert late
    assert late.state_at(clock()) is State.EXPIRED


def test_few_logins_of_a_client_wait_for_a_user(store: Store, clock: Clock) -> None:
    """The list for sshd and the choice in ssh stay short, whatever strangers do."""
    store.users.add("alice", clock())
    for number in range(100):
        store.challenges.open(at_address(f"192.0.2.{number}", binding=Binding.CODE_BACK), clock())
        store.challenges.open(at_address(None, binding=Binding.CODE_BACK), clock())
    waiting = store.challenges.pending("alice", "mail")
    assert len(waiting) == 20
    assert max(Counter(each.context.ip for each in waiting).values()) <= 5
    assert waiting[-1].context.ip is None


def test_lock_out_ends_the_waiting_logins_of_the_user_only(store: Store, opened: Opened, clock: Clock) -> None:
    """Finding U2: the page said "Waiting" while no code could pass, and the audit log was silent."""
    store.users.add("bob", clock())
    others = [
        store.challenges.open(Wish("bob", MINUTES), clock()),
        store.challenges.open(Wish("alice", MINUTES, client="wiki", binding=Binding.CODE_BACK), clock()),
    ]
    waiting = store.challenges.open(Wish("alice", MINUTES, client="mail"), clock())
    store.challenges.rules = Rules(limits=Limits(user=2))
    for by in (1, 2):
        last = store.challenges.accept(Attempt("alice", waiting.challenge.id, wrong(waiting.code, by)), clock())
    assert (last.verdict, last.retry_at) == (Verdict.TOO_MANY_ATTEMPTS, clock() + timedelta(hours=1))
    assert {each.id for each in last.challenges} == {opened.challenge.id, waiting.challenge.id}
    assert [state_of(store, each) for each in (opened, waiting, *others)] == [State.REJECTED] * 2 + [State.PENDING] * 2
    assert [each["reason"] for each in audited(store, "challenge.rejected")] == ["locked"] * 2
    assert store.challenges.locked_until("alice", clock()) == clock() + timedelta(hours=1)
    assert store.challenges.locked_until("bob", clock()) is None
    clock.advance(3600)
    assert store.challenges.locked_until("alice", clock()) is None
