"""Tests that a removal ends everything that the key, person or client has begun, on both databases."""

import html
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import requests
from fakes.public_keys import ed25519
from service.browser import ORIGIN, Browser, code_on, heading
from service.relying_party import RelyingParty, give_rsa_key
from service.service import Clock, Service
from sqlalchemy import func, select

from sshaft.public_key import parse
from sshaft_identity.challenges.attempts import Attempt
from sshaft_identity.challenges.challenges import Wish
from sshaft_identity.clients.clients import Client, Scope
from sshaft_identity.database.tables import access_tokens, audit_events, face_requests
from sshaft_identity.enrolment.enrolment import State
from sshaft_identity.face_support.face_requests import FaceRequests
from sshaft_identity.people.sessions import Method, Proof, Session, Sessions, SessionTimes
from sshaft_identity.store import Store

MINUTES = timedelta(minutes=5)
NEW = parse(ed25519("evil"))
Remove = Callable[[Service, str], None]


@pytest.fixture
def keys(service: Service) -> list[str]:
    """Returns the fingerprints of Alice's two keys. The first one is stolen."""
    return service.add_user("alice", ed25519("alice"), ed25519("alice's second"))


@pytest.fixture
def thief(service: Service, keys: list[str]) -> Browser:
    """Returns a browser that is signed in with the stolen key."""
    return signed_in(service, keys[0])


def signed_in(service: Service, fingerprint: str) -> Browser:
    browser = Browser(service)
    browser.sign_in("alice", fingerprint)
    return browser


def is_signed_in(browser: Browser) -> bool:
    return browser.get("/account/keys").status_code == 200


def enrol(browser: Browser) -> str:
    """Opens an enrolment in the browser, and returns the path of its page."""
    answer = browser.post("/account/keys/enrol", {"form_token": browser.form_token()})
    return answer.headers["Location"].removeprefix(ORIGIN)


def present(service: Service, page: str) -> None:
    """Presents a new key for the enrolment."""
    token = page.rpartition("/")[2]
    code = service.store.enrolments.code_of(token)
    body = {"code": code, "authorized_key": ed25519("evil"), "fingerprint": NEW.fingerprint}
    answer = service.call("POST", "/api/v1/mfa/ssh/enrol", Scope.ACCEPT, json=body)
    assert answer.status_code == 200, answer.text


def confirm(browser: Browser, page: str) -> requests.Response:
    return browser.post(page, {"action": "confirm", "fingerprint": NEW.fingerprint})


def enrolment_state(service: Service, page: str) -> str:
    found = service.store.enrolments.of_page(page.rpartition("/")[2])
    assert found
    return found.state


def owners(service: Service) -> dict[str, str]:
    return {each.key.fingerprint: each.user for each in service.store.keys.all()}


def by_command(service: Service, fingerprint: str) -> None:
    assert service.store.revocation.remove_key(fingerprint, service.clock())


def by_page(service: Service, fingerprint: str) -> None:
    """Removes the key in a browser that is signed in with the other key."""
    other = next(each for each in owners(service) if each != fingerprint)
    browser = signed_in(service, other)
    form = {"form_token": browser.form_token(), "fingerprint": fingerprint}
    assert browser.post("/account/keys/remove", form).headers["Location"] == "/account/keys?done=removed"
    assert is_signed_in(browser), "the browser that removes another key stays signed in"


EACH_WAY = pytest.mark.parametrize("remove", [by_command, by_page])


# --- a key


@EACH_WAY
def test_removed_key_ends_every_session_that_began_by_ssh(
    service: Service, keys: list[str], thief: Browser, remove: Remove
) -> None:
    """Finding S1: a session of a removed key went on."""
    other = signed_in(service, keys[1])
    remove(service, keys[0])
    assert thief.get("/account/keys").headers["Location"] == "/?note=nobody"
    assert not is_signed_in(other), "the stolen key may have added the key of this session"


def test_session_by_the_openid_provider_outlives_a_key(service: Service, keys: list[str]) -> None:
    times = Sessions(service.store.database, SessionTimes())
    session = times.start("alice", Proof(Method.OIDC, service.clock()), service.clock())
    assert session
    by_command(service, keys[0])
    assert times.of_token(session.token, service.clock())


def test_person_who_removes_the_key_of_the_session_is_signed_out(keys: list[str], thief: Browser) -> None:
    answer = thief.post("/account/keys/remove", {"form_token": thief.form_token(), "fingerprint": keys[0]})
    assert answer.headers["Location"] == "/?note=removed"
    assert not is_signed_in(thief)
    assert "You had signed in with it" in thief.get("/?note=removed").text


@EACH_WAY
@pytest.mark.parametrize("is_presented", [False, True], ids=["open", "presented"])
def test_removed_key_ends_the_enrolment_of_its_session(
    service: Service, keys: list[str], thief: Browser, remove: Remove, is_presented: bool
) -> None:
    """Finding S1: an enrolment that a removed key had begun still registered another key."""
    page = enrol(thief)
    if is_presented:
        present(service, page)
    remove(service, keys[0])
    assert enrolment_state(service, page) == State.CANCELLED
    assert heading(thief.get(page)) == "Over"
    assert confirm(thief, page).status_code == 400
    assert NEW.fingerprint not in owners(service)


def test_invitation_by_the_operator_outlives_a_key(service: Service, keys: list[str]) -> None:
    invited = service.store.enrolments.open("alice", service.clock())
    by_command(service, keys[0])
    found = service.store.enrolments.get(invited.enrolment.id)
    assert found
    assert found.state is State.OPEN


@EACH_WAY
def test_result_that_a_removed_key_has_passed_cannot_be_taken(
    service: Service, keys: list[str], remove: Remove
) -> None:
    """Finding S1: a login that the key passed before its removal was completed afterwards."""
    opened = service.open("alice")
    service.accept(code=opened["code"], fingerprint=keys[0])
    remove(service, keys[0])
    assert service.show(opened["id"])["state"] == "cancelled"
    answer = service.call("POST", f"/api/v1/challenges/{opened['id']}/consume", Scope.CHALLENGES)
    assert answer.status_code == 409, answer.text


def test_result_of_another_key_stays(service: Service, keys: list[str]) -> None:
    opened = service.open("alice")
    service.accept(code=opened["code"], fingerprint=keys[1])
    by_command(service, keys[0])
    assert service.call("POST", f"/api/v1/challenges/{opened['id']}/consume", Scope.CHALLENGES).status_code == 200


def test_result_of_an_unknown_key_is_cancelled_too(service: Service, keys: list[str]) -> None:
    opened = service.open("alice")
    service.accept(code=opened["code"])  # the original's contract
    by_command(service, keys[0])
    assert service.show(opened["id"])["state"] == "cancelled"


def test_code_that_ssh_printed_for_a_removed_key_is_void(service: Service, keys: list[str]) -> None:
    opened = service.open("alice", binding="code_back")
    code = service.accept(fingerprint=keys[0]).json()["code"]
    by_command(service, keys[0])
    path = f"/api/v1/challenges/{opened['id']}/verify"
    assert service.call("POST", path, Scope.CHALLENGES, json={"code": code}).json()["error"] == "cancelled"


def test_login_that_waits_for_a_key_stays(service: Service, keys: list[str]) -> None:
    opened = service.open("alice")
    by_command(service, keys[0])
    assert service.accept(code=opened["code"], fingerprint=keys[1]).status_code == 200


def test_sign_in_that_a_removed_key_has_passed_begins_no_session(service: Service, keys: list[str]) -> None:
    browser = Browser(service)
    service.accept("alice", code=browser.begin(), fingerprint=keys[0], confirmed=True)
    by_command(service, keys[0])
    assert heading(browser.get("/sign-in/ssh")) == "Cancelled"
    assert not is_signed_in(browser)


def test_authorization_code_and_access_token_of_a_removed_key_end(service: Service, keys: list[str]) -> None:
    now, store = service.clock(), service.store
    for fingerprint in keys:
        opened = service.open("alice")
        requests_ = FaceRequests(store.database, "openid")
        requests_.add(opened["id"], "test", {}, now)
        service.accept(code=opened["code"], fingerprint=fingerprint)
        service.call("POST", f"/api/v1/challenges/{opened['id']}/consume", Scope.CHALLENGES)
        requests_.issue_handle(opened["id"], now + MINUTES)
        store.access_tokens.issue(Client("test", frozenset()), [], now, user="alice", login=opened["id"])
    by_command(service, keys[0])
    with store.database.read() as connection:
        valid = select(func.count()).where(face_requests.c.handle_until > now)
        assert connection.scalar(valid.select_from(face_requests)) == 1
        of_login = select(func.count()).select_from(access_tokens).where(access_tokens.c.login.is_not(None))
        assert connection.scalar(of_login) == 1


def test_relying_party_gets_nothing_for_a_login_of_a_removed_key(service: Service, keys: list[str]) -> None:
    """Finding S1: a thief's authorization code and access token ended with the key."""
    give_rsa_key(service)
    shop = RelyingParty(service)
    first = shop.log_in(Browser(service), "alice", keys[0])
    token = shop.redeem(first["code"]).json()["access_token"]
    second = shop.log_in(Browser(service), "alice", keys[0])
    by_command(service, keys[0])
    assert shop.redeem(second["code"]).json()["error"] == "invalid_grant"
    answer = service.call("GET", "/oauth2/userinfo", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 401


def test_removal_of_a_key_is_one_event_that_says_what_ended(service: Service, keys: list[str], thief: Browser) -> None:
    enrol(thief)
    opened = service.open("alice")
    service.accept(code=opened["code"], fingerprint=keys[0])
    with service.store.database.read() as connection:
        before = connection.scalar(select(func.max(audit_events.c.id)))
    by_command(service, keys[0])
    with service.store.database.read() as connection:
        new = connection.scalars(select(audit_events.c.event).where(audit_events.c.id > before)).all()
    assert new == ["key.removed"]
    (event,) = service.audited("key.removed")
    assert (event["sessions"], event["challenges"], len(event["enrolments"])) == (1, opened["id"], 32)


def test_removed_key_names_the_keys_that_were_added_with_it(service: Service, keys: list[str], thief: Browser) -> None:
    page = enrol(thief)
    present(service, page)
    approval = confirm(thief, page).headers["Location"]
    service.accept(code=code_on(thief.get(approval)), fingerprint=keys[0], confirmed=True)
    thief.get(approval)
    assert NEW.fingerprint in thief.get(f"/account/keys/remove?fingerprint={requests.utils.quote(keys[0])}").text
    removed = service.store.revocation.remove_key(keys[0], service.clock())
    assert removed
    assert removed.added == (NEW.fingerprint,)


# --- a key that is added in a session by ssh


def test_key_added_in_a_session_by_ssh_counts_after_an_existing_key_approved_it(
    service: Service, keys: list[str], thief: Browser
) -> None:
    """Finding S1: one relayed sign-in code was enough to register a stranger's key."""
    page = enrol(thief)
    present(service, page)
    assert "must approve it" in thief.get(page).text
    approval = confirm(thief, page).headers["Location"]
    assert NEW.fingerprint not in owners(service), "the sign-in of the session is no approval"
    shown = thief.get(approval)
    assert f"My keys, to add the key {NEW.fingerprint}" in html.unescape(shown.text)
    assert service.accept(code=code_on(shown), fingerprint=keys[1], confirmed=True).status_code == 200
    assert thief.get(approval).headers["Location"] == page
    assert heading(thief.get(page)) == "Registered"
    assert owners(service)[NEW.fingerprint] == "alice"
    assert service.audited("key.enrolled")[-1]["added_with"] == keys[1]


def test_new_key_cannot_approve_itself(service: Service, thief: Browser) -> None:
    page = enrol(thief)
    present(service, page)
    approval = confirm(thief, page).headers["Location"]
    answer = service.accept(code=code_on(thief.get(approval)), fingerprint=NEW.fingerprint, confirmed=True)
    assert answer.json()["error"] == "unknown_key"


def test_denied_approval_adds_no_key(service: Service, thief: Browser) -> None:
    page = enrol(thief)
    present(service, page)
    approval = confirm(thief, page).headers["Location"]
    service.reject()
    assert heading(thief.get(approval)) == "Denied"
    assert NEW.fingerprint not in owners(service)


def test_approval_of_another_enrolment_adds_no_key(service: Service, keys: list[str], thief: Browser) -> None:
    page = enrol(thief)
    present(service, page)
    approval = confirm(thief, page).headers["Location"].rpartition("/")[2]
    service.accept(code=code_on(thief.get(f"{page}/approve/{approval}")), fingerprint=keys[1], confirmed=True)
    newer = enrol(thief)
    assert thief.get(f"{newer}/approve/{approval}").status_code == 404
    assert heading(thief.get(page)) == "Over"


def test_approved_key_that_breaks_the_policy_meanwhile_is_refused(
    service: Service, keys: list[str], thief: Browser
) -> None:
    page = enrol(thief)
    present(service, page)
    approval = confirm(thief, page).headers["Location"]
    service.accept(code=code_on(thief.get(approval)), fingerprint=keys[1], confirmed=True)
    service.add_user("bob", ed25519("evil"))
    answer = thief.get(approval)
    assert (answer.status_code, owners(service)[NEW.fingerprint]) == (400, "bob")


def test_waiting_approval_ends_with_a_removed_key(service: Service, keys: list[str], thief: Browser) -> None:
    page = enrol(thief)
    present(service, page)
    service.clock.advance(1)
    approval = confirm(thief, page).headers["Location"]
    code = code_on(thief.get(approval))
    by_command(service, keys[0])
    assert service.accept(code=code, fingerprint=keys[1], confirmed=True).json()["error"] == "cancelled"
    assert heading(thief.get(approval)) == "Cancelled"


# --- signing out


def sign_out_everywhere(browser: Browser) -> None:
    browser.post("/account/sign-out-everywhere", {"form_token": browser.form_token()})


def sign_out(browser: Browser) -> None:
    browser.post("/account/sign-out", {"form_token": browser.form_token()})


def sign_out_by_command(browser: Browser) -> None:
    browser.service.store.revocation.sign_out("alice", browser.service.clock())


@pytest.mark.parametrize("end", [sign_out, sign_out_everywhere, sign_out_by_command])
def test_signing_out_ends_the_enrolment_of_the_session(
    service: Service, thief: Browser, end: Callable[[Browser], None]
) -> None:
    """Finding S1: an enrolment outlived the session in which it was opened."""
    page = enrol(thief)
    present(service, page)
    end(thief)
    assert not is_signed_in(thief)
    assert enrolment_state(service, page) == State.CANCELLED


def test_sign_out_of_a_user_ends_sessions_of_both_kinds_and_passed_logins(
    service: Service, keys: list[str], thief: Browser
) -> None:
    Sessions(service.store.database, SessionTimes()).start(
        "alice", Proof(Method.OIDC, service.clock()), service.clock()
    )
    opened = service.open("alice")
    service.accept(code=opened["code"], fingerprint=keys[0])
    ended = service.store.revocation.sign_out("alice", service.clock())
    assert (ended.sessions, ended.challenges) == (2, (opened["id"],))
    assert not is_signed_in(thief)


def test_enrolment_is_not_opened_in_a_session_that_has_ended(service: Service, thief: Browser) -> None:
    form = {"form_token": thief.form_token()}

    def end_and_open(session: Session, now: Any) -> str:
        service.store.revocation.sign_out("alice", now)
        return service.store.enrolments.open(session.user, now, session=session).page_token

    service.replace(open_enrolment=end_and_open)
    assert thief.post("/account/keys/enrol", form).headers["Location"] == "/?note=nobody"


# --- a user, a client


def test_removed_user_leaves_nothing_that_works(service: Service, keys: list[str], thief: Browser) -> None:
    """Finding S1: logins of a removed user went on."""
    page = enrol(thief)
    passed, waiting = service.open("alice"), service.open("alice", by="shop")
    service.accept(code=passed["code"], fingerprint=keys[0], challenge=passed["id"])
    service.store.access_tokens.issue(Client("test", frozenset()), [], service.clock(), user="alice", login="x")
    service.store.revocation.remove_user("alice", service.clock())
    assert not is_signed_in(thief)
    assert heading(thief.get(page)) == "No such invitation"
    assert service.show(passed["id"])["state"] == "cancelled"
    assert service.show(waiting["id"], by="shop")["state"] == "cancelled"
    with service.store.database.read() as connection:
        of_user = select(func.count()).select_from(access_tokens).where(access_tokens.c.user_name == "alice")
        assert connection.scalar(of_user) == 0
    (event,) = service.audited("user.removed")
    assert (event["keys"], event["sessions"]) == (2, 1)
    assert set(event["challenges"].split()) == {passed["id"], waiting["id"]}


def test_removed_client_leaves_no_login_and_no_invitation(service: Service, keys: list[str]) -> None:
    """Finding S1: pages of a removed client went on."""
    waiting = service.open("alice", by="shop")
    passed = service.open("alice", by="bank")
    service.accept(code=passed["code"], fingerprint=keys[0], challenge=passed["id"])
    now = service.clock()
    invited = service.store.enrolments.open("alice", now, invited_by="bank")
    for name in ("shop", "bank"):
        service.store.revocation.remove_client(name, now)
    for opened in (waiting, passed):
        found = service.store.challenges.get(opened["id"])
        assert found
        assert found.state == "cancelled"
        assert heading(Browser(service).get(opened["page_url"])) == "Cancelled"
    found_enrolment = service.store.enrolments.get(invited.enrolment.id)
    assert found_enrolment
    assert found_enrolment.state is State.CANCELLED


# --- other processes, and attempts at the same time


@pytest.mark.usefixtures("hearing", "keys")
def test_open_pages_of_another_process_hear_of_a_removal(service: Service) -> None:
    opened, invited = service.open("alice"), service.store.enrolments.open("alice", service.clock(), invited_by="test")
    with ThreadPoolExecutor(2) as pool:
        login = pool.submit(service.show, opened["id"], 30)
        path = f"/api/v1/enrolments/{invited.enrolment.id}?wait=30"
        enrolment = pool.submit(requests.get, service.url + path, headers=service.bearer(Scope.ENROLMENTS), timeout=40)
        assert service.app
        wait_for_waiters(service, opened["id"], invited.enrolment.id)
        service.store.revocation.remove_user("alice", service.clock())  # this store tells the service nothing
        assert login.result()["state"] == "cancelled"
        assert enrolment.result().json()["state"] == "cancelled"


def wait_for_waiters(service: Service, *identifiers: str) -> None:
    assert service.app
    waiters = service.app.state.sshaft.changes._waiters  # noqa: SLF001
    over = threading.Event()
    for _ in range(3000):
        if all(waiters.get(each) for each in identifiers):
            return
        over.wait(0.01)
    raise AssertionError("nobody waits")


def test_attempt_at_the_time_of_a_removal_leaves_no_result(store: Store, clock: Clock) -> None:
    store.users.add("alice", clock())
    for number in range(6):
        key = parse(ed25519(f"key-{number}"))
        store.keys.add("alice", [(key, "")], clock())
        opened = store.challenges.open(Wish("alice", MINUTES), clock())
        attempt = Attempt("alice", opened.challenge.id, opened.code, key.fingerprint)
        start = threading.Barrier(2)

        def at_once(work: Callable[[], object], start: threading.Barrier = start) -> None:
            start.wait()
            work()

        with ThreadPoolExecutor(2) as pool:
            both = [
                pool.submit(at_once, lambda attempt=attempt: store.challenges.accept(attempt, clock())),
                pool.submit(at_once, lambda key=key: store.revocation.remove_key(key.fingerprint, clock())),
            ]
            for each in both:
                each.result()
        assert store.challenges.consume(opened.challenge.id, clock()) is None
        store.challenges.cancel(opened.challenge.id, clock())
