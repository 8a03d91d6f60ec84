"""Tests how a list answer is read, and what a key in it may do. Answers may be hostile."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fakes import public_keys
from hypothesis import given
from hypothesis import strategies as st

from sshaft import listing, public_key
from sshaft.errors import IdentityServiceError, InvalidKeyError
from sshaft.listing import AMBIGUOUS, CODELESS, EXPIRED, Context, Entry, Grant, decide
from sshaft.public_key import DEFAULT_TYPES

KEY = public_keys.ed25519()
SK_KEY = public_keys.sk_ed25519()
FINGERPRINT = public_key.parse(KEY).fingerprint
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
GOOD = {"user": "good", "authorized_key": public_keys.ed25519("good") + " good@laptop"}

CONTRACT = json.loads((Path(__file__).parents[2] / "contract" / "list.json").read_text())


def read(*items: Any) -> listing.Listing:
    return listing.parse(json.dumps(items).encode(), DEFAULT_TYPES)


def only(item: dict[str, Any]) -> Entry:
    (entry,) = read(item).all()
    return entry


# --- parse


@pytest.mark.parametrize("example", CONTRACT["examples"], ids=lambda example: example["name"])
def test_list_answers_of_the_contract_are_read(example: dict[str, Any]) -> None:
    entries = list(read(*example["answer"]).all())
    assert len(entries) == len(example["read"])
    for entry, expected in zip(entries, example["read"], strict=True):
        shown = {
            "user": entry.user,
            "fingerprint": entry.key.fingerprint,
            "pending": entry.pending,
            "needs_code": entry.needs_code,
            "challenge": entry.challenge,
            "app": entry.context.app if entry.context else None,
            "verify_required": entry.verify_required,
            "expires_at": entry.expires_at.strftime("%Y-%m-%dT%H:%M:%SZ") if entry.expires_at else None,
        }
        assert shown == shown | expected


def test_fingerprints_in_the_contract_are_those_of_its_keys() -> None:
    keys = CONTRACT["keys"]
    assert public_key.parse(keys["software"]).fingerprint == keys["software_fingerprint"]
    assert public_key.parse(keys["security_key"]).fingerprint == keys["security_key_fingerprint"]


def test_list_of_the_originals_server_is_read() -> None:
    entry = only({"user": "alice", "authorized_key": KEY + " alice@laptop"})
    assert entry == Entry("alice", public_key.parse(KEY))
    assert read() == listing.Listing({}, {}, {}, timedelta(), 1)
    assert entry.pending
    assert not entry.needs_code


def test_keys_are_found_by_their_fingerprint() -> None:
    found = read({"user": "alice", "authorized_key": KEY}, {"user": "bob", "authorized_key": SK_KEY})
    assert [entry.user for entry in found.of(FINGERPRINT)] == ["alice"]
    assert found.of("SHA256:" + "A" * 43) == ()


LEFT_OUT = [
    None,
    True,
    0,
    1.5,
    "text",
    [],
    [GOOD],
    {},
    {"user": "a"},
    {"authorized_key": KEY},
    {"user": None, "authorized_key": KEY},
    {"user": 1, "authorized_key": KEY},
    {"user": ["a"], "authorized_key": KEY},
    {"user": {"$ne": ""}, "authorized_key": KEY},
    {"user": "", "authorized_key": KEY},
    {"user": "a" * 257, "authorized_key": KEY},
    {"user": "a" * 65536, "authorized_key": KEY},
    {"user": "a\nb", "authorized_key": KEY},
    {"user": "a\r", "authorized_key": KEY},
    {"user": "a\0b", "authorized_key": KEY},
    {"user": "a\x1b[2J", "authorized_key": KEY},
    {"user": "a\u2028b", "authorized_key": KEY},
    {"user": "a\u202eb", "authorized_key": KEY},
    {"user": "a\u200bb", "authorized_key": KEY},
    {"user": "a\u00a0b", "authorized_key": KEY},
    {"user": "a\ud800", "authorized_key": KEY},
    {"user": "a", "authorized_key": None},
    {"user": "a", "authorized_key": [KEY]},
    {"user": "a", "authorized_key": ""},
    {"user": "a", "authorized_key": "x" * 65536},
    {"user": "a", "authorized_key": KEY + " " + "x" * 65536},
    {"user": "a", "authorized_key": f'command="id" {KEY}'},
    {"user": "a", "authorized_key": f"cert-authority {KEY}"},
    {"user": "a", "authorized_key": f'{KEY}\ncommand="id" {KEY}'},
    {"user": "a", "authorized_key": f"{KEY}\0"},
    {"user": "a", "authorized_key": f'x" {KEY}'},
    {"user": "a", "authorized_key": KEY.replace("ssh-ed25519", "ssh-rsa")},
    {"user": "a", "authorized_key": "$(id)"},
    {"user": "a", "authorized_key": KEY, "challenge": ""},
    {"user": "a", "authorized_key": KEY, "challenge": 7},
    {"user": "a", "authorized_key": KEY, "challenge": ["c"]},
    {"user": "a", "authorized_key": KEY, "challenge": "c" * 65536},
    {"user": "a", "authorized_key": KEY, "binding": "smoke_signal"},
    {"user": "a", "authorized_key": KEY, "binding": "CODE_IN"},
    {"user": "a", "authorized_key": KEY, "binding": ""},
    {"user": "a", "authorized_key": KEY, "binding": None},
    {"user": "a", "authorized_key": KEY, "binding": 1},
    {"user": "a", "authorized_key": KEY, "verify_required": True},
    {"user": "a", "authorized_key": KEY, "verify_required": "maybe"},
    {"user": "a", "authorized_key": KEY, "verify_required": None},
    {"user": "a", "authorized_key": KEY, "verify_required": [True]},
    {"user": "a", "authorized_key": KEY, "expires_at": "tomorrow"},
    {"user": "a", "authorized_key": KEY, "expires_at": "2026-11-22T12:05:00"},
    {"user": "a", "authorized_key": KEY, "expires_at": float("nan")},
    {"user": "a", "authorized_key": KEY, "expires_at": float("inf")},
    {"user": "a", "authorized_key": KEY, "expires_at": 1e300},
    {"user": "a", "authorized_key": KEY, "expires_at": []},
    {"user": "a", "authorized_key": KEY, "expires_at": "9999-12-31T23:59:59-14:00"},
    {"user": "a", "authorized_key": KEY, "expires_at": "0001-01-01T00:00:00+14:00"},
]


@pytest.mark.parametrize(
    ("context", "shown"),
    [
        ({"app": "Wiki", "ip": "192.0.2.7", "started_at": "2026-11-22T12:00:00Z"}, Context("Wiki", "192.0.2.7", NOW)),
        ({"app": 1, "ip": ["192.0.2.7"], "started_at": "yesterday"}, Context()),
        ({"app": "Wiki", "started_at": None}, Context("Wiki")),
        ("Webmail", None),
        (None, None),
    ],
)
def test_malformed_context_does_not_remove_the_entry(context: Any, shown: Context | None) -> None:
    (found,) = read({"user": "a", "authorized_key": KEY, "challenge": "c1", "context": context}).all()
    assert found.context == shown


@pytest.mark.parametrize("item", LEFT_OUT, ids=lambda item: ascii(item)[:60])
def test_malformed_entry_is_left_out_and_counted(item: Any) -> None:
    found = read(GOOD, item, GOOD, item)
    assert [entry.user for entry in found.all()] == ["good", "good"]
    assert sum(found.left_out.values()) == 2
    (reason,) = found.left_out
    assert reason.isascii()
    assert reason.isprintable()
    assert len(reason) < 100
    assert "x" * 50 not in reason


@pytest.mark.parametrize(
    "user", ["a;id", "$(id)", '"', "'", "-rf", "--user=x", "José", "李", "a b", "%s", "../x", "a\\"]
)
def test_user_name_may_hold_any_printable_character(user: str) -> None:
    assert only({"user": user, "authorized_key": KEY}).user == user


@pytest.mark.parametrize("comment", ['"; id #', " two words", "\t", ' \\"', " é李", " \ud800"])
def test_key_keeps_only_its_type_and_data(comment: str) -> None:
    assert str(only({"user": "a", "authorized_key": f"{KEY} {comment}"}).key) == KEY


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"{}",
        b'{"entries": []}',
        b'"[]"',
        b"1",
        b"NaN",
        b"[",
        b"[}",
        b"[]x",
        b"[] []",
        b"\xef\xbb\xbf[",
        b"\xff\xfe[\x00]\x00x",
        b'["\xff"]',
        b"<!doctype html><title>Sign in</title>",
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'[{"user":' * 50_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b"[" + b"9" * 100_000 + b"]",
        b"\0" * 1000,
        b" " * 100_000,
    ],
    ids=lambda body: repr(body[:24]),
)
def test_answer_that_is_not_a_list_is_an_error(body: bytes) -> None:
    with pytest.raises(IdentityServiceError) as error:
        listing.parse(body, DEFAULT_TYPES)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 200


def test_list_with_too_many_entries_is_refused() -> None:
    assert list(listing.parse(b"[" + b"0," * 49_999 + b"0]", DEFAULT_TYPES).all()) == []
    with pytest.raises(IdentityServiceError, match="50000"):
        listing.parse(b"[" + b"0," * 50_000 + b"0]", DEFAULT_TYPES)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{}", "the list is not a JSON array"),
        (b"[" + b"0," * 50_000 + b"0]", "the list has more than 50000 entries"),
        (b"[}", "the list is not JSON: expected value at line 1 column 2"),
    ],
    ids=["an object", "too long", "no JSON"],
)
def test_error_says_what_the_answer_is(body: bytes, message: str) -> None:
    with pytest.raises(IdentityServiceError) as raised:
        listing.parse(body, DEFAULT_TYPES)
    assert str(raised.value) == message


def _refusal(key: str) -> str:
    with pytest.raises(InvalidKeyError) as error:
        public_key.parse(key)
    return str(error.value)


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (7, "entry: model_type"),
        ({"user": "a"}, "authorized_key: missing"),
        ({"user": "a", "authorized_key": "x"}, f"authorized_key: {_refusal('x')}"),
        ({"user": "a\n", "authorized_key": KEY}, "user: control characters"),
        ({"user": "a", "authorized_key": KEY, "binding": "x"}, "binding: unknown to this version"),
        ({"user": "a", "authorized_key": KEY, "verify_required": True}, "verify_required: the key is no security key"),
        ({"user": "a", "authorized_key": KEY, "expires_at": "9999-12-31T23:59:59-14:00"}, "expires_at: value_error"),
    ],
)
def test_reason_to_leave_an_entry_out_names_its_member(item: Any, reason: str) -> None:
    assert read(item, GOOD, item).left_out == {reason: 2}


@pytest.mark.parametrize("binding", ["code_in", "code_back", "none"])
@pytest.mark.parametrize("challenge", [{}, {"challenge": "c1"}, {"challenge": "c" * 256}], ids=["no", "short", "long"])
def test_known_bindings_are_read(binding: str, challenge: dict[str, str]) -> None:
    """Names have up to 256 characters."""
    found = only({"user": "u" * 256, "authorized_key": KEY, "binding": binding} | challenge)
    assert (found.binding, found.challenge) == (binding, challenge.get("challenge"))
    assert found.needs_code is (binding == "code_in")
    assert found.is_anonymous is (binding == "code_in" and not challenge)
    assert found.knows_challenges is (bool(challenge) or binding == "code_in")


HOUR = timedelta(hours=1)


@pytest.mark.parametrize("by", [HOUR, -HOUR, timedelta()])
@pytest.mark.parametrize(
    ("ends", "context"), [(NOW, Context("Wiki", "192.0.2.7", NOW)), (NOW, Context("Wiki")), (None, None)]
)
def test_times_are_shifted_and_nothing_else(by: timedelta, ends: datetime | None, context: Context | None) -> None:
    key = public_key.parse(KEY)
    one = Entry("alice", key, challenge="c1", expires_at=ends, context=context)
    whole = listing.Listing({FINGERPRINT: (one,)}, {"reason": 3}, {"": NOW, "SHA256:x": NOW}, takes=7)
    later = context and Context(context.app, context.ip, context.started_at and NOW + by)
    expected = Entry("alice", key, challenge="c1", expires_at=ends and NOW + by, context=later)
    offers = {"": NOW + by, "SHA256:x": NOW + by}
    assert whole.shifted(by) == listing.Listing({FINGERPRINT: (expected,)}, {"reason": 3}, offers, by, 7)


@pytest.mark.parametrize(
    ("keys", "offers", "until"),
    [
        ([], {}, None),
        ([], {"": NOW}, NOW),
        ([], {"other": NOW}, None),
        ([], {FINGERPRINT: NOW}, NOW),
        ([], {FINGERPRINT: NOW, "": NOW + HOUR}, NOW),
        (["other"], {"": NOW}, None),
        (["other"], {FINGERPRINT: NOW}, NOW),
        ([FINGERPRINT], {"": NOW}, None),
        ([FINGERPRINT], {FINGERPRINT: NOW}, None),
    ],
)
def test_offer_is_for_an_unregistered_key_that_the_question_or_the_offer_names(
    keys: list[str], offers: dict[str, datetime], until: datetime | None
) -> None:
    one = Entry("alice", public_key.parse(KEY))
    whole = listing.Listing(dict.fromkeys(keys, (one,)), {"reason": 3}, offers, HOUR, 7)
    assert whole.enrolment_until(FINGERPRINT) == until
    own = {FINGERPRINT: (one,)} if FINGERPRINT in keys else {}
    expected = listing.Listing(own, {}, {FINGERPRINT: until} if until else {}, HOUR, 7)
    assert whole.only(FINGERPRINT) == expected


def test_half_a_surrogate_pair_in_a_comment_removes_no_other_key() -> None:
    body = b'[{"user": "eve", "authorized_key": "x \\ud800"}, ' + json.dumps(GOOD).encode() + b"]"
    found = listing.parse(body, DEFAULT_TYPES)
    assert [entry.user for entry in found.all()] == ["good"]
    assert sum(found.left_out.values()) == 1


def test_key_of_a_type_that_is_not_allowed_is_left_out() -> None:
    body = json.dumps([GOOD, {"user": "b", "authorized_key": SK_KEY}]).encode()
    assert [entry.user for entry in listing.parse(body, ("ssh-ed25519",)).all()] == ["good"]


@pytest.mark.parametrize(
    ("item", "pending"), [({}, True), ({"challenge": "c"}, True), ({"challenge": None}, False)], ids=str
)
def test_missing_challenge_is_pending_and_null_is_not(item: dict[str, Any], pending: bool) -> None:
    assert only({"user": "a", "authorized_key": KEY, **item}).pending is pending


def test_times_are_read_as_utc() -> None:
    entry = only({"user": "a", "authorized_key": KEY, "challenge": "c", "expires_at": "2026-11-22T13:00:00+02:00"})
    assert entry.expires_at == datetime(2026, 11, 22, 11, tzinfo=UTC)
    assert entry.expires_at.utcoffset() == timedelta(0)


anything: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
nearly_entries = st.fixed_dictionaries(
    {"user": st.text(max_size=8) | anything, "authorized_key": st.sampled_from([KEY, SK_KEY, "x"]) | anything},
    optional={
        "challenge": anything,
        "expires_at": st.text(max_size=30) | anything | st.datetimes().map(lambda time: time.isoformat() + "+14:00"),
        "binding": st.sampled_from(["code_in", "none"]) | anything,
        "verify_required": st.booleans() | anything,
        "context": anything,
    },
)


@pytest.mark.slow
@given(st.lists(anything | nearly_entries, max_size=6))
def test_random_entries_do_not_remove_the_good_entry(items: list[Any]) -> None:
    found = read(*items, GOOD)
    entries = list(found.all())
    assert "good" in [entry.user for entry in entries]
    assert len(entries) + sum(found.left_out.values()) == len(items) + 1
    for fingerprint in found.entries:
        grant = decide(found.of(fingerprint), NOW)
        assert grant is None or isinstance(grant, str | Grant)


@given(st.binary(max_size=60) | anything.map(lambda value: json.dumps(value).encode()))
def test_random_body_is_read_or_an_error(body: bytes) -> None:
    try:
        listing.parse(body, DEFAULT_TYPES)
    except IdentityServiceError:
        return


# --- decide

ALICE = Entry(
    "alice",
    public_key.parse(KEY),
    challenge="c1",
    expires_at=NOW + timedelta(minutes=5),
    binding="code_in",
    context=Context("Webmail"),
)


def entry(**more: Any) -> Entry:
    return Entry(**({name: getattr(ALICE, name) for name in ALICE.__dataclass_fields__} | more))


def registered(user: str = "alice") -> Entry:
    return entry(user=user, pending=False, challenge=None, expires_at=None, binding="none")


def base(user: str = "alice") -> Entry:
    return Entry(user, public_key.parse(KEY))


ANY_LOGIN = Entry("alice", public_key.parse(KEY), binding="code_in")
"""Some login that names no user waits for its code."""
LATER = NOW + timedelta(minutes=6)
PAST = NOW - timedelta(seconds=1)


@pytest.mark.parametrize(
    ("entries", "decision"),
    [
        ((), None),
        ((ALICE, entry(user="bob", challenge="c2")), AMBIGUOUS),
        ((ALICE, entry(user="bob")), AMBIGUOUS),
        ((base(), base("bob")), AMBIGUOUS),
        ((base(), registered(), base("bob")), AMBIGUOUS),
        # the other user's challenge is over by this host's clock only: no user is better than the wrong user
        ((ALICE, entry(user="bob", expires_at=PAST)), AMBIGUOUS),
        ((entry(expires_at=NOW),), EXPIRED),
        ((entry(expires_at=PAST),), EXPIRED),
        ((entry(expires_at=PAST), registered()), EXPIRED),
        ((entry(binding="none"), entry(challenge="c2", binding="none")), CODELESS),
        ((ALICE, entry(challenge="c2", binding="none")), CODELESS),
        ((ALICE, base()), CODELESS),
    ],
)
def test_key_opens_nothing(entries: tuple[Entry, ...], decision: str | None) -> None:
    assert decision in (None, "ambiguous", "expired", "codeless")  # the words of the log
    assert decide(entries, NOW) == decision
    assert decide(tuple(reversed(entries)), NOW) == decision


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ((ALICE,), {"pending": True, "challenge": "c1", "needs_code": True, "knows_challenges": True}),
        ((base(),), {"pending": True, "challenge": None, "needs_code": False, "knows_challenges": False}),
        ((registered(),), {"pending": False, "challenge": None, "needs_code": False, "knows_challenges": True}),
        ((registered(), ALICE), {"pending": True, "challenge": "c1", "user": "alice"}),
        ((registered("bob"), ALICE), {"pending": True, "challenge": "c1", "user": "alice"}),
        ((registered("bob"), base()), {"pending": True, "user": "alice"}),
        ((ALICE, ALICE), {"challenge": "c1", "expires_at": ALICE.expires_at}),
        ((base(), base()), {"challenge": None, "pending": True, "knows_challenges": False}),
        (
            (ALICE, entry(challenge="c2", expires_at=LATER)),
            {"challenge": None, "needs_code": True, "expires_at": LATER, "knows_challenges": True},
        ),
        ((ALICE, entry(challenge="c2", expires_at=PAST)), {"challenge": "c1", "expires_at": ALICE.expires_at}),
        ((ALICE, entry(challenge="c2", expires_at=PAST, binding="none")), {"challenge": "c1", "needs_code": True}),
        ((entry(expires_at=None),), {"challenge": "c1", "expires_at": None}),
        ((ALICE, entry(challenge="c2", verify_required=True)), {"verify_required": False, "challenge": None}),
        ((entry(verify_required=True), ANY_LOGIN), {"verify_required": True, "challenge": None}),
        ((ALICE, ANY_LOGIN), {"challenge": None, "needs_code": True, "context": ALICE.context}),
        ((entry(binding="none"), ANY_LOGIN), {"challenge": None, "needs_code": False, "pending": True}),
        ((ALICE,), {"verify_required": False, "context": ALICE.context}),
        ((ALICE, entry(challenge="c2", context=None)), {"context": None}),
        ((ALICE, entry(challenge="c2", expires_at=PAST, context=None)), {"context": ALICE.context}),
    ],
)
def test_key_may_present_itself_for_its_user(entries: tuple[Entry, ...], expected: dict[str, Any]) -> None:
    """Findings S3 and S5: what a stranger can begin, `ANY_LOGIN`, changes nothing for the logins of the user."""
    for order in (entries, tuple(reversed(entries))):
        grant = decide(order, NOW)
        assert isinstance(grant, Grant)
        assert {name: getattr(grant, name) for name in expected} == expected
        assert grant.key == ALICE.key


several = st.lists(
    st.builds(
        entry,
        user=st.sampled_from(["alice", "bob"]),
        pending=st.booleans(),
        challenge=st.sampled_from([None, "c1", "c2"]),
        expires_at=st.sampled_from([None, PAST, LATER]),
        binding=st.sampled_from(["code_in", "code_back", "none"]),
        verify_required=st.booleans(),
    ),
    max_size=4,
)


@given(several)
def test_grant_is_always_for_the_only_user_with_a_pending_challenge(entries: list[Entry]) -> None:
    grant = decide(tuple(entries), NOW)
    if not isinstance(grant, Grant) or not grant.pending:
        return
    waiting = [each for each in entries if each.pending]
    current = [each for each in waiting if each.expires_at is None or each.expires_at > NOW]
    assert {each.user for each in waiting} == {grant.user}
    assert grant.expires_at is None or grant.expires_at > NOW
    assert grant.needs_code is all(each.needs_code for each in current)
    named = [each for each in current if not each.is_anonymous]
    assert grant.verify_required is (bool(named) and all(each.verify_required for each in named))
    if grant.challenge is None and len({each.challenge for each in current}) > 1:
        assert all(each.binding != "none" for each in current)  # otherwise no code would choose one of them


def test_full_list_is_read_in_time_for_one_login(record_property: Callable[[str, object], None]) -> None:
    items = [{"user": f"user{i}", "authorized_key": public_keys.ed25519(str(i))} for i in range(10_000)]
    body = json.dumps(items).encode()
    began = time.monotonic()
    assert len(listing.parse(body, DEFAULT_TYPES).entries) == 10_000
    record_property("seconds", time.monotonic() - began)
    assert time.monotonic() - began < 8


ENROL = json.loads((Path(__file__).parents[2] / "contract" / "enrol.json").read_text())


@pytest.mark.parametrize("example", ENROL["offers"], ids=lambda example: example["name"])
def test_enrolment_offers_of_the_contract_are_read(example: dict[str, Any]) -> None:
    answer = read(*example["answer"])
    expected = example["read"] and datetime.fromisoformat(example["read"])
    assert (
        answer.enrolment_until("SHA256:5y4HlHJxLUU/BooHAd4eeG7pGjnOo//aJjVxNscc24w"),
        answer.entries,
        answer.left_out,
    ) == (expected, {}, {})


def test_enrolment_offer_is_not_an_entry_and_removes_none() -> None:
    answer = read(GOOD, {"enrolment": "open", "expires_at": "2026-11-22T12:15:00Z"} | GOOD)
    assert len(list(answer.all())) == 1
