"""Tests "My activity" on both databases: a login is one row, wherever a page ends and whatever happens meanwhile."""

import pytest
from fakes.public_keys import ed25519
from service.browser import Browser
from service.service import Service, wrong

from sshaft.public_key import parse
from sshaft_identity.audit.log import record_event
from sshaft_identity.people.activity import Activity, Happening, Outcome

KEY = parse(ed25519("alice"))


@pytest.fixture
def activity(service: Service) -> Activity:
    service.add_user("alice", ed25519("alice"))
    return Activity(service.store.database)


def rows(activity: Activity, user: str = "alice") -> list[Happening]:
    """Returns the rows of all pages."""
    page = activity.of(user)
    found = page.happenings
    while page.older is not None:
        assert len(page.happenings) == 25, "every page but the last one is full"
        page = activity.of(user, page.older)
        found += page.happenings
    return found


def logins(activity: Activity) -> list[Happening]:
    return [each for each in rows(activity) if each.is_login]


def steps(login: Happening) -> list[str]:
    return [each.name.removeprefix("challenge.") for each in reversed(login.events)]


def test_login_is_one_row_with_its_steps(service: Service, activity: Activity) -> None:
    """Finding U15: a login was several rows."""
    opened = service.open(app="Webmail")
    service.call("GET", opened["page_url"].removeprefix("https://id.example.org"))
    service.accept(code=wrong(opened["code"]), fingerprint=KEY.fingerprint, challenge=opened["id"])
    service.accept(code=opened["code"], fingerprint=KEY.fingerprint)
    (login,) = logins(activity)
    assert steps(login) == ["created", "shown", "wrong_code", "accepted"]
    assert (login.outcome, login.tone, login.app) == (Outcome.PASSED, "good", "Webmail")


def test_rows_stand_where_their_newest_event_is(service: Service, activity: Activity) -> None:
    first, second = service.open(by="test", app="First"), service.open(by="other", app="Second")
    service.reject(challenge=first["id"])
    assert [each.app for each in logins(activity)] == ["First", "Second"]
    service.accept(code=second["code"], fingerprint=KEY.fingerprint)
    assert [(each.app, each.outcome) for each in logins(activity)] == [
        ("Second", Outcome.PASSED),
        ("First", Outcome.DENIED),
    ]


@pytest.mark.parametrize("between", [1, 20, 24, 25, 26, 49, 50, 51])
def test_login_that_crosses_the_end_of_a_page_is_one_row(service: Service, activity: Activity, between: int) -> None:
    """Its first events are where the next pages are."""
    before = service.open(app="Before")
    crossing = service.open(by="other", app="Crossing")
    for number in range(between):
        service.clock.advance(1)
        service.store.keys.rename("alice", KEY.fingerprint, f"name {number}", service.clock())
    service.accept(code=crossing["code"], fingerprint=KEY.fingerprint)
    found = rows(activity)
    assert [(each.app, steps(each)) for each in found if each.is_login] == [
        ("Crossing", ["created", "accepted"]),
        ("Before", ["created"]),
    ]
    assert len(found) == between + 4
    assert len({each.newest.id for each in found}) == len(found), "no row twice"
    assert [each.newest.id for each in found] == sorted((each.newest.id for each in found), reverse=True)
    assert before


def test_sign_in_to_our_own_pages_is_one_row(service: Service, activity: Activity) -> None:
    """The session that it begins is its last step."""
    Browser(service).sign_in("alice", KEY.fingerprint)
    newest, *others = rows(activity)
    assert [each.name for each in newest.events] == ["session.started", "challenge.consumed", "challenge.accepted"]
    assert (newest.app, newest.outcome) == ("My keys", Outcome.PASSED)
    assert newest.newest.sentence == "Signed in to my keys with ssh"
    assert not any(each.is_login for each in others)


def test_many_logins_are_read_page_by_page(service: Service, activity: Activity) -> None:
    for number in range(60):
        service.clock.advance(30)
        opened = service.open(app=f"App {number}")
        if number % 3 == 0:
            service.reject(challenge=opened["id"])
    found = logins(activity)
    assert [each.app for each in found] == [f"App {number}" for number in reversed(range(60))]
    assert all(each.is_whole for each in found)
    assert {each.outcome for each in found} == {Outcome.DENIED, Outcome.CANCELLED, None}


def test_sign_in_that_named_nobody_begins_with_its_first_event_about_the_person(
    service: Service, activity: Activity
) -> None:
    opened = service.open(None, app="Wiki")
    service.accept("alice", code=opened["code"], fingerprint=KEY.fingerprint, confirmed=True)
    for _ in range(30):
        service.store.keys.rename("alice", KEY.fingerprint, "name", service.clock())
    (login,) = logins(activity)
    assert (steps(login), login.outcome) == (["accepted"], Outcome.PASSED)


def test_rows_of_another_person_are_not_there_whatever_number_is_asked_for(
    service: Service, activity: Activity
) -> None:
    service.add_user("bob", ed25519("bob"))
    service.open("bob", app="Bob's own")
    newest = activity.of("bob").happenings[0].newest.id
    for before in (newest, newest + 1, 2**62, 0, -1):
        assert all(each.app is None for each in activity.of("alice", before).happenings)


def test_wrong_code_that_belongs_to_no_login_is_a_row_of_its_own(service: Service, activity: Activity) -> None:
    with service.store.database.write() as connection:
        record_event(connection, "challenge.wrong_code", service.clock(), user="alice", ssh_address="192.0.2.7")
    newest = rows(activity)[0]
    assert (newest.is_login, newest.newest.name, newest.tone) == (False, "challenge.wrong_code", "bad")


def test_ssh_login_that_was_approved_is_one_row(service: Service, activity: Activity) -> None:
    facts = {"approval": "a1", "host": "db1.example.org", "account": "alice", "ssh_address": "192.0.2.7"}
    with service.store.database.write() as connection:
        for event in ("opened", "approved", "wrong_digits", "verified", "passed"):
            record_event(connection, f"approval.{event}", service.clock(), user="alice", **facts)
    (login,) = logins(activity)
    assert (login.app, login.outcome, login.tone, login.is_whole) == ("db1.example.org", Outcome.PASSED, "good", True)
    assert [(each.facts["approval"], each.step_facts) for each in login.events] == [("a1", [])] * 5
    assert ("ssh from", "192.0.2.7") in login.facts
