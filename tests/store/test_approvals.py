"""Tests approvals on both databases: each change touches its own row, and of several at the same time one succeeds."""

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from fakes.public_keys import ed25519
from service.hosts import HOME
from service.service import Clock, wrong
from sqlalchemy import delete, select, update
from store.neighbours import Neighbours
from store.serving import another_host, command, serving, set_up

from sshaft.public_key import parse
from sshaft_identity.approvals.approval import MAX_TRIES, Approval, Asked, Consent, Person, State, Verdict
from sshaft_identity.approvals.approvals import Opened
from sshaft_identity.approvals.limits import ApprovalLimits
from sshaft_identity.challenges.challenge import AddressCheck
from sshaft_identity.commands.shared import open_store
from sshaft_identity.common.times import utc_now
from sshaft_identity.database.tables import approvals, sessions, users
from sshaft_identity.people.sessions import Method, Proof, Sessions, SessionTimes, hash_of
from sshaft_identity.service.purge import batches
from sshaft_identity.settings import load
from sshaft_identity.store import Store

LIMITS = ApprovalLimits()
CHANGE = "UPDATE approvals"
LATE = timedelta(hours=1)
Act = Callable[["Place"], Any]


@dataclass(frozen=True)
class Place(Neighbours):
    """A store with approvals of alice and bob: one that waits, one that is approved, one that was verified each."""

    approved: dict[str, Approval]

    def row(self, name: str) -> Approval:
        found = self.store.approvals.get(self.approved[name].id)
        assert found
        return found

    def digits(self, name: str) -> str:
        return self.store.approvals.digits_of(self.approved[name])

    def consent(self, user: str) -> Consent:
        session = Sessions(self.store.database, SessionTimes()).start(
            user, Proof(Method.OIDC, self.clock()), self.clock()
        )
        assert session
        return Consent(Person(user, user, self.clock()), self.clock(), HOME, hash_of(session.token))

    def approve(self, name: str, consent: Consent) -> Verdict:
        identifier = self.approved[name].id
        return self.store.approvals.approve(identifier, consent, AddressCheck.OFF, self.clock()).verdict

    def verify(self, name: str, digits: str | None = None) -> Any:
        return self.store.approvals.verify(self.approved[name], digits or self.digits(name), self.clock())

    def refuse(self, name: str, state: State = State.DENIED) -> Approval | None:
        return self.store.approvals.refuse(self.approved[name].id, state, self.clock())

    def finish(self, name: str, *, passed: bool) -> Approval | None:
        return self.store.approvals.finish(self.approved[name].id, self.clock(), passed=passed)

    def states(self) -> dict[str, State]:
        return {name: self.row(name).state for name in self.approved}


@pytest.fixture
def place(store: Store, clock: Clock) -> Place:
    found = Place(store, clock, {})
    for user in ("alice", "bob"):
        store.users.add(user, clock())
        for name in ("waits", "approved", "verified"):
            asked = Asked("build-1", "sshd", user, user, HOME)
            opened = store.approvals.open("build-1", asked, LIMITS, clock())
            assert isinstance(opened, Opened)
            found.approved[f"{user} {name}"] = opened.approval
            if name != "waits":
                assert found.approve(f"{user} {name}", found.consent(user)) is Verdict.APPROVED
            if name == "verified":
                assert found.verify(f"{user} {name}").is_right
    return found


# --- each change touches its own row


@pytest.mark.parametrize(
    ("concerned", "act", "state"),
    [
        ("alice waits", lambda of: of.approve("alice waits", of.consent("alice")), State.APPROVED),
        ("alice waits", lambda of: of.refuse("alice waits"), State.DENIED),
        ("alice approved", lambda of: of.refuse("alice approved", State.REPORTED), State.REPORTED),
        ("alice approved", lambda of: of.verify("alice approved"), State.VERIFIED),
        ("alice waits", lambda of: of.finish("alice waits", passed=False), State.ENDED),
        ("alice approved", lambda of: of.finish("alice approved", passed=False), State.ENDED),
        ("alice verified", lambda of: of.finish("alice verified", passed=True), State.PASSED),
        ("alice verified", lambda of: of.finish("alice verified", passed=False), State.ENDED),
    ],
)
def test_change_touches_its_own_row(place: Place, concerned: str, act: Act, state: State) -> None:
    before = place.states()
    assert act(place)
    assert place.states() == before | {concerned: state}


@pytest.mark.parametrize(
    "act",
    [
        lambda of: of.approve("alice approved", of.consent("alice")) is not Verdict.OVER,
        lambda of: of.approve("alice waits", of.consent("bob")) is not Verdict.OTHER_PERSON,
        lambda of: of.refuse("alice verified"),
        lambda of: of.verify("alice waits").is_right,
        lambda of: of.verify("alice verified").is_right,
        lambda of: of.verify("alice waits", "000000").was_counted,
        lambda of: of.finish("alice waits", passed=True),
        lambda of: of.finish("alice approved", passed=True),
    ],
)
def test_change_that_is_not_allowed_changes_nothing(place: Place, act: Act) -> None:
    before, events = place.states(), len(place.audited())
    assert not act(place)
    assert place.states() == before
    assert [each["event"] for each in place.audited()[events:] if each["event"].startswith("approval")] == []


def test_wrong_digits_of_one_approval_count_for_it_alone(place: Place) -> None:
    judged = place.verify("alice approved", wrong(place.digits("alice approved")))
    assert (judged.is_right, judged.was_counted, judged.approval.tries_left) == (False, True, MAX_TRIES - 1)
    assert [place.row(name).tries for name in ("alice waits", "bob approved")] == [0, 0]


# --- another change was faster


def changed(values: dict[str, Any], concerned: str) -> Callable[[Place], Any]:
    return lambda of: update(approvals).where(approvals.c.id == of.approved[concerned].id).values(values)


@pytest.mark.parametrize(
    "values",
    [
        {"state": State.DENIED},
        {"state": State.REPORTED},
        {"state": State.APPROVED},
        {"state": State.ENDED},
        "over",
        "ahead",
    ],
)
def test_approval_that_changed_meanwhile_is_not_approved(place: Place, values: Any) -> None:
    now = place.clock()
    times = {"over": {"expires_at": now}, "ahead": {"created_at": now + LATE, "expires_at": now + 2 * LATE}}
    consent = place.consent("alice")
    change = changed(times[values] if isinstance(values, str) else values, "alice waits")(place)
    with place.meanwhile(CHANGE, change):
        assert place.approve("alice waits", consent) is Verdict.OVER
    assert place.row("alice waits").consent is None


@pytest.mark.parametrize("gone", ["session", "user"])
def test_person_who_went_away_meanwhile_approves_nothing(place: Place, gone: str) -> None:
    consent = place.consent("alice")
    gone_row = {
        "session": delete(sessions).where(sessions.c.token_hash == consent.session),
        "user": update(users).where(users.c.name == "alice").values(id="another person"),
    }
    with place.meanwhile(CHANGE, gone_row[gone]):
        assert place.approve("alice waits", consent) is Verdict.OVER
    assert place.row("alice waits").state is State.PENDING


@pytest.mark.parametrize(
    "values",
    [
        {"state": State.VERIFIED},
        {"state": State.DENIED},
        {"state": State.DENIED, "tries": MAX_TRIES},
        {"tries": MAX_TRIES},
        {"approver_id": "nobody"},
        "over",
        "ahead",
    ],
)
def test_right_digits_of_an_approval_that_changed_meanwhile_pass_nothing(place: Place, values: Any) -> None:
    now = place.clock()
    times = {"over": {"expires_at": now}, "ahead": {"created_at": now + LATE, "expires_at": now + 2 * LATE}}
    change = changed(times[values] if isinstance(values, str) else values, "alice approved")(place)
    with place.meanwhile(CHANGE, change):
        judged = place.verify("alice approved")
    assert (judged.is_right, judged.was_counted) == (False, False)
    assert [each["event"] for each in place.audited()].count("approval.verified") == 2, "those of the fixture"


@pytest.mark.parametrize("values", [{"state": State.VERIFIED}, {"state": State.DENIED}, {"tries": MAX_TRIES}])
def test_wrong_digits_of_an_approval_that_changed_meanwhile_do_not_count(place: Place, values: dict[str, Any]) -> None:
    with place.meanwhile(CHANGE, changed(values, "alice approved")(place)):
        judged = place.verify("alice approved", wrong(place.digits("alice approved")))
    assert (judged.is_right, judged.was_counted) == (False, False)
    assert place.row("alice approved").tries == values.get("tries", 0)


@pytest.mark.parametrize(("concerned", "passed"), [("alice verified", True), ("alice approved", False)])
def test_login_that_ended_meanwhile_keeps_its_end(place: Place, concerned: str, passed: bool) -> None:
    with place.meanwhile(CHANGE, changed({"state": State.REPORTED}, concerned)(place)):
        assert place.finish(concerned, passed=passed) is None
    assert place.row(concerned).state is State.REPORTED


def test_one_of_approve_and_deny_succeeds(place: Place) -> None:
    """Race: two tabs of the person, or a person and a slow proxy."""
    consents = [place.consent("alice") for _ in range(4)]
    acts = [lambda each=each: place.approve("alice waits", each) is Verdict.APPROVED for each in consents]
    acts += [lambda: place.refuse("alice waits") is not None] * 4
    barrier = threading.Barrier(len(acts))

    def run(act: Callable[[], bool]) -> bool:
        barrier.wait()
        return act()

    with ThreadPoolExecutor(len(acts)) as pool:
        results = list(pool.map(run, acts))
    state = place.row("alice waits").state
    assert sum(results[:4]) <= 1
    # a denial after the approval is allowed, and takes it back
    assert (state, sum(results[4:])) in {(State.DENIED, 1), (State.APPROVED, 0)}
    names = [each["event"] for each in place.audited() if each.get("approval") == place.approved["alice waits"].id]
    assert names in (
        ["approval.opened", "approval.denied"],
        ["approval.opened", "approval.approved", "approval.denied"],
    )


def test_exactly_one_of_many_right_digits_gets_the_identity(place: Place) -> None:
    barrier = threading.Barrier(8)

    def run(_number: int) -> bool:
        barrier.wait()
        return bool(place.verify("alice approved").is_right)

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(run, range(8))) == 1


def test_many_guesses_at_the_same_time_have_few_tries(place: Place) -> None:
    digits = place.digits("alice approved")
    barrier = threading.Barrier(12)

    def run(number: int) -> bool:
        barrier.wait()
        return bool(place.verify("alice approved", wrong(digits, number + 1)).was_counted)

    with ThreadPoolExecutor(12) as pool:
        assert sum(pool.map(run, range(12))) == MAX_TRIES
    assert place.row("alice approved").state is State.DENIED
    assert not place.verify("alice approved").is_right


def test_requests_at_the_same_time_do_not_pass_the_limit(place: Place) -> None:
    """A hostile host asks for everybody at once. Another host is not concerned."""
    most = ApprovalLimits(host=3)
    barrier = threading.Barrier(8)

    def ask(number: int) -> bool:
        barrier.wait()
        asked = Asked("evil", "sshd", "alice", f"user{number}", "203.0.113.0")
        return isinstance(place.store.approvals.open("evil", asked, most, place.clock()), Opened)

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(ask, range(8))) == 3
    asked = Asked("build-2", "sshd", "alice", "user0", "203.0.113.0")
    assert isinstance(place.store.approvals.open("build-2", asked, most, place.clock()), Opened)


# --- what ends with time


def test_purge_expires_open_approvals_and_forgets_old_ones(place: Place) -> None:
    place.clock.advance(300)
    list(batches(place.store.database, place.clock()))
    assert {name: state for name, state in place.states().items() if "verified" not in name} == {
        f"{user} {name}": State.EXPIRED for user in ("alice", "bob") for name in ("waits", "approved")
    }
    assert place.row("alice verified").state is State.VERIFIED
    expired = [each["approval"] for each in place.audited() if each["event"] == "approval.expired"]
    assert len(expired) == len(set(expired)) == 4
    place.clock.advance(7 * 86400)
    list(batches(place.store.database, place.clock()))
    with place.store.database.read() as connection:
        assert connection.execute(select(approvals.c.id)).all() == []


def test_purge_ends_approvals_that_a_clock_ahead_has_opened(place: Place) -> None:
    place.clock.advance(-3600)
    list(batches(place.store.database, place.clock()))
    assert place.row("alice waits").state is State.EXPIRED


def test_removed_key_ends_what_its_session_has_approved(place: Place) -> None:
    with place.store.database.write() as connection:
        row = approvals.c.id == place.approved["alice approved"].id
        connection.execute(update(approvals).where(row).values(session_key="a key"))
    key = parse(ed25519("alice"))
    place.store.keys.add("alice", [(key, "")], place.clock())
    removed = place.store.revocation.remove_key(key.fingerprint, place.clock())
    assert removed
    assert removed.ended.approvals == (place.approved["alice approved"].id,)
    assert place.row("bob approved").state is State.APPROVED


# --- two processes


def test_two_processes_share_one_approval(url: str, tmp_path: Path) -> None:
    """The page waits at one process, the host calls the other one, and the identity is given once in all."""
    secret = set_up(tmp_path / "a", url)
    added = json.loads(command(tmp_path / "a", "client", "add", "build-1", "--scope", "approvals", "--json"))
    other_host = another_host(tmp_path / "a", "b")
    with serving(tmp_path / "a", secret) as a, serving(other_host, secret) as b:
        token = token_of_host(a, added["client_secret"])
        asked = {"host": "h", "service": "sshd", "account": "alice", "user": "alice", "client_ip": HOME}
        opened = a.post("/api/v1/approvals", asked, token).json()
        page = f"{b.url}/approve/{opened['page'].rpartition('/')[2]}/state"
        heard: list[Any] = []
        marks = {"wait": "25", "mark": "pending-0"}
        waiting = threading.Thread(target=lambda: heard.append(requests.get(page, params=marks, timeout=40).json()))
        began = time.monotonic()
        waiting.start()
        time.sleep(0.5)  # until it waits
        with open_store(tmp_path / "a", load(tmp_path / "a")) as store:
            now = utc_now()
            session = Sessions(store.database, SessionTimes()).start("alice", Proof(Method.OIDC, now), now)
            assert session
            consent = Consent(Person("alice", "alice", now), now, HOME, hash_of(session.token))
            answer = store.approvals.approve(opened["id"], consent, AddressCheck.WARN, now)
            assert answer.approval
            digits = store.approvals.digits_of(answer.approval)
        waiting.join()
        assert heard[0]["state"] == "approved"
        assert time.monotonic() - began < 15

        def verify(number: int) -> int:
            return (
                (a, b)[number % 2].post(f"/api/v1/approvals/{opened['id']}/verify", {"code": digits}, token).status_code
            )

        with ThreadPoolExecutor(8) as pool:
            statuses = sorted(pool.map(verify, range(8)))
        assert statuses == [200] + [409] * 7


def token_of_host(service: Any, secret: str) -> str:
    """Returns an access token of the host's client."""
    form = {"grant_type": "client_credentials", "client_id": "build-1", "client_secret": secret}
    return str(requests.post(f"{service.url}/oauth2/token", data=form, timeout=40).json()["access_token"])
