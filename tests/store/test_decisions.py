"""Tests each branch of the decision about one attempt: the verdict, the logins it names, and what it touches.

The decision does not depend on the database; `test_races` tests the statements on both.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from service.service import Clock
from sqlalchemy import delete, update
from store.neighbours import ADDRESS, Neighbours, code_of, fill

from sshaft_identity.challenges.attempts import Answer, Attempt, Rules
from sshaft_identity.challenges.challenge import MAX_TRIES, Approval, State, Verdict
from sshaft_identity.challenges.challenges import Wish
from sshaft_identity.challenges.codes import ANONYMOUS_DIGITS
from sshaft_identity.challenges.limits import Limits
from sshaft_identity.database.tables import challenges
from sshaft_identity.store import Store

HOUR = timedelta(hours=1)
WRONG, WRONG_LONG = "000000", "00000000"
COUNTED = frozenset({"failures: user alice", f"failures: source {ADDRESS}"})
USED = "ssh_keys: alice's key"


@pytest.fixture
def neighbours(on_sqlite: Store, clock: Clock) -> Neighbours:
    return fill(on_sqlite, clock)


@dataclass(frozen=True)
class Case:
    """An attempt of alice while only the logins `there` exist, each perhaps with other values."""

    name: str
    there: dict[str, dict[str, Any]]
    attempt: dict[str, Any]
    verdict: Verdict
    answer: tuple[str, ...] = ()
    touches: frozenset[str] = field(default=frozenset())


def there(*names: str, **values: Any) -> dict[str, dict[str, Any]]:
    return dict.fromkeys(names, values)


def touch(*names: str) -> frozenset[str]:
    return frozenset(f"challenges: {name}" for name in names)


WAITS, SHOP, BACK, PRINTED = "alice-web-waits", "alice-shop-waits", "alice-web-back", "alice-web-printed"
UNBOUND = {"binding": "none"}
RIGHT = {"code": code_of(WAITS)}
NO_CODE: dict[str, Any] = {"code": None}
ELSEWHERE = {"client_ip": "203.0.113.9"}
LONG = {"code": code_of("hint-bob")}


def ago(**since: float) -> Any:
    """Returns a time for `Case.there`, counted from now on."""
    return timedelta(**{name: -value for name, value in since.items()})


CASES = [
    # who tries
    Case("a key of nobody", there(WAITS), RIGHT | {"fingerprint": "x"}, Verdict.UNKNOWN_KEY),
    Case("another person's key", there(WAITS), RIGHT | {"fingerprint": "bob's key"}, Verdict.UNKNOWN_KEY),
    Case("an expired key", there(WAITS), RIGHT | {"fingerprint": "alice's old key"}, Verdict.UNKNOWN_KEY),
    Case("an empty fingerprint", there(WAITS), RIGHT | {"fingerprint": ""}, Verdict.NO_CHALLENGE),
    Case("an unknown user without a key", there(WAITS, user_name="x"), RIGHT | {"user": "x", "fingerprint": None},
         Verdict.NO_CHALLENGE),
    Case("an unknown user with a key", there(WAITS, user_name="x"), RIGHT | {"user": "x"}, Verdict.UNKNOWN_KEY),
    Case("no key", there(WAITS), RIGHT | {"fingerprint": None}, Verdict.ACCEPTED, (WAITS,), touch(WAITS)),
    # the right code
    Case("the code alone", there(WAITS, SHOP, BACK), RIGHT, Verdict.ACCEPTED, (WAITS,), touch(WAITS) | {USED}),
    Case("the code of another own login", there(WAITS, SHOP), RIGHT | {"challenge": SHOP}, Verdict.ACCEPTED, (WAITS,),
         touch(WAITS) | {USED}),
    Case("the code of a login of another binding", there(WAITS, **UNBOUND), RIGHT, Verdict.INVALID_CODE),
    Case("a login without a user", there("hint-alice"), {"code": code_of("hint-alice")}, Verdict.ACCEPTED,
         ("hint-alice",), touch("hint-alice") | {USED}),
    Case("a login that hints at somebody else", there(WAITS, "hint-bob"), LONG, Verdict.OTHER_USER),
    Case("a verified code", there(WAITS, verify_required=True), RIGHT | {"verified": True}, Verdict.ACCEPTED, (WAITS,),
         touch(WAITS) | {USED}),
    Case("an unverified code", there(WAITS, verify_required=True), RIGHT, Verdict.VERIFICATION_REQUIRED, (WAITS,)),
    Case("a claim by a security key", there("hint-alice", verify_required=True),
         {"code": code_of("hint-alice"), "fingerprint": "alice's security key"}, Verdict.VERIFICATION_REQUIRED,
         ("hint-alice",), touch("hint-alice")),
    Case("no claim by another key", there("hint-alice", verify_required=True), {"code": code_of("hint-alice")},
         Verdict.VERIFICATION_REQUIRED, ("hint-alice",)),
    Case("no claim without a key", there("hint-alice", verify_required=True),
         {"code": code_of("hint-alice"), "fingerprint": None}, Verdict.VERIFICATION_REQUIRED, ("hint-alice",)),
    Case("another address", there(WAITS), RIGHT | ELSEWHERE, Verdict.CONFIRM_REQUIRED, (WAITS,)),
    Case("another address that the person confirms", there(WAITS), RIGHT | ELSEWHERE | {"confirmed": True},
         Verdict.ACCEPTED, (WAITS,), touch(WAITS) | {USED}),
    # a wrong code
    Case("a wrong code for every login", there(WAITS, SHOP, BACK), {"code": WRONG}, Verdict.INVALID_CODE, (SHOP, WAITS),
         touch(WAITS, SHOP) | COUNTED | {"failures: client web", "failures: client shop"}),
    Case("a wrong code for one login", there(WAITS, SHOP), {"code": WRONG, "challenge": SHOP}, Verdict.INVALID_CODE,
         (SHOP,), touch(SHOP) | COUNTED | {"failures: client shop"}),
    Case("a wrong code where ssh shows codes", there(BACK), {"code": WRONG}, Verdict.INVALID_CODE),
    Case("a long wrong code where ssh shows codes", there(BACK), {"code": WRONG_LONG}, Verdict.INVALID_CODE),
    Case("a long wrong code while a login names nobody", there(BACK, "hint-bob"), {"code": WRONG_LONG},
         Verdict.INVALID_CODE, (), COUNTED | {"failures: client web"}),
    Case("a short wrong code while a login names nobody", there(BACK, "hint-bob"), {"code": WRONG},
         Verdict.INVALID_CODE),
    Case("a long wrong code while no login waits", {}, {"code": WRONG_LONG}, Verdict.NO_CHALLENGE),
    Case("a wrong code while no login waits", {}, {"code": WRONG}, Verdict.NO_CHALLENGE),
    Case("the fifth wrong code", there(WAITS, tries=4), {"code": WRONG}, Verdict.INVALID_CODE, (WAITS,),
         touch(WAITS) | COUNTED | {"failures: client web"}),
    # no code
    Case("no login", {}, NO_CODE, Verdict.NO_CHALLENGE),
    Case("a login that asks for its code", there(WAITS, SHOP), NO_CODE, Verdict.CODE_REQUIRED, (SHOP, WAITS)),
    Case("one login whose code ssh shows", there(BACK), NO_CODE, Verdict.PRESENTED, (BACK,), touch(BACK) | {USED}),
    Case("two logins whose codes ssh shows", there(BACK, PRINTED), NO_CODE, Verdict.CHOICE_REQUIRED, (BACK, PRINTED)),
    Case("logins of both kinds", there(BACK, WAITS), NO_CODE, Verdict.CHOICE_REQUIRED, (BACK,)),
    Case("the chosen login", there(BACK, WAITS), NO_CODE | {"challenge": BACK}, Verdict.PRESENTED, (BACK,),
         touch(BACK) | {USED}),
    Case("one login without a code", there(WAITS, **UNBOUND), NO_CODE, Verdict.ACCEPTED, (WAITS,),
         touch(WAITS) | {USED}),
    Case("two logins without a code", there(WAITS, SHOP, **UNBOUND), NO_CODE, Verdict.NO_CHALLENGE, (SHOP, WAITS)),
    Case("logins with and without a code", there(WAITS) | there(SHOP, **UNBOUND), NO_CODE, Verdict.CODE_REQUIRED,
         (SHOP, WAITS)),
    # what is over
    *(
        Case(f"the code of a login that is {state}", there(WAITS, state=state), RIGHT, verdict, (WAITS,))
        for state, verdict in (("cancelled", Verdict.CANCELLED), ("rejected", Verdict.REJECTED),
                               ("expired", Verdict.EXPIRED), ("consumed", Verdict.ALREADY_USED))
    ),
    Case("a late code", there(WAITS, expires_at=ago(seconds=899)), RIGHT, Verdict.EXPIRED, (WAITS,)),
    Case("a code that is too late", there(WAITS, expires_at=ago(seconds=900)), RIGHT, Verdict.NO_CHALLENGE),
    Case("a late code while another login waits", there(WAITS, expires_at=ago(seconds=899)) | there(SHOP), RIGHT,
         Verdict.EXPIRED, (WAITS,)),
    Case("a code that is too late while another login waits", there(WAITS, expires_at=ago(seconds=900)) | there(SHOP),
         RIGHT, Verdict.INVALID_CODE, (SHOP,), touch(SHOP) | COUNTED | {"failures: client shop"}),
    Case("a late code of a login without a user", there("hint-alice", expires_at=ago(seconds=899)),
         {"code": code_of("hint-alice")}, Verdict.EXPIRED, ("hint-alice",)),
    Case("a code that is too late for a login without a user", there("hint-alice", expires_at=ago(seconds=900)),
         {"code": code_of("hint-alice")}, Verdict.NO_CHALLENGE),
    Case("a code at the end of a login without a user", there("hint-alice", expires_at=ago(), verify_required=True),
         {"code": code_of("hint-alice")}, Verdict.EXPIRED, ("hint-alice",)),
    Case("a late code that hints at somebody else", there("hint-bob", expires_at=ago(seconds=1)), LONG,
         Verdict.OTHER_USER),
    Case("a code of another person's finished login", there("hint-alice", state="accepted", user_name="bob"),
         {"code": code_of("hint-alice")}, Verdict.OTHER_USER),
    Case("a login that was named and is over", there("alice-web-taken", SHOP),
         NO_CODE | {"challenge": "alice-web-taken"}, Verdict.ALREADY_USED, ("alice-web-taken",)),
    Case("a login that was named and is another person's", there("bob-web-taken"),
         NO_CODE | {"challenge": "bob-web-taken"}, Verdict.NO_CHALLENGE),
    Case("the last login", there("alice-web-denied"), NO_CODE, Verdict.REJECTED, ("alice-web-denied",)),
    Case("the last login but over", there("alice-web-denied", expires_at=ago()), NO_CODE, Verdict.NO_CHALLENGE),
    Case("the last login of two", there("alice-web-denied", expires_at=ago(seconds=-9)) | there("alice-web-taken"),
         NO_CODE, Verdict.ALREADY_USED, ("alice-web-taken",)),
    Case("a wrong code after a denied login", there("alice-web-denied"), {"code": WRONG}, Verdict.REJECTED,
         ("alice-web-denied",)),
    Case("a wrong code after a passed login", there("alice-web-taken"), {"code": WRONG}, Verdict.NO_CHALLENGE),
    # repeated attempts
    Case("a repeated attempt", there(WAITS, state="accepted", attempt="mine"), RIGHT, Verdict.ACCEPTED, (WAITS,)),
    Case("another attempt", there(WAITS, state="accepted", attempt="theirs"), RIGHT, Verdict.ALREADY_USED, (WAITS,)),
    Case("an attempt of somebody else", there("bob-web-passed", attempt="mine"), NO_CODE, Verdict.NO_CHALLENGE),
    Case("a repeated attempt at two logins", there(WAITS, attempt="mine", tries=1)
         | there("alice-web-passed", attempt="mine"), RIGHT, Verdict.ACCEPTED, ("alice-web-passed",)),
    Case("a repeated wrong attempt at two logins", there(WAITS, SHOP, attempt="mine", tries=1), {"code": WRONG},
         Verdict.INVALID_CODE, (SHOP, WAITS)),
    Case("a repeated wrong attempt while a new login waits", there(WAITS, attempt="mine", tries=1) | there(SHOP),
         {"code": WRONG}, Verdict.INVALID_CODE, (WAITS,)),
    Case("a repeated attempt whose code fits by now", there(WAITS) | there(SHOP, attempt="mine", tries=1), RIGHT,
         Verdict.ACCEPTED, (WAITS,), touch(WAITS) | {USED}),
]  # fmt: skip


def only(of: Neighbours, wanted: dict[str, dict[str, Any]]) -> None:
    """Leaves the wanted logins and no others."""
    with of.store.database.write() as connection:
        connection.execute(delete(challenges).where(challenges.c.id.not_in(wanted)))
        for name, values in wanted.items():
            times = {
                key: of.clock() + value if isinstance(value, timedelta) else value for key, value in values.items()
            }
            if times:
                connection.execute(update(challenges).where(challenges.c.id == name).values(times))


@pytest.mark.parametrize("case", CASES, ids=[each.name for each in CASES])
def test_attempt_gets_its_verdict(neighbours: Neighbours, case: Case) -> None:
    only(neighbours, case.there)
    answers: list[Answer] = []
    attempt = Attempt(
        **{"user": "alice", "fingerprint": "alice's key", "client_ip": ADDRESS, "name": "mine"} | case.attempt
    )
    touched = neighbours.touched(lambda of: answers.append(of.store.challenges.accept(attempt, of.clock())))
    (answer,) = answers
    assert (answer.verdict, sorted(each.id for each in answer.challenges)) == (case.verdict, sorted(case.answer))
    assert [neighbours.challenge(each.id) for each in answer.challenges] == list(answer.challenges), "as they are now"
    assert touched == case.touches


def test_ten_later_logins_hide_the_code_of_an_ended_one(neighbours: Neighbours) -> None:
    """A code is compared with the last ten logins: that of the eleventh counts as wrong."""
    ended = there("alice-web-cancelled", expires_at=ago(seconds=9))
    later = [f"alice-shop-{each}" for each in ("waits", "back", "printed", "passed", "other-key", "no-key", "taken",
                                               "taken-by-other-key", "denied", "cancelled")]  # fmt: skip
    for number, verdict in ((10, Verdict.INVALID_CODE), (9, Verdict.CANCELLED)):
        only(neighbours, ended | there(*later[:number]))
        attempt = neighbours.attempt(None, code=code_of("alice-web-cancelled"))
        assert neighbours.store.challenges.accept(attempt, neighbours.clock()).verdict is verdict


@pytest.mark.parametrize("user", ["alice", "bob"])
def test_code_that_ssh_has_shown_is_no_code_for_ssh(neighbours: Neighbours, user: str) -> None:
    codes = neighbours.store.codes
    printed = f"{user}-web-printed"
    code = codes.given_back(printed, ANONYMOUS_DIGITS)
    only(neighbours, there(printed, code_index=codes.index(code)))
    answer = neighbours.store.challenges.accept(neighbours.attempt(None, code=code), neighbours.clock())
    assert answer.verdict is (Verdict.INVALID_CODE if user == "alice" else Verdict.NO_CHALLENGE)


def test_long_code_that_a_client_chose_is_known_after_the_end(neighbours: Neighbours) -> None:
    wish = Wish("alice", HOUR, client="web", code=WRONG_LONG)
    opened = neighbours.store.challenges.open(wish, neighbours.clock())
    neighbours.store.challenges.cancel(opened.challenge.id, neighbours.clock())
    answer = neighbours.store.challenges.accept(neighbours.attempt(None, code=WRONG_LONG), neighbours.clock())
    assert (answer.verdict, [each.id for each in answer.challenges]) == (Verdict.CANCELLED, [opened.challenge.id])


# --- codes that are typed in the web login

VERIFIED: list[tuple[dict[str, dict[str, Any]], list[str], str | None, Verdict, tuple[str, ...], frozenset[str]]] = [
    (there(PRINTED), [PRINTED], None, Verdict.ACCEPTED, (PRINTED,), touch(PRINTED)),
    (there(PRINTED, BACK), [BACK, PRINTED], None, Verdict.ACCEPTED, (PRINTED,), touch(PRINTED)),
    (there(PRINTED, BACK), [BACK, PRINTED], WRONG, Verdict.INVALID_CODE, (PRINTED,), touch(PRINTED)),
    (there(BACK), [BACK], WRONG, Verdict.NOT_PRESENTED, (BACK,), frozenset()),
    (there(WAITS), [WAITS], WRONG, Verdict.NO_CHALLENGE, (), frozenset()),
    (there(PRINTED, WAITS), [WAITS, PRINTED], None, Verdict.ACCEPTED, (PRINTED,), touch(PRINTED)),
    ({}, [PRINTED], WRONG, Verdict.NO_CHALLENGE, (), frozenset()),
    (there(PRINTED, state="consumed"), [PRINTED], None, Verdict.ALREADY_USED, (PRINTED,), frozenset()),
    (there(PRINTED, state="cancelled"), [PRINTED], None, Verdict.CANCELLED, (PRINTED,), frozenset()),
    (there(PRINTED, state="consumed", attempt="mine"), [PRINTED], WRONG, Verdict.ACCEPTED, (PRINTED,), frozenset()),
    (there(PRINTED, tries=1, attempt="mine"), [PRINTED], None, Verdict.INVALID_CODE, (PRINTED,), frozenset()),
    (there(PRINTED, tries=4), [PRINTED], WRONG, Verdict.INVALID_CODE, (PRINTED,), touch(PRINTED)),
]


@pytest.mark.parametrize(("wanted", "named", "code", "verdict", "found", "touches"), VERIFIED)
def test_typed_code_gets_its_verdict(
    neighbours: Neighbours,
    wanted: dict[str, dict[str, Any]],
    named: list[str],
    code: str | None,
    verdict: Verdict,
    found: tuple[str, ...],
    touches: frozenset[str],
) -> None:
    meant = [neighbours.challenge(name) for name in named]
    only(neighbours, wanted)
    typed = code or neighbours.store.codes.given_back(PRINTED)
    answers: list[Answer] = []
    verify: Callable[[Neighbours], object] = lambda of: answers.append(  # noqa: E731
        of.store.challenges.verify(meant, typed, "mine", of.clock())
    )
    assert neighbours.touched(verify) == touches
    (answer,) = answers
    assert (answer.verdict, tuple(each.id for each in answer.challenges)) == (verdict, found)
    assert [neighbours.challenge(each) for each in found] == list(answer.challenges), "as they are now"


def test_attempt_that_passed_has_taken_a_try_and_may_be_repeated(neighbours: Neighbours) -> None:
    store, now = neighbours.store, neighbours.clock()
    typed = store.codes.given_back(PRINTED)
    for attempt in (
        lambda: store.challenges.accept(neighbours.attempt(WAITS, name="mine"), now),
        lambda: store.challenges.verify([neighbours.challenge(PRINTED)], typed, "mine", now),
    ):
        first, again = attempt(), attempt()
        assert first == again
        assert (first.verdict, first.challenges[0].tries) == (Verdict.ACCEPTED, 1)


def test_login_passes_with_the_key_to_which_its_code_was_shown(neighbours: Neighbours) -> None:
    store, now = neighbours.store, neighbours.clock()
    key = "alice's security key"
    attempt = neighbours.attempt(BACK, code=None, fingerprint=key, verified=True)
    code = store.challenges.accept(attempt, now).code
    assert code
    (passed,) = store.challenges.verify([neighbours.challenge(BACK)], code, None, now).challenges
    assert passed.approval == Approval(now, key, "sk-ssh-ed25519@openssh.com", ADDRESS, verified=True)


def test_text_about_an_attempt_does_not_hold_its_code(neighbours: Neighbours) -> None:
    shown = neighbours.store.challenges.accept(neighbours.attempt(BACK, code=None), neighbours.clock())
    assert shown.code == neighbours.store.codes.given_back(BACK)
    assert shown.code not in repr(shown)
    assert code_of(WAITS) not in repr(neighbours.attempt(WAITS))


# --- lock-outs


@pytest.mark.parametrize(
    ("attempt", "verdict", "named"),
    [
        (RIGHT, Verdict.TOO_MANY_ATTEMPTS, (BACK, SHOP, WAITS)),
        (RIGHT | {"challenge": WAITS}, Verdict.TOO_MANY_ATTEMPTS, (WAITS,)),
        (RIGHT | {"challenge": BACK}, Verdict.TOO_MANY_ATTEMPTS, (BACK,)),
        ({"code": WRONG}, Verdict.TOO_MANY_ATTEMPTS, (BACK, SHOP, WAITS)),
        ({"code": WRONG, "challenge": BACK}, Verdict.INVALID_CODE, ()),
        (NO_CODE | {"challenge": BACK}, Verdict.TOO_MANY_ATTEMPTS, (BACK,)),
        (NO_CODE | {"challenge": "alice-web-taken"}, Verdict.ALREADY_USED, ("alice-web-taken",)),
        ({"code": code_of("alice-web-cancelled"), "challenge": BACK}, Verdict.CANCELLED, ("alice-web-cancelled",)),
    ],
)
def test_locked_user_is_told_until_when_if_a_login_waits(
    neighbours: Neighbours, attempt: dict[str, Any], verdict: Verdict, named: tuple[str, ...]
) -> None:
    """Finding U2: the person reads until when no code is checked, and nothing more is counted."""
    only(neighbours, there(WAITS, SHOP, BACK, "alice-web-taken", "alice-web-cancelled"))
    neighbours.store.challenges.rules = Rules(limits=Limits(user=2))
    answers: list[Answer] = []
    tried = Attempt(**{"user": "alice", "fingerprint": "alice's key", "client_ip": ADDRESS} | attempt)
    assert not neighbours.touched(lambda of: answers.append(of.store.challenges.accept(tried, of.clock())))
    (answer,) = answers
    assert (answer.verdict, tuple(sorted(each.id for each in answer.challenges))) == (verdict, tuple(sorted(named)))
    assert answer.retry_at == (neighbours.clock() + HOUR if verdict is Verdict.TOO_MANY_ATTEMPTS else None)


@pytest.mark.parametrize(
    ("limits", "scope", "subject", "user", "verdict"),
    [
        (Limits(user=3), "user", "alice", "alice", Verdict.TOO_MANY_ATTEMPTS),
        (Limits(source=3), "source", ADDRESS, None, Verdict.INVALID_CODE),
        (Limits(client=3), "client", "web", None, Verdict.INVALID_CODE),
    ],
)
def test_limit_is_recorded_once_when_it_is_reached(
    neighbours: Neighbours, limits: Limits, scope: str, subject: str, user: str | None, verdict: Verdict
) -> None:
    others = {BACK: State.PENDING, "alice-web-taken": State.CONSUMED, "alice-web-over": State.PENDING,
              "bob-web-waits": State.PENDING}  # fmt: skip
    only(neighbours, there(WAITS, tries=MAX_TRIES - 1) | there(SHOP, *others))
    neighbours.store.challenges.rules = Rules(limits=limits)
    answer = neighbours.store.challenges.accept(neighbours.attempt(WAITS, code=WRONG), neighbours.clock())
    assert answer.verdict is verdict
    (reached,) = (each for each in neighbours.audited() if each["event"] == "limit.reached")
    until = {"until": "2026-11-22T13:00:00Z"}
    assert reached == {"event": "limit.reached", "user": user, "scope": scope, "subject": subject} | until
    ended = [
        (each["challenge"], each["reason"]) for each in neighbours.audited() if each["event"] == "challenge.rejected"
    ]
    assert ended == [(WAITS, "tried_out"), *([(SHOP, "locked")] if user else [])]
    assert {each.id for each in answer.challenges} == ({WAITS, SHOP} if user else {WAITS})
    assert {each: neighbours.challenge(each).state for each in others} == others
