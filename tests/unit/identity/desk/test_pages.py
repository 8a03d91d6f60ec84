"""Tests what the help desk shows and does: the search, a person, orders, lists, and what the audit log then has."""

import re
from urllib.parse import quote

import pytest
from fakes.public_keys import ed25519
from service.browser import Browser, heading
from service.hosts import Host, approve
from service.service import Service
from unit.identity.desk.conftest import DESK, use
from unit.identity.desk.test_access import fingerprints, lock, order

from sshaft.public_key import parse
from sshaft_identity.approvals.approval import State
from sshaft_identity.clients.clients import Scope
from sshaft_identity.database.tables import failures
from sshaft_identity.desk.lists import PAGE_SIZE
from sshaft_identity.host_logins.entries import Kind, Reported

HOSTILE = "</h2><script>alert(1)</script>{{7*7}}\u202e\x1b[31m"
ACTOR = {"by": "desk", "actor": "carol", "actor_role": "desk"}


def is_by_carol(event: dict[str, object]) -> bool:
    return event.items() >= ACTOR.items() and "desk_address" in event


# --- the search


def test_search_finds_people_by_the_beginning_of_their_names_in_any_case(service: Service, carol: Browser) -> None:
    for name in ("Alina", "al.pha@example.org", "mallory"):
        service.add_user(name)
    page = carol.get("/desk?q=AL").text
    for name in ("alice", "Alina", "al.pha@example.org"):
        assert f">{name}</a>" in page
    assert "mallory" not in page
    assert "bob" not in page
    assert is_by_carol(service.audited("desk.listed")[-1])
    assert service.audited("desk.listed")[-1]["beginning"] == "AL"


def test_search_counts_the_keys_of_each_person(service: Service, carol: Browser, keys: dict[str, str]) -> None:
    service.store.keys.add("alice", [(parse(ed25519("alice's second")), "")], service.clock())
    service.add_user("albert")
    page = carol.get("/desk?q=al").text
    assert "<p>2 keys, never used</p>" in page
    assert '>albert</a><span class="badge">no key</span>' in page
    opened = service.open("bob")
    service.accept("bob", code=opened["code"], fingerprint=keys["bob"], confirmed=True)
    assert "<p>1 key, last used just now</p>" in carol.get("/desk?q=bo").text


def test_search_goes_on_page_by_page(service: Service, carol: Browser) -> None:
    names = [f"p{number:03}" for number in range(PAGE_SIZE * 2 + 1)]
    for name in names:
        service.store.users.add(name, service.clock())
    first = carol.get("/desk?q=p").text
    assert [name for name in names if f">{name}<" in first] == names[:PAGE_SIZE]
    assert f"/desk?q=p&amp;after={names[PAGE_SIZE - 1]}" in first
    second = carol.get(f"/desk?q=p&after={names[PAGE_SIZE - 1]}").text
    assert [name for name in names if f">{name}<" in second] == names[PAGE_SIZE : 2 * PAGE_SIZE]
    last = carol.get(f"/desk?q=p&after={names[2 * PAGE_SIZE - 1]}").text
    assert [name for name in names if f">{name}<" in last] == names[-1:]
    assert ">More</a>" not in last


def test_search_for_other_characters_finds_nobody(carol: Browser) -> None:
    for text in ("%", "_lice", "' OR 1=1 --", "a\x00b", "alice%", "\u0130", "*"):
        page = carol.get(f"/desk?q={quote(text)}&after={quote(text)}")
        assert page.status_code == 200
        assert "/desk/people/" not in page.text, text


def test_first_page_names_the_people_who_are_locked_out(service: Service, carol: Browser, keys: dict[str, str]) -> None:
    assert "Wrong codes have locked nobody out." in carol.get("/desk").text
    lock(service, "alice", keys["alice"])
    page = carol.get("/desk").text
    assert ">alice</a>" in page
    assert "22 Nov 2026, 13:00 UTC" in page


# --- one person


def test_page_of_a_person_says_why_logins_failed(service: Service, carol: Browser, keys: dict[str, str]) -> None:
    lock(service, "alice", keys["alice"])
    service.open("alice", app="Webmail")
    page = carol.get("/desk/people/alice").text
    assert heading(carol.get("/desk/people/alice")) == "alice"
    assert "Too many wrong codes: no code of the user is checked until 22 Nov 2026, 13:00 UTC." in page
    assert "The code was wrong." in page
    assert "no code of this person is checked before 22 Nov 2026, 13:00 UTC" in page
    assert "A login to Webmail" in page
    assert keys["alice"].replace("+", "&#43;") in page.replace("+", "&#43;")


def test_page_of_a_person_names_an_address_that_is_locked(
    service: Service, carol: Browser, keys: dict[str, str]
) -> None:
    wrong = {"code": "0", "fingerprint": keys["alice"], "client_ip": "192.0.2.9"}
    service.open("alice")
    service.accept("alice", "one", **wrong)
    assert "came from the address" not in carol.get("/desk/people/alice").text
    with service.store.database.write() as connection:
        connection.execute(failures.update().where(failures.c.scope == "source").values(times=30))
    assert (
        'came from the address <bdi dir="ltr">192.0.2.9</bdi>. Before 22 Nov 2026, 13:00 UTC'
        in carol.get("/desk/people/alice").text
    )
    code = service.open("alice")["code"]
    right = wrong | {"code": code, "confirmed": True}
    assert service.accept("alice", "two", **right).json()["error"] == "too_many_attempts"
    order(carol, "unlock")
    assert service.accept("alice", "three", **right).status_code == 200


def test_page_of_a_person_shows_logins_keys_browsers_and_invitations(
    service: Service, carol: Browser, alice: Browser, keys: dict[str, str]
) -> None:
    opened = service.open("alice", app="Webmail", context={"ip": "192.0.2.7"})
    service.accept("alice", code=opened["code"], fingerprint=keys["alice"], client_ip="192.0.2.9", confirmed=True)
    service.store.enrolments.open("alice", service.clock())
    page = carol.get("/desk/people/alice").text
    for text in ("Passed with ssh", "ssh from", "192.0.2.9", "Webmail", "Ed25519", "Signed in with ssh",
                 'just now from <bdi dir="ltr">192.0.2.9</bdi>', "An invitation to register a key"):  # fmt: skip
        assert text in page, text
    assert alice.cookies["__Host-sshaft"] not in page


def test_every_look_at_a_person_is_audited_and_the_person_sees_it(
    service: Service, carol: Browser, alice: Browser
) -> None:
    carol.get("/desk/people/alice")
    carol.get("/desk/people/alice")
    looks = service.audited("desk.looked")
    assert [each["user"] for each in looks] == ["alice", "alice"]
    assert all(map(is_by_carol, looks))
    assert "The help desk looked at your data" in alice.get("/account/activity").text


def test_unknown_person_is_not_found(service: Service, carol: Browser) -> None:
    for path in ("/desk/people/nobody", "/desk/people/%00", "/desk/people/Alice"):
        assert carol.get(path).status_code == 404
    assert order(carol, "sign-out", "nobody").status_code == 404
    assert order(carol, "export", "nobody").status_code == 404
    assert service.audited("desk.looked") == []


def test_foreign_text_is_escaped_on_every_page(service: Service, carol: Browser, keys: dict[str, str]) -> None:
    service.store.keys.rename("alice", keys["alice"], HOSTILE, service.clock())
    opened = service.open("alice", app=HOSTILE, context={"ip": "192.0.2.7"})
    service.accept("alice", code=opened["code"], fingerprint=keys["alice"], confirmed=True)
    service.open("alice", app=HOSTILE)
    service.call("POST", f"/api/v1/challenges/{service.open('bob', app=HOSTILE)['id']}/cancel", Scope.CHALLENGES)
    for path in (
        "/desk/people/alice",
        "/desk/people/bob",
        "/desk/waiting",
        "/desk/clients",
        f"/desk?q={quote(HOSTILE)}",
    ):
        text = carol.get(path).text
        assert "<script>alert" not in text, path
        assert "\u202e" not in text, path
        assert "\x1b" not in text, path
        assert "49" not in text.partition("{{7*7}}")[2][:2], path


def test_every_page_has_the_security_headers(carol: Browser) -> None:
    for path in ("/desk", "/desk?q=a", "/desk/people/alice", "/desk/waiting", "/desk/clients"):
        page = carol.get(path)
        assert page.headers["Cache-Control"] == "no-store"
        assert page.headers["X-Frame-Options"] == "DENY"
        assert page.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        assert "form-action 'self'" in page.headers["Content-Security-Policy"]
        assert "style=" not in page.text
        assert len(page.content) < 22_000, path


# --- orders


def test_order_asks_before_it_takes_something_away(service: Service, carol: Browser, keys: dict[str, str]) -> None:
    for action in ("remove-key", "remove-all-keys", "sign-out"):
        question = order(carol, action, sure="", fingerprint=keys["alice"])
        assert question.status_code == 200
        assert heading(question).endswith("?")
    assert fingerprints(service) == [keys["alice"]]
    assert service.audited("session.all_ended") == []


def test_unlocked_person_may_try_again(service: Service, carol: Browser, keys: dict[str, str]) -> None:
    lock(service, "alice", keys["alice"])
    answer = order(carol, "unlock")
    assert answer.headers["Location"] == "/desk/people/alice?note=unlocked"
    assert service.store.challenges.locked_until("alice", service.clock()) is None
    assert is_by_carol(service.audited("user.unlocked")[0])
    assert "no longer count" in carol.get(answer.headers["Location"]).text
    assert order(carol, "unlock").headers["Location"].endswith("note=nothing_locked")
    opened = service.open("alice")
    assert service.accept("alice", code=opened["code"], fingerprint=keys["alice"], confirmed=True).status_code == 200


def test_removed_key_passes_no_login(service: Service, carol: Browser, alice: Browser, keys: dict[str, str]) -> None:
    assert order(carol, "remove-key", fingerprint=keys["alice"]).headers["Location"].endswith("note=key_removed")
    assert fingerprints(service) == []
    assert is_by_carol(service.audited("key.removed")[0])
    assert alice.get("/account/keys").headers["Location"] == "/?note=nobody"


def test_key_of_another_person_is_not_removed(service: Service, carol: Browser, keys: dict[str, str]) -> None:
    """The form names alice and the key of bob."""
    for fingerprint in (keys["bob"], "", "SHA256:x", "' OR 1=1 --"):
        assert order(carol, "remove-key", fingerprint=fingerprint).status_code == 404
    assert fingerprints(service, "bob") == [keys["bob"]]
    assert fingerprints(service) == [keys["alice"]]


def test_all_keys_go_with_invitations_and_sessions(
    service: Service, carol: Browser, alice: Browser, keys: dict[str, str]
) -> None:
    service.store.keys.add("alice", [(parse(ed25519("alice's second")), "")], service.clock())
    invited = service.store.enrolments.open("alice", service.clock())
    assert order(carol, "remove-all-keys").headers["Location"].endswith("note=keys_removed")
    assert fingerprints(service) == []
    assert fingerprints(service, "bob") == [keys["bob"]]
    enrolment = service.store.enrolments.get(invited.enrolment.id)
    assert enrolment
    assert enrolment.state == "cancelled"
    assert alice.get("/account/keys").headers["Location"] == "/?note=nobody"
    for event in ("key.removed", "enrolment.cancelled", "session.all_ended"):
        assert all(map(is_by_carol, service.audited(event))), event


def test_signed_out_person_keeps_the_keys(
    service: Service, carol: Browser, alice: Browser, keys: dict[str, str]
) -> None:
    assert order(carol, "sign-out").headers["Location"].endswith("note=signed_out")
    assert alice.get("/account/keys").headers["Location"] == "/?note=nobody"
    assert carol.get("/desk").status_code == 200
    assert fingerprints(service) == [keys["alice"]]


def test_unknown_order_does_nothing(carol: Browser) -> None:
    assert order(carol, "promote").status_code == 404


def test_invitation_needs_the_setting(service: Service, carol: Browser) -> None:
    assert order(carol, "invite").status_code == 403
    assert service.audited("enrolment.opened") == []
    assert "/desk/people/alice/invite" not in carol.get("/desk/people/alice").text


def test_invitation_shows_its_link_once(service: Service, carol: Browser, listening: object) -> None:
    use(service, listening, desk=DESK | {"may_invite": True})
    assert "/desk/people/alice/invite" in carol.get("/desk/people/alice").text
    assert heading(order(carol, "invite", sure="")) == "Invite this person?"
    page = order(carol, "invite")
    assert "https://id.example.org/enrol/" in page.text
    token = page.text.partition("https://id.example.org/enrol/")[2].partition("<")[0]
    assert service.store.enrolments.of_page(token)
    (event,) = service.audited("enrolment.opened")
    assert is_by_carol(event)
    assert (event["user"], event["invited_by"]) == ("alice", "desk")
    assert token not in carol.get("/desk/people/alice").text
    assert token not in service.log.getvalue()


def test_members_of_the_help_desk_are_not_invited_there(service: Service, carol: Browser, listening: object) -> None:
    """An invitation would make carol another member, in whose name she could act."""
    use(service, listening, desk=DESK | {"may_invite": True})
    answer = order(carol, "invite", "rita")
    assert (answer.status_code, heading(answer)) == (403, "A member of the help desk")
    assert "/desk/people/rita/invite" not in carol.get("/desk/people/rita").text
    assert service.audited("enrolment.opened") == []


# --- lists


def test_list_of_what_waits_names_people_apps_and_invitations(service: Service, rita: Browser) -> None:
    service.open("alice", app="Webmail", context={"ip": "192.0.2.7"})
    service.open("ghost", app="VPN")
    service.open(None, app="Kiosk")
    service.store.enrolments.open("bob", service.clock())
    page = rita.get("/desk/waiting").text
    for text in (">alice</a>", "Webmail", "192.0.2.7", "no such user", "Kiosk", ">bob</a>", "5:00 left"):
        assert text in page, text
    service.clock.advance(301)
    assert "No login waits." in rita.get("/desk/waiting").text
    assert service.audited("desk.listed")[-1].items() >= {"what": "waiting", "actor": "rita"}.items()


def test_lists_name_approvals_that_wait_and_the_last_ones(service: Service, rita: Browser) -> None:
    host = Host(service)
    waiting, passed, reported = host.open(), host.open(host="web-1"), host.open(user="ghost", client_ip="203.0.113.5")
    host.verify(passed["id"], approve(service, passed["id"]))
    service.store.approvals.refuse(reported["id"], State.REPORTED, service.clock())
    page = rita.get("/desk/waiting").text
    waits, _, last = page.partition("Last approvals of SSH logins")
    for text in ('At the host <bdi dir="ltr">build-1</bdi>', "no answer yet", "5:00 left", ">alice</a>"):
        assert text in waits, text
    for text in (">web-1</bdi>", "the digits were right", "reported: not theirs", "203.0.113.5", "<b>ghost</b>"):
        assert text in last, text
    assert "web-1" in rita.get("/desk/people/alice").text
    assert "No host has asked this person" in rita.get("/desk/people/bob").text
    assert "got an approval (web-1)" in rita.get("/desk/clients").text
    assert waiting["id"] not in page
    for page_token in (waiting["page"], passed["page"]):
        assert page_token.rpartition("/")[2] not in page
    service.clock.advance(301)
    assert "ran out of time" in rita.get("/desk/waiting").text


def test_list_of_clients_shows_their_last_calls(service: Service, rita: Browser) -> None:
    service.open("alice", app="Webmail")
    service.call("POST", "/oauth2/token", data={"grant_type": "client_credentials"}, auth=("test", service.secret))
    page = rita.get("/desk/clients").text
    assert "began a login (Webmail)" in page
    assert "just now" in page
    assert service.secret not in page


# --- logins at hosts


def report_session(service: Service) -> list[Reported]:
    session = Reported(Kind.SESSION, "s1", "al<i>ce", "sshd", "192.0.2.7", user_id="alice", began_at=service.clock())
    service.store.host_reports.take("test", "db1.example.org", [session], service.clock())
    return [session]


def test_member_ends_a_login_at_a_host_after_a_question(service: Service, carol: Browser) -> None:
    sessions = report_session(service)
    page = carol.get("/desk/people/alice").text
    assert 'al&lt;i&gt;ce</bdi> at <bdi dir="ltr">db1.example.org' in page
    assert "test</bdi>, without an approval here" in page
    (login,) = re.findall('name="login" value="([0-9a-f]{32})"', page)
    form = {"form_token": carol.form_token(), "login": login}
    assert heading(carol.post("/desk/people/alice/end-host-login", form)) == "End this at the host?"
    assert service.store.host_reports.take("test", "db1.example.org", sessions, service.clock()) == []
    assert carol.post("/desk/people/bob/end-host-login", form | {"sure": "yes"}).status_code == 404
    assert carol.post("/desk/people/alice/end-host-login", form | {"sure": "yes"}).status_code == 303
    assert service.store.host_reports.take("test", "db1.example.org", sessions, service.clock()) == [("session", "s1")]
    (ordered,) = service.audited("host_session.end_ordered")
    assert is_by_carol(ordered)
    assert ordered["user"] == "alice"
    assert "is ending" in carol.get("/desk/people/alice").text


def test_reader_ends_no_login_at_a_host(service: Service, rita: Browser) -> None:
    report_session(service)
    page = rita.get("/desk/people/alice").text
    assert "db1.example.org" in page
    assert "End this login" not in page
    form = {"form_token": rita.form_token(), "login": "0" * 32, "sure": "yes"}
    assert rita.post("/desk/people/alice/end-host-login", form).status_code == 403


@pytest.mark.parametrize("action", ["sign-out", "remove-all-keys"])
def test_revocation_of_a_person_at_the_desk_ends_the_logins_at_hosts(
    service: Service, carol: Browser, action: str
) -> None:
    sessions = report_session(service)
    order(carol, action)
    assert service.store.host_reports.take("test", "db1.example.org", sessions, service.clock()) == [("session", "s1")]
