"""Tests the conditions of statements: each decides alone if the row changed after it was read, on both databases."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from fakes.public_keys import ed25519
from service.service import START, Clock
from sqlalchemy import delete, insert, update
from store.neighbours import ADDRESS, MINUTE, Neighbours, fill

from sshaft.public_key import parse
from sshaft_identity.challenges.attempts import Answer
from sshaft_identity.challenges.challenge import MAX_TRIES, Context, State, Verdict
from sshaft_identity.challenges.challenges import Wish
from sshaft_identity.common.digests import digest
from sshaft_identity.database.tables import challenges, enrolments, face_requests, ssh_keys, users
from sshaft_identity.enrolment.enrolment import Presentation
from sshaft_identity.enrolment.enrolment import Verdict as Enrolled
from sshaft_identity.face_support.face_requests import FaceRequests, Returns
from sshaft_identity.people.key_policy import KeyPolicy
from sshaft_identity.store import Store

CHANGE = "UPDATE challenges"
NEW = parse(ed25519("new"))
LATE = timedelta(hours=1)


@pytest.fixture
def neighbours(store: Store, clock: Clock) -> Neighbours:
    return fill(store, clock)


def accept(of: Neighbours) -> Answer:
    return of.store.challenges.accept(of.attempt("alice-web-waits", name="mine"), of.clock())


def present(of: Neighbours) -> Answer:
    return of.store.challenges.accept(of.attempt("alice-web-back", code=None, name="mine"), of.clock())


def guess(of: Neighbours) -> Answer:
    return of.store.challenges.accept(of.attempt("alice-web-waits", code="000000", name="mine"), of.clock())


def verify(of: Neighbours) -> Answer:
    code = of.store.codes.given_back("alice-web-printed")
    return of.store.challenges.verify([of.challenge("alice-web-printed")], code, "mine", of.clock())


def guess_back(of: Neighbours) -> Answer:
    return of.store.challenges.verify([of.challenge("alice-web-printed")], "000000", "mine", of.clock())


EACH_ATTEMPT = pytest.mark.parametrize(
    ("act", "concerned"),
    [
        (accept, "alice-web-waits"),
        (guess, "alice-web-waits"),
        (present, "alice-web-back"),
        (verify, "alice-web-printed"),
        (guess_back, "alice-web-printed"),
    ],
)
Act = Callable[[Neighbours], Any]


@EACH_ATTEMPT
@pytest.mark.parametrize(
    ("meanwhile", "verdict"),
    [
        ({"state": State.CANCELLED}, Verdict.CANCELLED),
        ({"state": State.REJECTED}, Verdict.REJECTED),
        ({"state": State.CONSUMED, "attempt": "theirs"}, Verdict.ALREADY_USED),
        ({"state": State.CONSUMED, "attempt": "mine"}, Verdict.ACCEPTED),
        ({"state": State.REJECTED, "tries": MAX_TRIES, "attempt": "theirs"}, Verdict.TOO_MANY_ATTEMPTS),
        ({"tries": MAX_TRIES}, Verdict.INVALID_CODE),
        ("over", Verdict.EXPIRED),
        ("ahead", Verdict.EXPIRED),
    ],
)
def test_login_that_changed_meanwhile_decides_the_attempt(
    neighbours: Neighbours, act: Act, concerned: str, meanwhile: Any, verdict: Verdict
) -> None:
    now = neighbours.clock()
    values = {"over": {"expires_at": now}, "ahead": {"created_at": now + LATE, "expires_at": now + 2 * LATE}}
    change = update(challenges).where(challenges.c.id == concerned)
    change = change.values(values[meanwhile] if isinstance(meanwhile, str) else meanwhile)
    events = len(neighbours.audited())
    answers: list[Answer] = []

    def attempt(of: Neighbours) -> None:
        with of.meanwhile(CHANGE, change):
            answers.append(act(of))

    assert neighbours.touched(attempt) == {f"challenges: {concerned}"}, "nothing was counted, no key was used"
    assert [(each.verdict, each.code) for each in answers] == [(verdict, None)]
    left = neighbours.challenge(concerned)
    assert (left.state, left.tries) == (change.compile().params.get("state", "pending"), left.tries)
    assert left.tries in (0, MAX_TRIES), "no try was taken"
    assert len(neighbours.audited()) == events


@pytest.mark.parametrize(("act", "concerned"), [(guess, "alice-web-waits"), (guess_back, "alice-web-printed")])
def test_wrong_code_that_was_judged_meanwhile_takes_no_second_try(
    neighbours: Neighbours, act: Act, concerned: str
) -> None:
    same = update(challenges).where(challenges.c.id == concerned).values(tries=1, attempt="mine")
    with neighbours.meanwhile(CHANGE, same):
        answer = act(neighbours)
    assert (answer.verdict, answer.attempts_left) == (Verdict.INVALID_CODE, MAX_TRIES - 1)
    another = update(challenges).where(challenges.c.id == concerned).values(attempt="theirs")
    with neighbours.store.database.write() as connection:
        connection.execute(another)
    assert act(neighbours).attempts_left == MAX_TRIES - 2


def test_login_that_was_claimed_meanwhile_keeps_its_user(neighbours: Neighbours) -> None:
    theirs = update(challenges).where(challenges.c.id == "hint-alice").values(user_name="bob", verify_required=True)
    with neighbours.store.database.write() as connection:
        connection.execute(update(challenges).where(challenges.c.id == "hint-alice").values(verify_required=True))
    attempt = neighbours.attempt("hint-alice", fingerprint="alice's security key")
    with neighbours.meanwhile(CHANGE, theirs):
        answer = neighbours.store.challenges.accept(attempt, neighbours.clock())
    assert answer.verdict is Verdict.VERIFICATION_REQUIRED
    assert neighbours.challenge("hint-alice").user == "bob"


def test_login_that_ended_meanwhile_is_not_superseded(neighbours: Neighbours) -> None:
    passed = update(challenges).where(challenges.c.id == "alice-web-waits").values(state=State.ACCEPTED)
    wish = Wish("alice", MINUTE, client="web", context=Context(ip=ADDRESS))
    over = update(challenges).where(challenges.c.id == "alice-web-over").values(state=State.ACCEPTED)
    with neighbours.meanwhile(CHANGE, passed), neighbours.meanwhile(CHANGE, over):
        opened = neighbours.store.challenges.open(wish, neighbours.clock())
    assert {each.id for each in opened.superseded} == {"alice-web-back", "alice-web-printed"}
    assert neighbours.challenge("alice-web-waits").state is State.ACCEPTED


@pytest.mark.parametrize("values", [{"state": State.CANCELLED}, {"state": State.ACCEPTED}])
def test_login_that_ended_meanwhile_is_not_denied(neighbours: Neighbours, values: dict[str, Any]) -> None:
    change = update(challenges).where(challenges.c.id == "alice-web-waits").values(values)
    with neighbours.meanwhile(CHANGE, change):
        answer = neighbours.store.challenges.reject(neighbours.attempt("alice-web-waits"), neighbours.clock())
    assert answer.verdict is Verdict.NO_CHALLENGE
    assert neighbours.challenge("alice-web-waits").state is values["state"]


def test_login_of_two_that_was_cancelled_meanwhile_is_not_in_the_answer(neighbours: Neighbours) -> None:
    """Two logins have the same code: both end, and one of them has ended already."""
    hmacs = {each: neighbours.store.codes.code_hmac(each, "123456") for each in ("alice-web-waits", "alice-shop-waits")}
    with neighbours.store.database.write() as connection:
        for name, code_hmac in hmacs.items():
            connection.execute(update(challenges).where(challenges.c.id == name).values(code_hmac=code_hmac))
    denied = update(challenges).where(challenges.c.id == "alice-web-waits").values(state=State.REJECTED)
    attempt = neighbours.attempt("alice-web-waits", code="123456")
    with neighbours.meanwhile(CHANGE, denied):
        answer = neighbours.store.challenges.accept(attempt, neighbours.clock())
    assert (answer.verdict, [each.id for each in answer.challenges]) == (Verdict.CANCELLED, ["alice-shop-waits"])
    (event,) = (each for each in neighbours.audited() if each["event"] == "challenge.cancelled")
    assert (event["challenge"], event["reason"]) == ("alice-shop-waits", "same_code")


# --- enrolments and keys


def present_key(of: Neighbours) -> Any:
    code = of.store.enrolments.code_of("alice-invited")
    return of.store.enrolments.present(code, Presentation(NEW, ADDRESS), of.clock(), KeyPolicy())


def confirm(of: Neighbours) -> Any:
    shown = parse(ed25519("alice's new key")).fingerprint
    return of.store.enrolments.confirm("alice-shown", shown, of.clock(), KeyPolicy())


def await_approval(of: Neighbours) -> Any:
    enrolment = of.store.enrolments.of_page("alice-to-approve")
    assert enrolment
    return of.store.enrolments.await_approval(enrolment, "another", of.clock())


@pytest.mark.parametrize("meanwhile", ["cancelled", "confirmed", "refused", "over", "ahead"])
@pytest.mark.parametrize(
    ("act", "concerned"),
    [(present_key, "alice-invited"), (confirm, "alice-shown"), (await_approval, "alice-to-approve")],
)
def test_enrolment_that_ended_meanwhile_takes_no_step(
    neighbours: Neighbours, act: Act, concerned: str, meanwhile: str
) -> None:
    now = neighbours.clock()
    values = {"over": {"expires_at": now}, "ahead": {"created_at": now + LATE, "expires_at": now + 2 * LATE}}
    change = update(enrolments).where(enrolments.c.id == concerned).values(values.get(meanwhile, {"state": meanwhile}))
    verdicts: list[Enrolled] = []

    def step(of: Neighbours) -> None:
        with of.meanwhile("UPDATE enrolments", change):
            verdicts.append(act(of).verdict)

    assert neighbours.touched(step) == {f"enrolments: {concerned}"}
    assert verdicts == [Enrolled.NONE]
    left = neighbours.store.enrolments.get(concerned)
    assert left
    assert (left.state_at(now), left.approval) != ("open", "another")
    assert not neighbours.audited()


def test_person_who_was_removed_meanwhile_gets_no_key(neighbours: Neighbours) -> None:
    with neighbours.meanwhile("SELECT users.name", delete(users).where(users.c.name == "alice")):
        outcome = confirm(neighbours)
    assert outcome.verdict is Enrolled.NONE
    assert not neighbours.audited()


@pytest.mark.parametrize("expires", [False, True])
def test_key_that_another_person_registered_meanwhile_keeps_its_owner(neighbours: Neighbours, expires: bool) -> None:
    """Alice's own keys cannot change meanwhile: the transaction has locked her row."""
    key, now = parse(ed25519("alice's new key")), neighbours.clock()
    values = {"type": key.type, "blob": key.blob, "name": "theirs", "source": "operator", "created_at": now}
    ends = {"expires_at": now if expires else None}
    theirs = insert(ssh_keys).values(fingerprint=key.fingerprint, user_name="bob", **values, **ends)
    with neighbours.meanwhile("INSERT INTO ssh_keys", theirs):
        assert confirm(neighbours).verdict is Enrolled.TAKEN
    found = {each.key.fingerprint: each for each in neighbours.store.keys.all()}[key.fingerprint]
    assert (found.user, found.name) == ("bob", "theirs")
    enrolment = neighbours.store.enrolments.get("alice-shown")
    assert enrolment
    assert enrolment.state == "presented"


# --- the requests of faces

REQUEST = "alice-web-taken"
NEW_REQUEST, NOT_BEGUN = {"handle_until": START + MINUTE}, {"handle_until": None}
WITH_HANDLE = {"handle_hash": digest("mine"), "handle_until": START + MINUTE}


def requests_of(of: Neighbours) -> FaceRequests:
    return FaceRequests(of.store.database, "openid")


def issue(of: Neighbours) -> Any:
    return requests_of(of).issue_handle(REQUEST, of.clock() + MINUTE)


def renew(of: Neighbours) -> Any:
    return requests_of(of).renew_handle(REQUEST, of.clock())


def redeem(of: Neighbours) -> Any:
    return requests_of(of).redeem_handle(REQUEST, "mine", of.clock())


def begin_return(of: Neighbours) -> Any:
    return Returns(of.store.database).begin(REQUEST, of.clock() + LATE)


UPDATE = update(face_requests).where(face_requests.c.id == REQUEST)


def set_request(of: Neighbours, values: dict[str, Any]) -> dict[str, Any]:
    """Changes the request, and returns its row."""
    with of.store.database.write() as connection:
        return connection.execute(UPDATE.values(values).returning(face_requests)).one()._asdict()


@pytest.mark.parametrize(
    ("act", "before", "meanwhile"),
    [
        (issue, NEW_REQUEST, {"handle_hash": "theirs", "handle_until": START + LATE}),
        (renew, WITH_HANDLE, {"used_at": START - MINUTE}),
        (renew, WITH_HANDLE, {"handle_until": START}),
        (renew, WITH_HANDLE, NOT_BEGUN),
        (redeem, WITH_HANDLE, {"used_at": START - MINUTE}),
        (redeem, WITH_HANDLE, {"handle_hash": "newer"}),
        (begin_return, NOT_BEGUN, {"handle_until": START + MINUTE}),
    ],
)
def test_request_that_changed_meanwhile_stays_as_it_is(
    neighbours: Neighbours, act: Act, before: dict[str, Any], meanwhile: dict[str, Any]
) -> None:
    """The first application, tab or service decides: a second one gets no handle and redeems none."""
    expected = set_request(neighbours, before) | meanwhile
    with neighbours.meanwhile("UPDATE face_requests", UPDATE.values(meanwhile)):
        assert not act(neighbours)
    assert set_request(neighbours, {"id": REQUEST}) == expected


@pytest.mark.parametrize("act", [issue, renew, redeem, begin_return])
def test_request_that_was_deleted_meanwhile_has_no_handle(neighbours: Neighbours, act: Act) -> None:
    set_request(neighbours, WITH_HANDLE)
    with neighbours.meanwhile("UPDATE face_requests", delete(face_requests).where(face_requests.c.id == REQUEST)):
        assert not act(neighbours)
    assert requests_of(neighbours).get(REQUEST) is None


@pytest.mark.parametrize(
    ("act", "before", "successes"), [(issue, NEW_REQUEST, 1), (renew, WITH_HANDLE, 8), (redeem, WITH_HANDLE, 1)]
)
def test_one_handle_of_two_services_counts(
    neighbours: Neighbours, url: str, act: Act, before: dict[str, Any], successes: int
) -> None:
    """Each renewal succeeds, and voids the handles before."""
    set_request(neighbours, before)
    with Store(url, neighbours.store.codes) as store, ThreadPoolExecutor(8) as pool:
        services = [neighbours, replace(neighbours, store=store)] * 4
        answers = [each for each in pool.map(act, services) if each]
    assert len(answers) == successes
    if act is not redeem:
        assert len([each for each in answers if requests_of(neighbours).of_handle(each)]) == 1
