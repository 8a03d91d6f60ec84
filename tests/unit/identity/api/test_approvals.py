"""Tests the calls of a host that asks people to approve SSH logins. Many tests are attacks by another host."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fakes.public_keys import ed25519
from service.hosts import HOME, KEY, Host, approval_of, approve, consent_of
from service.service import SETTINGS, START, Service, wrong

from sshaft_identity.approvals.approval import MAX_TRIES, State, Verdict
from sshaft_identity.approvals.limits import ApprovalLimits
from sshaft_identity.challenges.challenge import AddressCheck
from sshaft_identity.clients.clients import Client, Scope
from sshaft_identity.people.linked_accounts import LinkedAccounts
from sshaft_identity.web.refusals import MAX_ALIKE
from sshaft_oidc.code_flow import Person


@pytest.fixture
def host(service: Service) -> Host:
    service.add_user("alice", ed25519("alice"))
    service.add_user("bob", ed25519("bob"))
    return Host(service)


def test_approved_login_gives_the_identity_once(service: Service, host: Host) -> None:
    opened = host.open(key_fingerprint=KEY)
    assert opened["page"].startswith("https://id.example.org/approve/")
    assert opened["id"] not in opened["page"], "the address has a secret of its own"
    assert (opened["expires_in"], opened["interval"]) == (300, 2)
    assert host.state(opened["id"]) == "pending"
    digits = approve(service, opened["id"])
    assert host.state(opened["id"]) == "approved"
    service.clock.advance(5)
    answer = host.verify(opened["id"], digits)
    assert (answer.status_code, answer.json()) == (
        200,
        {
            "iss": "https://id.example.org",
            "sub": "alice",
            "user": "alice",
            "amr": ["pwd", "otp"],
            "acr": "urn:example:two",
            "auth_time": int(START.timestamp()),
            "approved_at": "2026-11-22T12:00:00Z",
            "key_fingerprint": KEY,
        },
    )
    again = host.verify(opened["id"], digits)
    assert (again.status_code, again.json()["error"], again.json()["state"]) == (409, "not_approved", "passed")
    assert host.end(opened["id"], "passed").status_code == 204
    assert approval_of(service, opened["id"]).state is State.PASSED
    for event in ("opened", "approved", "verified", "passed"):
        (facts,) = service.audited(f"approval.{event}")
        assert (facts["user"], facts["host"], facts["account"], facts["client"]) == (
            "alice", "build-1", "alice", "build-1",
        )  # fmt: skip
    assert digits not in service.log.getvalue()


def test_account_at_the_provider_that_is_linked_to_the_user_is_named(service: Service, host: Host) -> None:
    person = Person("alice", "https://op.example", "subject-1", None)
    LinkedAccounts(service.store.database).link(person, service.clock(), create=False, address=None)
    opened = host.open()
    verified = host.verify(opened["id"], approve(service, opened["id"])).json()
    assert verified["linked"] == {"iss": "https://op.example", "sub": "subject-1"}
    other = host.open(user="bob", account="bob")
    assert "linked" not in host.verify(other["id"], approve(service, other["id"], "bob")).json()


def test_answer_does_not_say_whether_there_is_such_a_user(host: Host) -> None:
    known, unknown = host.ask(), host.ask(user="nobody")
    assert (known.status_code, sorted(known.json())) == (unknown.status_code, sorted(unknown.json()))
    assert host.state(unknown.json()["id"]) == "pending"


@pytest.mark.parametrize(
    "wanted",
    [
        {"user": "-x"},
        {"host": ""},
        {"account": None},
        {"client_ip": "here"},
        {"key_fingerprint": "SHA256:short"},
        {"subject": ""},
        {"seconds": 29},
        {"seconds": 601},
        {"remember": 0},
        {"remember": 30 * 86400 + 1},
    ],
)
def test_request_with_a_fault_opens_nothing(service: Service, host: Host, wanted: dict[str, Any]) -> None:
    answer = host.ask(**wanted)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert service.audited("approval.opened") == []


def test_text_of_the_host_controls_no_terminal_and_no_page(service: Service, host: Host) -> None:
    opened = host.open(account="al\x1b[2Jice\u202e", service="ss\nhd")
    asked = approval_of(service, opened["id"]).asked
    assert (asked.account, asked.service) == ("al [2Jice", "ss hd")


@pytest.mark.parametrize("scope", [each for each in Scope if each is not Scope.APPROVALS])
def test_client_without_the_scope_is_refused(service: Service, scope: Scope) -> None:
    answer = service.call("POST", "/api/v1/approvals", scope, json={})
    assert (answer.status_code, answer.json()["error"]) == (403, "insufficient_scope")


def test_another_host_finds_no_approval(service: Service, host: Host) -> None:
    opened, thief = host.open(), Host(service, "thief")
    digits = approve(service, opened["id"])
    answers = (
        thief.call("GET", f"/{opened['id']}"), thief.verify(opened["id"], digits), thief.end(opened["id"], "gone"),
    )  # fmt: skip
    assert [(each.status_code, each.json()["error"]) for each in answers] == [(404, "no_approval")] * 3
    assert host.verify(opened["id"], digits).status_code == 200, "the attack took nothing"


def test_digits_of_another_approval_are_wrong(service: Service, host: Host) -> None:
    mine, theirs = host.open(), host.open(user="bob", account="bob")
    approve(service, mine["id"])
    digits = approve(service, theirs["id"], "bob")
    answer = host.verify(mine["id"], digits)
    assert (answer.status_code, answer.json()["error"]) == (400, "wrong_digits")
    assert answer.json()["tries_left"] == MAX_TRIES - 1


def test_last_wrong_digits_end_the_approval(service: Service, host: Host) -> None:
    opened = host.open()
    digits = approve(service, opened["id"])
    answers = [host.verify(opened["id"], wrong(digits, by)).json() for by in range(1, MAX_TRIES + 1)]
    assert [each["tries_left"] for each in answers] == [2, 1, 0]
    late = host.verify(opened["id"], digits)
    assert (late.status_code, late.json()["state"]) == (409, "denied")
    assert service.audited("approval.denied")[0]["reason"] == "tried_out"


def test_digits_before_the_approval_take_no_try(service: Service, host: Host) -> None:
    """The host knows the id, but no digits exist for it before Approve, and a guess then tells nothing."""
    opened = host.open()
    right = service.store.codes.given_back(opened["id"])
    for digits in (right, wrong(right)):
        answer = host.verify(opened["id"], digits)
        assert (answer.status_code, answer.json()["state"]) == (409, "pending")
    assert approval_of(service, opened["id"]).tries == 0


@pytest.mark.parametrize("state", [State.DENIED, State.REPORTED])
@pytest.mark.parametrize("approved", [True, False])
def test_refused_approval_gives_no_identity(service: Service, host: Host, state: State, approved: bool) -> None:
    opened = host.open()
    digits = approve(service, opened["id"]) if approved else "000000"
    assert service.store.approvals.refuse(opened["id"], state, service.clock())
    answer = host.verify(opened["id"], digits)
    assert (answer.status_code, answer.json()["state"]) == (409, state)
    assert host.state(opened["id"]) == state
    assert [each["user"] for each in service.audited(f"approval.{state}")] == ["alice"]


@pytest.mark.parametrize("seconds", [300, -3600], ids=["late", "the clock was set back"])
def test_approval_expires(service: Service, host: Host, seconds: int) -> None:
    opened = host.open()
    digits = approve(service, opened["id"])
    service.clock.advance(seconds)
    assert host.state(opened["id"]) == "expired"
    answer = host.verify(opened["id"], digits)
    assert (answer.status_code, answer.json()["state"]) == (409, "expired")
    late = service.store.approvals.approve(opened["id"], consent_of(service), AddressCheck.OFF, service.clock())
    assert late.verdict is Verdict.OVER


def test_host_chooses_how_long_it_waits(service: Service, host: Host) -> None:
    opened = host.open(seconds=30)
    assert opened["expires_in"] == 30
    service.clock.advance(30)
    assert host.state(opened["id"]) == "expired"


def test_ssh_login_that_went_away_ends_the_approval(service: Service, host: Host) -> None:
    opened = host.open()
    digits = approve(service, opened["id"])
    assert host.end(opened["id"], "gone").status_code == 204
    assert host.end(opened["id"], "gone").status_code == 204
    assert host.verify(opened["id"], digits).json()["state"] == "ended"
    assert len(service.audited("approval.ended")) == 1


def test_nothing_passes_without_the_digits(service: Service, host: Host) -> None:
    opened = host.open()
    approve(service, opened["id"])
    assert host.end(opened["id"], "passed").status_code == 204
    assert host.state(opened["id"]) == "approved"


def test_login_that_failed_after_the_digits_has_ended(service: Service, host: Host) -> None:
    opened = host.open()
    assert host.verify(opened["id"], approve(service, opened["id"])).status_code == 200
    assert host.state(opened["id"]) == "passed"
    host.end(opened["id"], "gone")
    assert host.state(opened["id"]) == "ended"


def test_waiting_host_hears_of_the_denial_at_once(service: Service, host: Host) -> None:
    opened = host.open()
    heard: list[str] = []
    waiting = threading.Thread(target=lambda: heard.append(host.state(opened["id"], wait=25)))
    began = time.monotonic()
    waiting.start()
    while service.app.state.sshaft.changes._waiters.get(opened["id"]) is None:  # type: ignore[union-attr] # noqa: SLF001
        assert time.monotonic() - began < 20
    Host(service).end(opened["id"], "gone")
    waiting.join()
    assert heard == ["ended"]
    assert time.monotonic() - began < 20


def test_subject_decides_who_may_approve_and_not_the_name(service: Service, host: Host) -> None:
    opened = host.open(user="alice", subject="bob")
    answer = service.store.approvals.approve(opened["id"], consent_of(service), AddressCheck.OFF, service.clock())
    assert answer.verdict is Verdict.OTHER_PERSON
    assert host.verify(opened["id"], approve(service, opened["id"], "bob")).json()["sub"] == "bob"


@pytest.mark.usefixtures("host")
def test_subject_of_a_pairwise_host_is_its_own_name_of_the_person(service: Service) -> None:
    client = Client("shared", frozenset([Scope.APPROVALS]), pairwise_sector="hosts.example.org")
    service.store.clients.add(client, service.clock())
    shared = Host(service, "shared")
    opened = shared.open()
    sub = shared.verify(opened["id"], approve(service, opened["id"])).json()["sub"]
    assert sub != "alice"
    bound = shared.open(subject=sub)
    assert shared.verify(bound["id"], approve(service, bound["id"])).json()["sub"] == sub
    for foreign in ("alice", "x"):
        opened = shared.open(subject=foreign)
        answer = service.store.approvals.approve(opened["id"], consent_of(service), AddressCheck.OFF, service.clock())
        assert answer.verdict is Verdict.OTHER_PERSON, "a subject that nobody has does not fall back to the name"


def test_another_person_cannot_approve(service: Service, host: Host) -> None:
    opened = host.open()
    answer = service.store.approvals.approve(
        opened["id"], consent_of(service, "bob"), AddressCheck.OFF, service.clock()
    )
    assert answer.verdict is Verdict.OTHER_PERSON
    assert host.state(opened["id"]) == "pending"


@pytest.mark.parametrize(
    ("check", "address", "confirmed", "verdict"),
    [
        (AddressCheck.OFF, "198.51.100.9", False, Verdict.APPROVED),
        (AddressCheck.WARN, HOME, False, Verdict.APPROVED),
        (AddressCheck.WARN, "198.51.100.9", False, Verdict.CONFIRM_REQUIRED),
        (AddressCheck.WARN, "198.51.100.9", True, Verdict.APPROVED),
        (AddressCheck.REQUIRE, "198.51.100.9", True, Verdict.ADDRESS_MISMATCH),
        (AddressCheck.REQUIRE, None, True, Verdict.ADDRESS_MISMATCH),
        (AddressCheck.REQUIRE, HOME, False, Verdict.APPROVED),
    ],
)
def test_addresses_of_browser_and_ssh_are_compared(
    service: Service, host: Host, check: AddressCheck, address: str | None, confirmed: bool, verdict: Verdict
) -> None:
    opened, consent = host.open(), consent_of(service, address=address)
    answer = service.store.approvals.approve(opened["id"], consent, check, service.clock(), confirmed=confirmed)
    assert answer.verdict is verdict


# --- what ends with a person, a key, a session or a host


def test_removed_user_has_no_open_approvals(service: Service, host: Host) -> None:
    pending, approved, of_bob = host.open(), host.open(), host.open(user="bob")
    digits = approve(service, approved["id"])
    ended = service.store.revocation.remove_user("alice", service.clock())
    assert set(ended.approvals) == {pending["id"], approved["id"]}
    assert host.verify(approved["id"], digits).json()["state"] == "ended"
    assert host.state(of_bob["id"]) == "pending"


def test_sign_out_everywhere_ends_what_the_person_approved(service: Service, host: Host) -> None:
    pending, approved = host.open(), host.open()
    digits = approve(service, approved["id"])
    assert service.store.revocation.sign_out("alice", service.clock()).approvals == (approved["id"],)
    assert host.verify(approved["id"], digits).json()["state"] == "ended"
    assert host.state(pending["id"]) == "pending"


def test_session_that_has_ended_approves_nothing(service: Service, host: Host) -> None:
    opened, consent = host.open(), consent_of(service)
    service.store.revocation.sign_out("alice", service.clock())
    answer = service.store.approvals.approve(opened["id"], consent, AddressCheck.OFF, service.clock())
    assert answer.verdict is Verdict.OVER
    assert host.state(opened["id"]) == "pending"


def test_removed_host_has_no_open_approvals(service: Service, host: Host) -> None:
    opened, other = host.open(), Host(service, "other")
    kept = other.open()
    assert service.store.revocation.remove_client("build-1", service.clock()).approvals == (opened["id"],)
    assert approval_of(service, opened["id"]).state is State.ENDED
    assert other.state(kept["id"]) == "pending"


# --- limits


@pytest.fixture
def few(service: Service, host: Host) -> Host:
    """Returns a host that may open few approvals."""
    limits = ApprovalLimits(person=2, source=4, host=6)
    service.replace(settings=SETTINGS.model_copy(update={"approval_limits": limits}))
    return host


def test_stranger_who_knows_a_name_keeps_nobody_out(few: Host) -> None:
    stranger = {"client_ip": "203.0.113.5"}
    assert [few.ask(**stranger).status_code for _ in range(3)] == [201, 201, 429]
    assert few.ask().status_code == 201


def test_one_source_may_not_ask_everybody(few: Host) -> None:
    assert [few.ask(user=f"user{number}").status_code for number in range(5)] == [201] * 4 + [429]
    assert few.ask(client_ip="203.0.113.5").status_code == 201


def test_ipv6_source_is_its_network(few: Host) -> None:
    answers = [few.ask(client_ip=f"2001:db8::{number}") for number in range(3)]
    assert [each.status_code for each in answers] == [201, 201, 429]


def test_hostile_host_is_bounded_and_disturbs_no_other_host(service: Service, few: Host) -> None:
    answers = [few.ask(user=f"user{number}", client_ip=f"203.0.113.{number}") for number in range(62)]
    assert [each.status_code for each in answers] == [201] * 60 + [429] * 2
    assert Host(service, "other").ask(user="user0", client_ip="203.0.113.0").status_code == 201
    for _ in range(20):
        few.ask()
    assert len(service.events("request.refused")) == MAX_ALIKE, "the log is bounded, too"
    assert {(each["client"], each["error"]) for each in service.refusals()} == {("build-1", "too_many_approvals")}
    assert len(service.refusals()) == 22


def test_busy_sources_keep_no_other_source_out(few: Host) -> None:
    """They fill the limit of the host. Who has no unfinished login there may still ask."""
    busy = [few.ask(user=f"user{number}", client_ip=f"203.0.113.{number // 2}") for number in range(6)]
    assert [each.status_code for each in busy] == [201] * 6
    assert few.ask(user="user9", client_ip="203.0.113.0").status_code == 429
    assert few.ask().status_code == 201
    assert few.ask().status_code == 429


def test_refused_host_may_ask_again_later(service: Service, few: Host) -> None:
    few.open()
    service.clock.advance(100)
    few.open()
    refused = few.ask()
    assert (refused.status_code, refused.json()["error"]) == (429, "too_many_approvals")
    assert (refused.headers["Retry-After"], refused.json()["retry_after"]) == ("200", 200)
    service.clock.advance(200)
    assert few.ask().status_code == 201


def test_passed_logins_do_not_count(service: Service, few: Host) -> None:
    for _ in range(5):
        opened = few.open()
        assert few.verify(opened["id"], approve(service, opened["id"])).status_code == 200


def test_clock_that_was_set_back_locks_nobody_out(service: Service, few: Host) -> None:
    few.open()
    few.open()
    service.clock.advance(-3600)
    assert few.ask().status_code == 201


@pytest.mark.usefixtures("few")
def test_requests_at_the_same_time_do_not_pass_the_limit(service: Service) -> None:
    hosts = [Host(service) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda each: each.ask().status_code, hosts))
    assert sorted(answers) == [201, 201, 429, 429, 429, 429]
