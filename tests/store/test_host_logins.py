"""Tests what hosts may report about people, and what ends there, on both databases."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from fakes.public_keys import ed25519
from service.browser import Browser
from service.service import START, Clock, Service
from sqlalchemy import delete, func, select, update

from sshaft.public_key import parse
from sshaft_identity.approvals.approval import Asked, Consent, Person
from sshaft_identity.approvals.approvals import Opened
from sshaft_identity.approvals.limits import ApprovalLimits
from sshaft_identity.challenges.challenge import AddressCheck
from sshaft_identity.clients.clients import Client, Scope
from sshaft_identity.common.errors import RegistryError
from sshaft_identity.database.tables import approvals, host_logins, host_reports, users
from sshaft_identity.host_logins import ending, reports
from sshaft_identity.host_logins.entries import HostLogin, Kind, Reported
from sshaft_identity.host_logins.listing import count_silent_hosts, logins_of
from sshaft_identity.people.sessions import Method, Proof, Sessions, SessionTimes, hash_of
from sshaft_identity.service import purge
from sshaft_identity.store import Store

KEY = parse(ed25519("alice")).fingerprint
SESSION = Reported(Kind.SESSION, "s1", "alice", "sshd", "192.0.2.7", user_id="alice", began_at=START)


@pytest.fixture(autouse=True)
def people(store: Store) -> None:
    for name in ("alice", "bob"):
        store.users.add(name, START)
    for name in ("db1", "db2"):
        store.clients.add(Client(name, frozenset([Scope.APPROVALS])), START)


def at(store: Store, user: str = "alice", kind: Kind = Kind.SESSION) -> list[HostLogin]:
    with store.database.read() as connection:
        return logins_of(connection, user, kind)


def audited(service: Service, event: str) -> list[tuple[str, str]]:
    return [(each["user"], each["reported_by"]) for each in service.audited(event)]


def test_session_is_shown_to_its_person_with_the_client_that_says_so(store: Store) -> None:
    assert store.host_reports.take("db1", "db1.example.org", [SESSION], START) == []
    (shown,) = at(store)
    assert (shown.client, shown.host, shown.account, shown.source) == ("db1", "db1.example.org", "alice", "192.0.2.7")
    assert (shown.is_proven, shown.is_ending) == (False, False)
    assert at(store, "bob") == at(store, kind=Kind.REMEMBERED) == []


def test_report_may_be_repeated_and_each_event_is_written_once(service: Service, store: Store) -> None:
    for _ in range(3):
        assert store.host_reports.take("db1", "h", [SESSION], START) == []
    assert len(at(store)) == 1
    assert audited(service, "host_session.began") == [("alice", "db1")]
    assert audited(service, "host_session.ended") == []
    for _ in range(2):
        assert store.host_reports.take("db1", "h", [], START) == []
    assert at(store) == []
    assert audited(service, "host_session.ended") == [("alice", "db1")]


def test_host_neither_shows_nor_ends_anything_of_another_client_or_host(store: Store) -> None:
    store.host_reports.take("db1", "h", [SESSION], START)
    store.host_reports.take("db2", "h", [], START)
    store.host_reports.take("db1", "other", [], START)
    (shown,) = at(store)
    store.host_reports.take("db2", "h", [SESSION], START)
    assert {each.client for each in at(store)} == {"db1", "db2"}
    assert ending.end(store.database, "alice", shown.id, START)
    assert store.host_reports.take("db2", "h", [SESSION], START) == []
    assert store.host_reports.take("db1", "h", [SESSION], START) == [SESSION.key]


def test_linked_account_of_the_provider_is_its_user(store: Store) -> None:
    with store.database.write() as connection:
        account = {"oidc_issuer": "https://idp", "oidc_subject": "0001"}
        connection.execute(update(users).where(users.c.name == "bob").values(account))
    theirs = replace(SESSION, user_id=None, issuer="https://idp", subject="0001")
    stranger = replace(theirs, entry="s2", subject="0002")
    other_provider = replace(theirs, entry="s3", issuer="https://other")
    assert store.host_reports.take("db1", "h", [theirs, stranger, other_provider], START) == []
    assert len(at(store, "bob")) == 1
    assert at(store) == []


def test_removed_user_loses_every_login_also_one_that_is_reported_later(store: Store) -> None:
    store.host_reports.take("db1", "h", [SESSION], START)
    store.revocation.remove_user("alice", START)
    later = replace(SESSION, entry="s2")
    ended = store.host_reports.take("db1", "h", [SESSION, later], START)
    assert sorted(ended) == [("session", "s1"), ("session", "s2")]
    store.users.add("alice", START)  # another person
    assert sorted(store.host_reports.take("db1", "h", [SESSION, later], START)) == sorted(ended)
    assert at(store) == []


def test_remembered_approval_that_this_service_does_not_know_must_be_forgotten(store: Store) -> None:
    remembered = Reported(Kind.REMEMBERED, "r1", "alice", "sshd", "192.0.2.0/24", approval="0" * 32)
    assert store.host_reports.take("db1", "h", [remembered], START) == [remembered.key]
    assert at(store, kind=Kind.REMEMBERED) == []


# --- approvals


def approve(store: Store, client: str = "db1", user: str = "alice", with_key: str | None = None) -> str:
    """Approves a login at a host as the user, and returns the id of the approval."""
    asked = Asked("db1.example.org", "sshd", user, user, "192.0.2.7", key_fingerprint="SHA256:" + "k" * 43)
    opened = store.approvals.open(client, asked, ApprovalLimits(), START)
    assert isinstance(opened, Opened)
    identifier = opened.approval.id
    session = Sessions(store.database, SessionTimes()).start(user, Proof(Method.SSH, START), START)
    assert session
    person = Person(user, user, START, fingerprint=with_key)
    consent = Consent(person, START, "192.0.2.7", hash_of(session.token))
    store.approvals.approve(identifier, consent, AddressCheck.OFF, START)
    assert store.approvals.verify(opened.approval, store.approvals.digits_of(opened.approval), START).is_right
    return identifier


def remember(approval: str, **more: Any) -> Reported:
    until = START + timedelta(hours=12)
    return Reported(
        Kind.REMEMBERED, "r1", "alice", "sshd", "192.0.2.0/24", KEY, approval, until=until, used_at=START, **more
    )


def test_approval_proves_whose_entry_it_is_also_against_what_the_host_says(store: Store) -> None:
    approval = approve(store)
    session = replace(SESSION, user_id="bob", approval=approval)
    assert store.host_reports.take("db1", "h", [session, remember(approval)], START) == []
    (shown,), (kept,) = at(store), at(store, kind=Kind.REMEMBERED)
    assert (shown.is_proven, shown.fingerprint) == (True, "SHA256:" + "k" * 43)
    assert (kept.is_proven, kept.fingerprint, kept.until) == (True, KEY, START + timedelta(hours=12))
    assert at(store, "bob") == []


def test_approval_of_another_client_proves_nothing(store: Store) -> None:
    approval = approve(store, client="db2")
    session = replace(SESSION, user_id=None, approval=approval)
    assert store.host_reports.take("db1", "h", [session, remember(approval)], START) == [("remembered", "r1")]
    assert at(store) == at(store, kind=Kind.REMEMBERED) == []
    claimed = replace(SESSION, approval=approval)
    store.host_reports.take("db1", "h", [claimed], START)
    assert [each.is_proven for each in at(store)] == [False]


def test_approval_whose_digits_never_came_proves_nothing(store: Store) -> None:
    asked = Asked("db1.example.org", "sshd", "alice", "alice", "192.0.2.7")
    opened = store.approvals.open("db1", asked, ApprovalLimits(), START)
    assert isinstance(opened, Opened)
    remembered = remember(opened.approval.id)
    assert store.host_reports.take("db1", "h", [remembered], START) == [remembered.key]


def test_remembered_approval_outlives_the_row_of_the_approval(store: Store) -> None:
    approval = approve(store)
    store.host_reports.take("db1", "h", [remember(approval)], START)
    with store.database.write() as connection:
        connection.execute(delete(approvals))
    session = replace(SESSION, user_id=None, approval=approval)
    used = replace(remember(approval), used_at=START + timedelta(hours=1))
    assert store.host_reports.take("db1", "h", [session, used], START) == []
    assert [each.is_proven for each in at(store)] == [True]
    assert [each.used_at for each in at(store, kind=Kind.REMEMBERED)] == [START + timedelta(hours=1)]


def test_removed_user_loses_what_they_have_approved(store: Store) -> None:
    approval = approve(store)
    store.host_reports.take("db1", "h", [remember(approval)], START)
    store.revocation.remove_user("alice", START)
    store.users.add("alice", START)  # another person
    session = replace(SESSION, user_id=None, approval=approval)
    ended = store.host_reports.take("db1", "h", [session, remember(approval)], START)
    assert sorted(ended) == [("remembered", "r1"), ("session", "s1")]
    assert at(store) == []


def test_sign_out_ends_a_login_by_an_older_approval_that_is_reported_later(store: Store, clock: Clock) -> None:
    approval = approve(store)
    store.revocation.sign_out("alice", clock.advance(60))
    late = replace(SESSION, approval=approval, began_at=clock.advance(60))
    assert store.host_reports.take("db1", "h", [late], clock()) == [late.key]


@pytest.mark.parametrize("of", ["ssh", "sign-in"])
def test_removed_key_ends_what_it_was_used_for(store: Store, of: str) -> None:
    """The key of the ssh login, and the key by which the person had signed in to approve it."""
    store.keys.add("alice", [(parse(ed25519("alice")), "")], START)
    approval = approve(store, with_key=KEY if of == "sign-in" else None)
    kept = remember(approval) if of == "ssh" else replace(remember(approval), fingerprint="SHA256:" + "o" * 43)
    other = replace(SESSION, entry="s2", approval=None)
    store.host_reports.take("db1", "h", [kept, other], START)
    store.revocation.remove_key(KEY, START)
    assert store.host_reports.take("db1", "h", [kept, other], START) == [kept.key]


# --- what ends


def test_sign_out_ends_the_logins_that_began_before_and_no_later_one(store: Store, clock: Clock) -> None:
    store.host_reports.take("db1", "h", [SESSION], START)
    assert store.revocation.sign_out("alice", clock.advance(60)).host_logins == 1
    assert [each.is_ending for each in at(store)] == [True]
    unknown = replace(SESSION, entry="s2")
    fresh = replace(SESSION, entry="s3", began_at=clock.advance(1))
    bobs = replace(SESSION, entry="s4", user_id="bob")
    ended = store.host_reports.take("db1", "h", [SESSION, unknown, fresh, bobs], clock())
    assert sorted(ended) == [("session", "s1"), ("session", "s2")]


def test_host_whose_clock_is_ahead_does_not_escape_a_later_sign_out(store: Store) -> None:
    ahead = replace(SESSION, began_at=START + timedelta(hours=1))
    store.host_reports.take("db1", "h", [ahead], START)
    store.revocation.sign_out("alice", START + timedelta(seconds=1))
    assert store.host_reports.take("db1", "h", [ahead], START) == [ahead.key]


def test_sign_out_by_the_person_keeps_the_sessions_and_forgets_approvals(store: Store) -> None:
    approval = approve(store)
    session = replace(SESSION, approval=approval)
    store.host_reports.take("db1", "h", [session, remember(approval)], START)
    assert store.revocation.sign_out("alice", START, sessions_at_hosts=False).host_logins == 1
    assert store.host_reports.take("db1", "h", [session, remember(approval)], START) == [("remembered", "r1")]
    store.revocation.end_at_hosts("alice", START)
    ended = store.host_reports.take("db1", "h", [session, remember(approval)], START)
    assert sorted(ended) == [("remembered", "r1"), ("session", "s1")]


def test_removed_key_ends_only_what_needed_it(store: Store) -> None:
    store.keys.add("alice", [(parse(ed25519("alice")), "")], START)
    with_key, other = replace(SESSION, fingerprint=KEY), replace(SESSION, entry="s2", fingerprint="SHA256:other")
    bobs = replace(SESSION, entry="s3", user_id="bob", fingerprint=KEY)
    store.host_reports.take("db1", "h", [with_key, other, bobs], START)
    removed = store.revocation.remove_key(KEY, START)
    assert removed
    assert removed.ended.host_logins == 1
    assert store.host_reports.take("db1", "h", [with_key, other, bobs], START) == [with_key.key]


def test_end_works_for_the_person_alone_and_is_one_event(service: Service, store: Store) -> None:
    store.host_reports.take("db1", "h", [SESSION], START)
    (shown,) = at(store)
    assert not ending.end(store.database, "bob", shown.id, START)
    assert not ending.end(store.database, "alice", "unknown", START)
    for _ in range(2):
        assert ending.end(store.database, "alice", shown.id, START, by="desk", actor="carol")
    (ordered,) = service.audited("host_session.end_ordered")
    assert (ordered["user"], ordered["by"], ordered["actor"], ordered["host"]) == ("alice", "desk", "carol", "h")


def test_person_of_an_entry_never_changes(store: Store) -> None:
    store.host_reports.take("db1", "h", [SESSION], START)
    store.host_reports.take("db1", "h", [replace(SESSION, user_id="bob", account="root")], START)
    assert at(store, "bob") == []
    assert [each.account for each in at(store)] == ["alice"]


def test_report_brings_a_limited_number_of_new_entries_and_the_next_ones_the_rest(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "MAX_NEW", 2)
    many = [replace(SESSION, entry=f"s{number}") for number in range(5)]
    for expected in (2, 4, 5, 5):
        store.host_reports.take("db1", "h", many, START)
        assert len(at(store)) == expected
    monkeypatch.setattr(reports, "MAX_ENTRIES", 6)
    store.host_reports.take("db1", "other", many, START)
    assert len(at(store)) == 6
    store.host_reports.take("db1", "h", [], START)
    store.host_reports.take("db1", "other", many, START)
    assert len(at(store)) == 3


def test_claims_about_one_person_are_limited_and_approvals_are_not(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "MAX_CLAIMED", 2)
    claims = [replace(SESSION, entry=f"s{number}") for number in range(5)]
    proven = replace(SESSION, entry="p1", approval=approve(store))
    bobs = replace(SESSION, entry="b1", user_id="bob")
    for _ in range(2):
        store.host_reports.take("db1", "h", [*claims, proven, bobs], START)
        assert sorted(each.is_proven for each in at(store)) == [False, False, True]
    assert len(at(store, "bob")) == 1
    store.host_reports.take("db1", "other", claims, START)
    assert len(at(store)) == 3


def test_client_reports_for_a_limited_number_of_hosts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "MAX_HOSTS", 1)
    store.host_reports.take("db1", "h", [], START)
    with pytest.raises(RegistryError, match="1 hosts have reported"):
        store.host_reports.take("db1", "h2", [], START)
    store.host_reports.take("db1", "h", [], START)
    store.host_reports.take("db2", "h2", [], START)


def test_ten_thousand_entries_are_one_report(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "MAX_NEW", 10_000)
    monkeypatch.setattr(reports, "MAX_CLAIMED", 10_000)
    many = [replace(SESSION, entry=f"s{number}") for number in range(10_000)]
    store.host_reports.take("db1", "h", many, START)
    store.revocation.sign_out("alice", START)
    assert len(store.host_reports.take("db1", "h", many, START)) == 10_000
    assert len(at(store)) == 200
    store.host_reports.take("db1", "h", [], START)
    assert at(store) == []


def test_silent_host_is_said_to_be_silent_and_is_forgotten_at_last(store: Store, clock: Clock) -> None:
    store.host_reports.take("db1", "h", [SESSION], START)
    (shown,) = at(store)
    assert not shown.is_silent(clock.advance(60))
    assert shown.is_silent(clock.advance(180))
    with store.database.read() as connection:
        assert count_silent_hosts(connection, clock()) == 1
    for _ in purge.batches(store.database, clock.advance(31 * 86400)):
        pass
    assert at(store) == []
    with store.database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(host_reports)) == 0


def test_removed_client_takes_its_reports_with_it(store: Store) -> None:
    store.host_reports.take("db1", "h", [SESSION], START)
    store.revocation.remove_client("db1", START)
    with store.database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(host_logins)) == 0
    with pytest.raises(RegistryError):
        store.host_reports.take("db1", "h", [SESSION], START)


def test_person_ends_a_login_on_their_page_and_the_host_hears_of_it(service: Service, store: Store) -> None:
    store.keys.add("alice", [(parse(ed25519("alice")), "")], START)
    body = {"host": "db1.example.org", "remembered": [], "sessions": [
        {"id": "s1", "account": "al<b>ice", "service": "sshd", "source": "192.0.2.7", "began": "2026-11-22T12:00:00Z",
         "iss": "https://id.example.org", "sub": "alice"},
    ]}  # fmt: skip
    headers = service.bearer(Scope.APPROVALS, "db1")
    report = lambda: service.call("POST", "/api/v1/approvals/report", json=body, headers=headers)  # noqa: E731
    assert report().json() == {"ended": {"remembered": [], "sessions": []}}
    browser = Browser(service)
    browser.sign_in("alice", KEY)
    page = browser.get("/account/hosts").text
    for text in (
        'al&lt;b&gt;ice</bdi> at <bdi dir="ltr">db1.example.org',
        "192.0.2.7",
        "db1</bdi>, without an approval here",
    ):
        assert text in page
    (shown,) = at(store)
    form = {"form_token": browser.form_token(), "id": shown.id}
    assert browser.post("/account/hosts/end", form).headers["Location"].endswith("/account/hosts?done=ended")
    assert "is ending" in browser.get("/account/hosts").text
    assert report().json() == {"ended": {"remembered": [], "sessions": ["s1"]}}
    service.clock.advance(200)
    assert "not heard of since 22 Nov 2026, 12:00 UTC" in browser.get("/account/hosts").text
    assert browser.post("/account/hosts/end", form | {"id": "x"}).status_code == 404
    assert browser.post("/account/hosts/end", {"form_token": "x", "id": shown.id}).status_code == 403
    assert browser.post("/account/hosts/end-all", {"form_token": browser.form_token()}).status_code == 303
    assert service.audited("host_session.all_ended")[0]["user"] == "alice"


def test_report_during_a_sign_out_keeps_no_session(store: Store, clock: Clock) -> None:
    """Whichever comes first: the next report at the latest names the session."""
    sessions = [replace(SESSION, entry=f"s{number}") for number in range(10)]
    with ThreadPoolExecutor(4) as threads:
        for number in range(len(sessions)):
            begun = sessions[: number + 1]
            work = [
                threads.submit(store.host_reports.take, "db1", "h", begun, START),
                threads.submit(store.revocation.sign_out, "alice", clock()),
                threads.submit(store.host_reports.take, "db1", "h", begun, START),
            ]
            for each in work:
                each.result()
            assert sorted(store.host_reports.take("db1", "h", begun, START)) == [each.key for each in begun]
