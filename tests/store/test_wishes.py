"""Tests what a new challenge is like, which older ones it ends, and how a challenge is found.

None of this depends on the database.
"""

from datetime import timedelta

import pytest
from service.service import Clock
from store.neighbours import ADDRESS, Neighbours, fill

from sshaft_identity.challenges.attempts import Answer
from sshaft_identity.challenges.challenge import Binding, Challenge, Context, State, Verdict
from sshaft_identity.challenges.challenges import Opened, Wish
from sshaft_identity.store import Store

HOUR = timedelta(hours=1)
CODE = "482913"
PRINTED = Wish("alice", HOUR, client="web", binding=Binding.CODE_BACK, found_by_code=True)


@pytest.fixture
def neighbours(on_sqlite: Store, clock: Clock) -> Neighbours:
    return fill(on_sqlite, clock)


def begin(of: Neighbours, wish: Wish) -> Opened:
    return of.store.challenges.open(wish, of.clock())


# --- new challenges


def test_new_login_is_pending_and_asks_for_no_more_than_its_wish(neighbours: Neighbours) -> None:
    now = neighbours.clock()
    opened = begin(neighbours, Wish("alice", HOUR))
    made = opened.challenge
    plain = Challenge(made.id, "alice", None, Context(), now, now + HOUR, code_hmac=made.code_hmac)
    assert neighbours.challenge(made.id) == made == plain
    assert (len(opened.code), opened.is_known) == (6, True)
    assert neighbours.store.challenges.of_page(opened.page_token) == made
    assert neighbours.store.challenges.code_of(made, opened.page_token) == opened.code


def test_login_of_nobody_in_particular_has_a_long_code(neighbours: Neighbours) -> None:
    opened = begin(neighbours, Wish(None, HOUR))
    assert (len(opened.code), opened.is_known) == (8, False)
    assert neighbours.store.challenges.code_of(opened.challenge, opened.page_token) == opened.code


def test_page_of_a_login_whose_code_ssh_shows_has_no_code(neighbours: Neighbours) -> None:
    opened = begin(neighbours, Wish("alice", HOUR, binding=Binding.CODE_BACK))
    assert neighbours.store.challenges.code_of(opened.challenge, opened.page_token) is None


@pytest.mark.parametrize("user", ["alice", "nobody"])
def test_opening_says_whether_there_is_such_a_user(neighbours: Neighbours, user: str) -> None:
    assert begin(neighbours, Wish(user, HOUR)).is_known is (user == "alice")


# --- codes


def test_client_chooses_the_code_of_a_login(neighbours: Neighbours) -> None:
    wish = Wish("alice", HOUR, client="web", code=CODE)
    assert begin(neighbours, wish).code == CODE
    assert CODE not in repr(wish)
    answer = neighbours.store.challenges.accept(neighbours.attempt(None, code=CODE), neighbours.clock())
    assert answer.verdict is Verdict.ACCEPTED


@pytest.mark.parametrize(("user", "code"), [(None, CODE), (None, "123456789"), ("alice", "12345"), ("alice", "")])
def test_only_a_code_of_six_to_eight_digits_can_be_chosen_and_only_with_a_user(
    neighbours: Neighbours, user: str | None, code: str
) -> None:
    with pytest.raises(ValueError, match=r"^only a well-formed code can be chosen, and only with a user$"):
        begin(neighbours, Wish(user, HOUR, code=code))


def test_no_two_logins_of_nobody_share_a_code(neighbours: Neighbours, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a code alone finds its login."""
    first = begin(neighbours, Wish(None, HOUR))
    tokens = iter([first.page_token, "another"])
    monkeypatch.setattr("sshaft_identity.challenges.challenges.new_page_token", lambda: next(tokens))
    assert begin(neighbours, Wish(None, HOUR)).page_token == "another"


def test_no_two_logins_that_a_printed_code_finds_share_it(
    neighbours: Neighbours, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The code is made from the identifier: another identifier makes another code."""
    identifiers = iter(["one", "one", "another"])
    monkeypatch.setattr("sshaft_identity.challenges.challenges.secrets.token_hex", lambda _: next(identifiers))
    assert [begin(neighbours, PRINTED).challenge.id for _ in range(2)] == ["one", "another"]


# --- older logins


@pytest.mark.parametrize(
    ("binding", "ip", "most"),
    [
        (Binding.CODE_IN, ADDRESS, 1),
        (Binding.CODE_IN, None, 1),
        (Binding.CODE_BACK, ADDRESS, 1),
        (Binding.CODE_BACK, None, 5),
    ],
)
def test_last_logins_from_one_place_wait(neighbours: Neighbours, binding: Binding, ip: str | None, most: int) -> None:
    wish = Wish("alice", HOUR, client="new", binding=binding, context=Context(ip=ip))
    opened = []
    for _ in range(7):
        opened.append(begin(neighbours, wish).challenge.id)
        neighbours.clock.advance(1)
    waiting = [each.id for each in neighbours.store.challenges.pending("alice", "new")]
    assert waiting == opened[-most:]


def test_last_twenty_logins_from_everywhere_wait(neighbours: Neighbours) -> None:
    opened = []
    for number in range(22):
        wish = Wish("alice", HOUR, client="new", context=Context(ip=f"203.0.113.{number}"))
        opened.append(begin(neighbours, wish))
        neighbours.clock.advance(1)
    ended = [[each.id for each in new.superseded] for new in opened]
    assert ended == [[]] * 20 + [[opened[0].challenge.id], [opened[1].challenge.id]]


def test_login_whose_time_is_over_is_ended_by_the_next_one(neighbours: Neighbours) -> None:
    """It is not one of the twenty that wait."""
    begin(neighbours, Wish("alice", HOUR, client="new", context=Context(ip="203.0.113.1")))
    over = begin(neighbours, Wish("alice", HOUR / 2, client="new", context=Context(ip="203.0.113.2")))
    neighbours.clock.advance(1800)
    (ended,) = begin(neighbours, Wish("alice", HOUR, client="new", context=Context(ip="203.0.113.3"))).superseded
    assert (ended.id, ended.state) == (over.challenge.id, State.EXPIRED)


# --- lists


def test_pending_logins_are_those_of_one_user_and_one_client(neighbours: Neighbours) -> None:
    found = neighbours.store.challenges.pending("alice", "web")
    assert {each.id for each in found} == {f"alice-web-{each}" for each in ("waits", "over", "back", "printed")}


def test_recent_logins_are_all_that_are_kept_and_the_newest_is_the_first(neighbours: Neighbours) -> None:
    newest = begin(neighbours, Wish("alice", HOUR)).challenge
    recent = neighbours.store.challenges.recent()
    assert recent[0] == newest
    assert {"alice-web-taken", "bob-shop-over", "hint-bob"} <= {each.id for each in recent}


# --- printed codes


def printed(of: Neighbours) -> tuple[Challenge, str]:
    """Returns a login for which ssh has shown the code, and the code."""
    opened = begin(of, PRINTED)
    answer = of.store.challenges.accept(of.attempt(opened.challenge.id, code=None), of.clock())
    assert answer.code
    return answer.challenges[0], answer.code


def owner_of(of: Neighbours, code: str, client: str = "web") -> Answer:
    return of.store.challenges.of_printed(code, client, 3, of.clock())


def test_printed_code_finds_its_login_for_its_client_only(neighbours: Neighbours) -> None:
    challenge, code = printed(neighbours)
    assert len(code) == 8
    assert owner_of(neighbours, code) == Answer(Verdict.PRESENTED, (challenge,))
    assert owner_of(neighbours, code, "shop") == Answer(Verdict.INVALID_CODE)
    assert not neighbours.touched(lambda of: owner_of(of, code)), "a right code takes no try"
    assert neighbours.touched(lambda of: owner_of(of, "00000000")) == {"failures: client web"}
    locked = Answer(Verdict.TOO_MANY_ATTEMPTS, retry_at=neighbours.clock() + HOUR)
    assert owner_of(neighbours, code) == locked, "the third wrong code of the client was the last"


@pytest.mark.parametrize("end", ["not shown", "over", "cancelled", "accepted"])
def test_printed_code_finds_only_a_login_that_waits_for_it(neighbours: Neighbours, end: str) -> None:
    challenges = neighbours.store.challenges
    if end == "not shown":
        code = neighbours.store.codes.given_back(begin(neighbours, PRINTED).challenge.id, 8)
    else:
        challenge, code = printed(neighbours)
    if end == "over":
        neighbours.clock.now = challenge.expires_at
    if end == "cancelled":
        challenges.cancel(challenge.id, neighbours.clock())
    if end == "accepted":
        challenges.verify([challenge], code, None, neighbours.clock())
    assert owner_of(neighbours, code).verdict is Verdict.INVALID_CODE


# --- denials


@pytest.mark.parametrize(
    ("named", "verdict"),
    [
        ("alice-web-waits", Verdict.REJECTED),
        ("hint-alice", Verdict.REJECTED),
        ("alice-web-denied", Verdict.REJECTED),
        ("alice-web-cancelled", Verdict.NO_CHALLENGE),
        ("alice-web-taken", Verdict.NO_CHALLENGE),
        ("bob-web-waits", Verdict.NO_CHALLENGE),
        ("bob-web-denied", Verdict.NO_CHALLENGE),
        ("hint-bob", Verdict.NO_CHALLENGE),
    ],
)
def test_own_login_is_denied_also_twice(neighbours: Neighbours, named: str, verdict: Verdict) -> None:
    for _ in range(2):
        answer = neighbours.store.challenges.reject(neighbours.attempt(named), neighbours.clock())
        assert answer.verdict is verdict
        assert list(answer.challenges) == ([neighbours.challenge(named)] if verdict is Verdict.REJECTED else [])


def test_denial_of_everything_finds_no_login_twice(neighbours: Neighbours) -> None:
    verdicts = [
        neighbours.store.challenges.reject(neighbours.attempt(None), neighbours.clock()).verdict for _ in range(2)
    ]
    assert verdicts == [Verdict.REJECTED, Verdict.NO_CHALLENGE]


def test_cancelled_login_is_in_the_answer_once(neighbours: Neighbours) -> None:
    challenges, now = neighbours.store.challenges, neighbours.clock()
    assert challenges.cancel("alice-web-waits", now) == neighbours.challenge("alice-web-waits")
    assert challenges.cancel("alice-web-waits", now) is None
