"""Tests enrolments in the database, attacks first: guessing, presenting and confirming."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from fakes import public_keys
from service.service import Clock, wrong
from sqlalchemy import select, update

from sshaft.addresses import source_of
from sshaft.public_key import PublicKey, parse
from sshaft_identity.challenges.challenges import Wish
from sshaft_identity.challenges.codes import DIGITS, Codes
from sshaft_identity.challenges.limits import Limits
from sshaft_identity.common.errors import RegistryError
from sshaft_identity.database.tables import audit_events, challenges
from sshaft_identity.enrolment.enrolment import OpenedEnrolment, Outcome, Presentation, State, Verdict
from sshaft_identity.enrolment.enrolments import MAX_LIFETIME, RETENTION, Enrolments
from sshaft_identity.people.key_policy import KeyPolicy, KeyRefusal
from sshaft_identity.people.keys import NewKey
from sshaft_identity.people.sessions import Method, Proof, Session, Sessions, SessionTimes
from sshaft_identity.store import Store

OPEN = KeyPolicy()


def key(seed: str) -> PublicKey:
    return parse(public_keys.ed25519(seed))


class Place:
    """Short forms of the calls that the tests use most."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store = store
        self.clock = clock
        self.invitations: Enrolments = store.enrolments
        for name in ("alice", "bob"):
            store.users.add(name, clock())

    def open(self, user: str = "alice", **more: Any) -> OpenedEnrolment:
        return self.invitations.open(user, self.clock(), **more)

    def session(self) -> Session:
        sessions = Sessions(self.store.database, SessionTimes())
        session = sessions.start("alice", Proof(Method.SSH, self.clock()), self.clock())
        assert session
        return session

    def present(self, code: str, seed: str = "new", ip: str | None = "192.0.2.1", policy: KeyPolicy = OPEN) -> Outcome:
        return self.invitations.present(code, Presentation(key(seed), ip), self.clock(), policy)

    def confirm(self, invited: OpenedEnrolment, seed: str = "new", policy: KeyPolicy = OPEN, **more: Any) -> Outcome:
        return self.invitations.confirm(invited.page_token, key(seed).fingerprint, self.clock(), policy, **more)

    def state(self, invited: OpenedEnrolment) -> State:
        found = self.invitations.of_page(invited.page_token)
        assert found
        return found.state_at(self.clock())

    def owners(self) -> dict[str, str]:
        return {each.key.fingerprint: each.user for each in self.store.keys.all(None)}

    def audited(self, event: str) -> list[dict[str, Any]]:
        query = select(audit_events).where(audit_events.c.event == event).order_by(audit_events.c.id)
        with self.store.database.read() as connection:
            return [json.loads(row.facts) | {"user": row.user_name} for row in connection.execute(query)]


@pytest.fixture
def place(store: Store, clock: Clock) -> Place:
    return Place(store, clock)


# --- guessing


def test_the_fourth_code_from_one_address_is_not_checked(place: Place) -> None:
    invited = place.open()
    for number in range(3):
        assert place.present(wrong(invited.code, number + 1), f"key-{number}").verdict is Verdict.INVALID_CODE
    outcome = place.present(invited.code, "key-9")
    assert outcome.verdict is Verdict.TOO_MANY
    assert outcome.retry_at == place.clock() + timedelta(minutes=15)
    assert place.state(invited) is State.OPEN


def test_the_fourth_code_with_one_key_is_not_checked(place: Place) -> None:
    invited = place.open()
    for number in range(3):
        assert place.present(wrong(invited.code), "one", f"192.0.2.{number}").verdict is Verdict.INVALID_CODE
    assert place.present(invited.code, "one", "198.51.100.1").verdict is Verdict.TOO_MANY


def test_many_keys_from_many_addresses_leave_each_other_one_a_try(place: Place) -> None:
    """Finding S9: strangers who guess from everywhere do not keep the invited people out."""
    invited = place.open()
    for number in range(60):
        code = wrong(invited.code, number + 1)
        assert place.present(code, f"key-{number}", f"192.0.2.{number}").verdict is Verdict.INVALID_CODE
    assert len(place.audited("enrolment.locked")) == 1
    assert place.present(wrong(invited.code), "fresh", "198.51.100.1").verdict is Verdict.INVALID_CODE
    assert place.present(invited.code, "fresh", "198.51.100.1").verdict is Verdict.TOO_MANY
    assert place.present(invited.code, "fresh", None).verdict is Verdict.TOO_MANY
    assert place.present(invited.code, "key-1", "198.51.100.2").verdict is Verdict.TOO_MANY
    assert place.present(invited.code, "invited", "198.51.100.3").verdict is Verdict.PRESENTED


def test_an_unknown_address_is_counted_by_key_and_by_all(place: Place) -> None:
    invited = place.open()
    for _ in range(3):
        place.present(wrong(invited.code), "one", None)
    assert place.present(invited.code, "one", None).verdict is Verdict.TOO_MANY
    assert place.present(invited.code, "two", None).verdict is Verdict.PRESENTED


def test_wrong_codes_end_no_invitation_and_a_new_invitation_resets_no_count(place: Place) -> None:
    invited = place.open("bob")
    for number in range(3):
        place.present(wrong(invited.code), f"key-{number}")
    assert place.state(invited) is State.OPEN
    again = place.open("bob")
    assert place.present(again.code).verdict is Verdict.TOO_MANY
    assert place.present(again.code, ip="198.51.100.1").verdict is Verdict.PRESENTED


def test_after_its_window_a_source_may_try_again(place: Place) -> None:
    for number in range(3):
        place.present(wrong(place.open().code), f"key-{number}")
    place.clock.advance(15 * 60 - 1)
    assert place.present(place.open().code).verdict is Verdict.TOO_MANY
    place.clock.advance(1)
    assert place.present(place.open().code).verdict is Verdict.PRESENTED


def test_a_second_window_begins_with_a_new_count_and_ends_too(place: Place) -> None:
    for _ in range(3):
        for number in range(3):
            assert place.present(wrong(place.open().code), f"key-{number}").verdict is Verdict.INVALID_CODE
        outcome = place.present(place.open().code)
        assert outcome.retry_at == place.clock() + timedelta(minutes=15)
        place.clock.advance(15 * 60)


def test_parallel_wrong_codes_are_checked_only_up_to_the_limit(place: Place) -> None:
    invited = place.open()
    with ThreadPoolExecutor(12) as workers:
        tries = [workers.submit(place.present, wrong(invited.code, n + 1), f"key-{n}") for n in range(24)]
    verdicts = [each.result().verdict for each in tries]
    assert verdicts.count(Verdict.INVALID_CODE) == 3
    assert verdicts.count(Verdict.TOO_MANY) == 21


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("UNKNOWN", "UNKNOWN"),
    ],
)
def test_an_ipv6_network_counts_as_one_source(address: str, counted: str) -> None:
    assert source_of(address) == counted


def test_a_wrong_code_reveals_nothing_about_keys(place: Place) -> None:
    """A wrong code gets the same answer with a registered key as with any other key."""
    place.store.keys.add("bob", [(key("bobs"), "")], place.clock())
    invited = place.open()
    assert place.present(wrong(invited.code), "bobs").verdict is Verdict.INVALID_CODE


def test_no_code_is_right_or_counted_while_no_enrolment_is_open(place: Place) -> None:
    for _ in range(5):
        assert place.present("00000000").verdict is Verdict.NONE
    assert place.present(place.open().code).verdict is Verdict.PRESENTED


def test_limit_of_all_guessers_alone_is_an_event(place: Place) -> None:
    """The count of one guesser may outlast the count of all, because it began later."""
    enrolments = Enrolments(place.store.database, place.store.codes, Limits(enrol_all=2, enrol_source=9, enrol_key=9))

    def guess(invited: OpenedEnrolment, seed: str, ip: str) -> Verdict:
        what = Presentation(key(seed), ip)
        return enrolments.present(wrong(invited.code), what, place.clock(), OPEN).verdict

    assert guess(place.open(), "first", "192.0.2.1") is Verdict.INVALID_CODE
    assert place.audited("enrolment.locked") == []
    place.clock.advance(14 * 60)
    assert guess(place.open(), "second", "192.0.2.2") is Verdict.INVALID_CODE
    assert len(place.audited("enrolment.locked")) == 1
    place.clock.advance(60)
    assert guess(place.open(), "second", "192.0.2.2") is Verdict.INVALID_CODE
    assert len(place.audited("enrolment.locked")) == 1


def test_code_of_an_enrolment_that_is_alive_is_not_given_again(place: Place) -> None:
    class Drawn(Codes):
        def of_page(self, page_token: str, digits: int = DIGITS) -> str:
            del page_token, digits
            return drawn.pop(0)

    drawn: list[str] = []
    codes = Drawn(place.store.codes.key)
    enrolments = Enrolments(place.store.database, codes, Limits())

    def open_with(user: str, *more: str) -> str:
        drawn[:] = more
        return enrolments.open(user, place.clock()).code

    assert open_with("alice", "11111111") == "11111111"
    assert open_with("bob", "11111111", "22222222") == "22222222"
    assert enrolments.present("11111111", Presentation(key("new")), place.clock(), OPEN).verdict is Verdict.PRESENTED
    assert open_with("bob", "11111111", "33333333") == "33333333", "the key that was shown is not confirmed yet"
    place.invitations.cancel("alice", place.clock())
    assert open_with("bob", "11111111") == "11111111"


# --- one key, one person


def test_another_users_key_is_refused_and_the_third_one_ends_the_invitation(place: Place) -> None:
    place.store.keys.add("bob", [(key("bobs"), "")], place.clock())
    invited = place.open()
    for _ in range(3):
        assert place.present(invited.code, "bobs").verdict is Verdict.TAKEN
    assert place.state(invited) is State.CANCELLED
    assert place.present(invited.code).verdict is Verdict.NONE
    assert place.owners() == {key("bobs").fingerprint: "bob"}


def test_only_the_owner_renews_an_expired_key(place: Place) -> None:
    ends = place.clock() + timedelta(days=1)
    place.store.keys.add("bob", [NewKey(key("bobs"), expires_at=ends)], place.clock())
    place.open()
    assert len(place.store.challenges.listed(place.clock(), [key("bobs").fingerprint])) == 1
    place.clock.advance(86_400)
    assert place.store.challenges.listed(place.clock(), [key("bobs").fingerprint]) == []
    assert place.present(place.open().code, "bobs").verdict is Verdict.TAKEN
    invited = place.open("bob")
    assert place.present(invited.code, "bobs").verdict is Verdict.PRESENTED
    assert place.confirm(invited, "bobs").verdict is Verdict.CONFIRMED
    (renewed,) = place.store.keys.all("bob")
    assert (renewed.expires_at, renewed.source) == (None, "ssh")


def test_a_key_presented_by_two_users_belongs_to_the_first_who_confirms(place: Place) -> None:
    mine, theirs = place.open("alice"), place.open("bob")
    assert place.present(mine.code).verdict is Verdict.PRESENTED
    assert place.present(theirs.code).verdict is Verdict.PRESENTED
    assert place.confirm(theirs).verdict is Verdict.CONFIRMED
    outcome = place.confirm(mine)
    assert (outcome.verdict, outcome.refusal) == (Verdict.TAKEN, KeyRefusal.TAKEN)
    assert place.owners() == {key("new").fingerprint: "bob"}
    assert place.state(mine) is State.PRESENTED


def test_one_of_two_parallel_confirmations_gets_the_key(place: Place) -> None:
    both = [place.open("alice"), place.open("bob")]
    for each in both:
        place.present(each.code)
    with ThreadPoolExecutor(2) as workers:
        verdicts = [each.result().verdict for each in [workers.submit(place.confirm, invited) for invited in both]]
    assert sorted(verdicts) == [Verdict.CONFIRMED, Verdict.TAKEN]
    assert len(place.owners()) == 1


def test_one_of_many_keys_presented_in_parallel_is_shown(place: Place) -> None:
    invited = place.open()
    with ThreadPoolExecutor(8) as workers:
        tries = [workers.submit(place.present, invited.code, f"key-{n}", f"192.0.2.{n}") for n in range(8)]
    verdicts = [each.result().verdict for each in tries]
    assert verdicts.count(Verdict.PRESENTED) == 1
    assert verdicts.count(Verdict.ANOTHER) == 7


# --- the page decides


def test_only_the_shown_key_is_confirmed_once(place: Place) -> None:
    invited = place.open()
    place.present(invited.code)
    assert place.confirm(invited, "another").verdict is Verdict.NONE
    assert place.confirm(invited).verdict is Verdict.CONFIRMED
    assert place.confirm(invited).verdict is Verdict.NONE
    (mine,) = place.store.keys.all("alice")
    assert (mine.key, mine.source) == (key("new"), "ssh")


@pytest.mark.parametrize("source", ["ssh", "signature"])
def test_key_keeps_its_name_and_the_way_in_which_it_came(place: Place, source: str) -> None:
    what = Presentation(key("new"), "192.0.2.1", source, "laptop")
    refused, invited = place.open(), place.open("bob")
    for each in (refused, invited):
        shown = place.invitations.of_page(each.page_token)
        assert shown
        assert (shown.key, shown.name) == (None, "")
        place.invitations.present_signed(each.page_token, what, place.clock(), OPEN)
    place.invitations.refuse(refused.page_token, place.clock())
    assert place.audited("enrolment.refused")[0]["source"] == source
    place.confirm(invited)
    (mine,) = place.store.keys.all("bob")
    assert (mine.key, mine.name, mine.source) == (key("new"), "laptop", source)


def test_a_refused_key_is_never_confirmed(place: Place) -> None:
    invited = place.open()
    assert place.invitations.refuse(invited.page_token, place.clock()) is False
    place.present(invited.code)
    assert place.invitations.refuse(invited.page_token, place.clock())
    assert place.confirm(invited).verdict is Verdict.NONE
    assert place.invitations.refuse(invited.page_token, place.clock()) is False
    assert place.owners() == {}


@pytest.mark.parametrize("presented", [False, True])
def test_an_ended_invitation_takes_and_confirms_no_key(place: Place, presented: bool) -> None:
    invited = place.open()
    place.clock.advance(MAX_LIFETIME.total_seconds() - 1)
    if presented:
        assert place.present(invited.code).verdict is Verdict.PRESENTED
    place.clock.advance(1)
    assert place.state(invited) is State.EXPIRED
    assert place.present(invited.code).verdict is Verdict.NONE
    assert place.confirm(invited).verdict is Verdict.NONE


def test_no_invitation_lives_longer_than_fifteen_minutes(place: Place) -> None:
    invited = place.open(lifetime=timedelta(days=1))
    assert invited.enrolment.expires_at == place.clock() + timedelta(minutes=15)


def test_a_new_invitation_replaces_the_users_last_one(place: Place) -> None:
    first, others = place.open(), place.open("bob")
    second = place.open()
    assert place.state(first) is State.CANCELLED
    assert place.present(first.code).verdict is Verdict.INVALID_CODE
    assert place.present(second.code).verdict is Verdict.PRESENTED
    assert place.state(others) is State.OPEN


def test_a_cancelled_invitation_takes_no_key_and_confirms_none(place: Place) -> None:
    invited = place.open()
    place.present(invited.code)
    assert place.invitations.cancel("alice", place.clock())
    assert not place.invitations.cancel("alice", place.clock())
    assert place.confirm(invited).verdict is Verdict.NONE
    assert place.state(invited) is State.CANCELLED


def test_an_invitation_that_is_over_cannot_be_cancelled(place: Place) -> None:
    place.open()
    place.clock.advance(15 * 60)
    assert not place.invitations.cancel("alice", place.clock())


def test_an_unknown_user_cannot_be_invited(place: Place) -> None:
    with pytest.raises(RegistryError) as unknown:
        place.open("mallory")
    assert str(unknown.value) == "there is no user mallory: `sshaft identity user add mallory` makes one"
    assert place.audited("enrolment.opened") == []


def test_enrolment_is_opened_only_in_a_session_that_goes_on(place: Place) -> None:
    session = place.session()
    assert place.open(session=session).enrolment.opened_in == Method.SSH
    place.store.revocation.end_session(session, place.clock())
    with pytest.raises(RegistryError, match=r"^the session has ended$"):
        place.open(session=session)


def test_a_removed_users_invitation_is_removed(place: Place) -> None:
    invited = place.open()
    place.store.revocation.remove_user("alice", place.clock())
    assert place.invitations.of_page(invited.page_token) is None
    assert place.present(invited.code).verdict is Verdict.NONE


# --- the approval by an existing key


def test_key_of_an_enrolment_in_a_session_by_ssh_needs_an_approval(place: Place) -> None:
    invited = place.open(session=place.session())
    none = place.invitations.await_approval(invited.enrolment, "x", place.clock())
    assert (none.verdict, none.enrolment) == (Verdict.NONE, invited.enrolment)
    place.present(invited.code)
    outcome = place.confirm(invited)
    assert outcome.verdict is Verdict.APPROVAL_REQUIRED
    assert outcome.enrolment == place.invitations.of_page(invited.page_token)
    assert place.owners() == {}


@pytest.mark.parametrize(
    ("passed", "verdict"),
    [
        ({"state": "accepted", "user_name": "alice", "accepted_at": ..., "fingerprint": "SHA256:mine"}, "confirmed"),
        ({"state": "pending", "user_name": "alice"}, "no_enrolment"),
        ({"state": "consumed", "user_name": "alice", "accepted_at": ...}, "no_enrolment"),
        ({"state": "accepted", "user_name": "bob", "accepted_at": ...}, "no_enrolment"),
        ({"state": "accepted", "user_name": "alice"}, "no_enrolment"),
    ],
)
def test_only_a_login_that_the_same_person_has_passed_approves_a_key(
    place: Place, passed: dict[str, Any], verdict: str
) -> None:
    invited = place.open()
    place.present(invited.code)
    login = place.store.challenges.open(Wish("alice", MAX_LIFETIME), place.clock()).challenge.id
    values = {name: place.clock() if value is ... else value for name, value in passed.items()}
    with place.store.database.write() as connection:
        connection.execute(update(challenges).where(challenges.c.id == login).values(values))
    waiting = place.invitations.of_page(invited.page_token)
    assert waiting
    tied = place.invitations.await_approval(waiting, login, place.clock(), "a device")
    assert tied.verdict is Verdict.APPROVAL_REQUIRED
    another = place.invitations.approve(invited.page_token, "another", place.clock(), OPEN)
    assert another.verdict is Verdict.NONE
    assert place.invitations.approve(invited.page_token, login, place.clock(), OPEN).verdict == verdict
    keys = [(each.user, each.attested) for each in place.store.keys.all()]
    assert keys == ([("alice", "a device")] if verdict == "confirmed" else [])


# --- the policy


def test_the_policy_is_checked_at_presenting_and_at_confirming(place: Place) -> None:
    invited = place.open()
    strict = KeyPolicy(security_keys_only=True)
    outcome = place.present(invited.code, policy=strict)
    assert (outcome.verdict, outcome.refusal) == (Verdict.REFUSED, KeyRefusal.SECURITY_KEY)
    assert place.present(invited.code).verdict is Verdict.PRESENTED
    assert place.confirm(invited, policy=strict).refusal is KeyRefusal.SECURITY_KEY
    assert place.state(invited) is State.PRESENTED
    assert place.owners() == {}


def test_expired_keys_do_not_count_towards_the_limit_of_keys(place: Place) -> None:
    one = KeyPolicy(most_per_user=1)
    ends = place.clock() + timedelta(days=1)
    place.store.keys.add("alice", [NewKey(key("old"), expires_at=ends)], place.clock())
    assert place.present(place.open().code, policy=one).refusal is KeyRefusal.TOO_MANY
    place.clock.advance(86_400)
    assert place.present(place.open().code, policy=one).verdict is Verdict.PRESENTED


def test_a_required_attestation_is_checked_at_confirming(place: Place) -> None:
    policy = KeyPolicy(require_attestation=True, attestation_roots="roots.pem")
    hardware = parse(public_keys.sk_ed25519("hard"))
    invited = place.open()
    what = Presentation(hardware, "192.0.2.1")
    assert place.invitations.present(invited.code, what, place.clock(), policy).verdict is Verdict.PRESENTED
    own = invited.page_token, hardware.fingerprint, place.clock(), policy
    assert place.invitations.confirm(*own).refusal is KeyRefusal.ATTESTATION
    assert place.invitations.confirm(*own, "a device").verdict is Verdict.CONFIRMED
    assert place.store.keys.all("alice")[0].attested == "a device"


def test_a_key_expires_after_the_lifetime_of_the_policy(place: Place) -> None:
    invited = place.open()
    place.present(invited.code)
    place.confirm(invited, policy=KeyPolicy(lifetime_days=30))
    assert place.store.keys.all("alice")[0].expires_at == place.clock() + timedelta(days=30)


# --- what the list is told, and what is written down


def test_open_until_is_the_latest_end_of_open_enrolments(place: Place) -> None:
    until = place.invitations.open_until
    assert until(place.clock()) is None
    place.open("alice", lifetime=timedelta(seconds=60))
    last = place.open("bob")
    assert until(place.clock()) == last.enrolment.expires_at
    place.present(last.code)
    assert until(place.clock()) == place.clock() + timedelta(seconds=60)
    place.clock.advance(60)
    assert until(place.clock()) is None


def test_a_key_presented_again_gets_the_same_answer(place: Place) -> None:
    invited = place.open()
    assert [place.present(invited.code).verdict for _ in range(3)] == [Verdict.PRESENTED] * 3
    assert len(place.audited("enrolment.presented")) == 1


def test_every_step_is_in_the_audit_log_without_a_code(place: Place) -> None:
    invited = place.open(invited_by="helpdesk")
    place.present(wrong(invited.code))
    place.present(invited.code)
    place.confirm(invited)
    place.store.revocation.remove_key(key("new").fingerprint, place.clock())
    place.open()
    assert [each["invited_by"] for each in place.audited("enrolment.opened")] == ["helpdesk", "operator"]
    presented = place.audited("enrolment.presented")[0]
    assert presented == {
        "user": "alice",
        "enrolment": invited.enrolment.id,
        "fingerprint": key("new").fingerprint,
        "key_type": "ssh-ed25519",
        "source": "ssh",
        "client_ip": "192.0.2.1",
    }
    assert place.audited("key.enrolled")[0]["user"] == "alice"
    assert place.audited("key.enrolled")[0]["enrolment"] == invited.enrolment.id
    assert place.audited("key.removed")[0]["user"] == "alice"
    with place.store.database.read() as connection:
        everything = str(connection.execute(select(audit_events)).all())
    assert invited.code not in everything
    assert wrong(invited.code) not in everything
    assert invited.page_token not in everything


def test_the_end_of_an_unused_enrolment_is_in_the_audit_log(place: Place) -> None:
    first, second = place.open(), place.open()
    assert place.invitations.cancel("alice", place.clock())
    assert not place.invitations.cancel("alice", place.clock())
    assert place.audited("enrolment.cancelled") == [
        {"user": "alice", "enrolment": first.enrolment.id, "reason": "superseded"},
        {"user": "alice", "enrolment": second.enrolment.id},
    ]


def test_an_old_enrolment_is_deleted(place: Place) -> None:
    invited = place.open()
    place.clock.now += RETENTION
    place.open("bob")
    assert place.invitations.of_page(invited.page_token) is None


def test_neither_code_nor_page_is_in_the_database(place: Place) -> None:
    invited = place.open()
    with place.store.database.read() as connection:
        dump = str(connection.exec_driver_sql("SELECT * FROM enrolments").all())
    assert invited.code not in dump
    assert invited.page_token not in dump


def test_the_operator_learns_why_the_policy_refuses_a_key(place: Place) -> None:
    with pytest.raises(RegistryError, match="Only security keys"):
        place.store.keys.add("alice", [(key("new"), "")], place.clock(), KeyPolicy(security_keys_only=True))
    assert place.owners() == {}
