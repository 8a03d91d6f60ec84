"""Tests "My keys" and "My activity" over HTTP: each person may see and change only their own keys."""

from urllib.parse import quote

import pytest
from fakes.public_keys import ed25519
from service.browser import Browser, heading
from service.service import Service
from sqlalchemy import delete, update

from sshaft.public_key import parse
from sshaft_identity.database.tables import audit_events, ssh_keys
from sshaft_identity.people.keys import Keys
from sshaft_identity.people.sessions import Session

HOSTILE = "</h2><script>alert(1)</script>{{7*7}}\u202e\x1b[31m"


@pytest.fixture
def keys(service: Service) -> list[str]:
    """Returns the fingerprints of Alice's two keys."""
    return service.add_user("alice", ed25519("alice"), ed25519("alice's second"))


@pytest.fixture
def alice(service: Service, keys: list[str]) -> Browser:
    """Returns a browser in which Alice is signed in."""
    browser = Browser(service)
    browser.sign_in("alice", keys[0])
    return browser


def fingerprints(service: Service, user: str = "alice") -> list[str]:
    return [each.key.fingerprint for each in service.store.keys.all(user)]


def remove_path(fingerprint: str) -> str:
    return f"/account/keys/remove?fingerprint={quote(fingerprint)}"


def form(browser: Browser, **fields: str) -> dict[str, str]:
    return {"form_token": browser.form_token(), **fields}


# --- the list


def test_page_shows_the_facts_of_each_key(service: Service, alice: Browser, keys: list[str]) -> None:
    values = {"name": "YubiKey 5", "source": "ssh", "attested": "YubiKey 5 NFC", "last_used_from": "2001:db8::7"}
    with service.store.database.write() as connection:
        mine = update(ssh_keys).where(ssh_keys.c.fingerprint == keys[1])
        connection.execute(mine.values(last_used_at=service.clock(), expires_at=service.clock(), **values))
    service.clock.advance(24 * 60)
    page = alice.get("/account/keys").text
    for text in ("YubiKey 5", "Ed25519", keys[0], keys[1], "over ssh", "attested", "2001:db8::7", "24 minutes ago",
                 "expired", "22 Nov 2026, 12:00 UTC"):  # fmt: skip
        assert text.replace("+", "&#43;") in page.replace("+", "&#43;"), text


def test_pages_are_in_german(alice: Browser, keys: list[str]) -> None:
    page = alice.get("/account/keys?ui_locales=de")
    assert heading(page) == "Meine Schlüssel"
    assert "Jeder dieser Schlüssel bestätigt Ihre Anmeldungen." in page.text
    assert heading(alice.get(remove_path(keys[1]))).endswith(" entfernen?")
    assert "Der Schlüssel hat seinen neuen Namen." in alice.get("/account/keys?done=renamed").text
    answer = alice.post("/account/keys/remove", form(alice, fingerprint="SHA256:x"))
    assert (answer.status_code, heading(answer)) == (404, "Kein solcher Schlüssel")


def test_page_shows_only_keys_of_the_person(service: Service, alice: Browser) -> None:
    (bobs,) = service.add_user("bob", ed25519("bob"))
    assert bobs not in alice.get("/account/keys").text


def test_page_says_if_there_are_no_keys(service: Service, alice: Browser) -> None:
    with service.store.database.write() as connection:
        connection.execute(delete(ssh_keys))
    assert "No key passes your logins yet" in alice.get("/account/keys").text


@pytest.mark.parametrize("path", ["/account/keys", "/account/activity", "/account/keys/remove?fingerprint=x"])
def test_person_who_is_not_signed_in_sees_nothing(service: Service, path: str) -> None:
    assert Browser(service).get(path).headers["Location"] == "/?note=nobody"


@pytest.mark.parametrize("path", ["/", "/account/keys", "/account/activity", "/sign-in/oidc", "/account/keys/remove"])
def test_every_page_has_the_security_headers(alice: Browser, path: str) -> None:
    page = alice.get(path + ("?note=again" if path == "/" else ""))
    assert page.headers["Cache-Control"] == "no-store"
    assert page.headers["Referrer-Policy"] == "same-origin"
    assert page.headers["X-Frame-Options"] == "DENY"
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    # an error page may be in the pop-up of an application
    assert page.headers["Cross-Origin-Opener-Policy"] == ("same-origin" if page.ok else "unsafe-none")
    assert "camera=()" in page.headers["Permissions-Policy"]
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "form-action 'self'" in policy
    assert "unsafe" not in policy
    assert "style=" not in page.text
    assert "onclick" not in page.text


def test_foreign_text_is_escaped_on_every_page(service: Service, alice: Browser, keys: list[str]) -> None:
    alice.post("/account/keys/rename", form(alice, fingerprint=keys[0], name=HOSTILE))
    service.open("alice", app=HOSTILE, context={"user_agent": HOSTILE})
    alice.get("/account/keys", headers={"User-Agent": "<script>alert(2)</script>"})
    for path in ("/account/keys", "/account/activity", remove_path(keys[0])):
        text = alice.get(path).text
        assert text.count("<script") == text.count('<script nonce="')
        assert "<script>" not in text
        assert "\u202e" not in text
        assert "\x1b" not in text
        assert "&lt;script&gt;alert(1)" in text
        assert "{{7*7}}" in text


# --- changes


def test_key_can_be_renamed(alice: Browser, keys: list[str]) -> None:
    answer = alice.post("/account/keys/rename", form(alice, fingerprint=keys[0], name="My laptop"))
    assert answer.headers["Location"] == "/account/keys?done=renamed"
    page = alice.get("/account/keys?done=renamed").text
    assert "My laptop" in page
    assert "The key has its new name." in page
    assert "A key was renamed" in alice.get("/account/activity").text


def test_key_is_removed_after_a_question(service: Service, alice: Browser, keys: list[str]) -> None:
    question = alice.get(remove_path(keys[1]))
    assert heading(question).startswith("Remove ")
    assert "last key" not in question.text
    alice.post("/account/keys/remove", form(alice, fingerprint=keys[1]))
    assert fingerprints(service) == [keys[0]]
    assert "A key was removed" in alice.get("/account/activity").text
    assert service.store.challenges.listed(service.clock(), [keys[1]]) == [], "the key passes no login"


def test_last_key_is_removed_only_after_a_warning(service: Service, alice: Browser, keys: list[str]) -> None:
    alice.post("/account/keys/remove", form(alice, fingerprint=keys[1]))
    assert "It is your last key" in alice.get(remove_path(keys[0])).text
    assert alice.post("/account/keys/remove", form(alice, fingerprint=keys[0])).status_code == 409
    assert fingerprints(service) == [keys[0]]
    alice.post("/account/keys/remove", form(alice, fingerprint=keys[0], last="yes"))
    assert fingerprints(service) == []


def test_removing_a_key_needs_a_fresh_sign_in(service: Service, alice: Browser, keys: list[str]) -> None:
    service.clock.advance(600)
    fields = form(alice, fingerprint=keys[1])
    assert alice.get(remove_path(keys[1])).headers["Location"] == "/?note=again"
    assert alice.post("/account/keys/remove", fields).headers["Location"] == "/?note=again"
    assert len(fingerprints(service)) == 2
    assert "Sign in again" in alice.get("/?note=again").text
    alice.sign_in("alice", keys[0])
    alice.post("/account/keys/remove", form(alice, fingerprint=keys[1]))
    assert len(fingerprints(service)) == 1


@pytest.mark.parametrize("action", ["rename", "remove"])
def test_key_of_another_person_is_not_found(service: Service, alice: Browser, action: str) -> None:
    (bobs,) = service.add_user("bob", ed25519("bob"))
    answer = alice.post(f"/account/keys/{action}", form(alice, fingerprint=bobs, name="mine", last="yes"))
    assert (answer.status_code, heading(answer)) == (404, "No such key")
    assert [each.name for each in service.store.keys.all("bob")] == [""]
    assert alice.get(remove_path(bobs)).status_code == 404


ACTIONS = ["keys/rename", "keys/remove", "keys/enrol", "sign-out", "sign-out-everywhere"]


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("token", [None, "", "0" * 64, "é"])
def test_form_without_the_token_of_the_session_is_refused(
    service: Service, alice: Browser, keys: list[str], action: str, token: str | None
) -> None:
    fields = {"fingerprint": keys[1], "name": "x"} | ({} if token is None else {"form_token": token})
    assert alice.post(f"/account/{action}", fields).status_code == 403
    assert len(fingerprints(service)) == 2
    assert alice.get("/account/keys").status_code == 200


@pytest.mark.parametrize("action", ACTIONS)
def test_form_with_another_sessions_token_is_refused(
    service: Service, alice: Browser, keys: list[str], action: str
) -> None:
    other = Browser(service)
    other.sign_in("alice", keys[0])
    assert alice.post(f"/account/{action}", form(other, fingerprint=keys[1])).status_code == 403
    assert other.get("/account/keys").status_code == 200


@pytest.mark.parametrize("action", ACTIONS)
def test_form_without_a_session_leads_to_the_sign_in(service: Service, keys: list[str], action: str) -> None:
    answer = Browser(service).post(f"/account/{action}", {"fingerprint": keys[0], "form_token": "0" * 64})
    assert answer.headers["Location"] == "/?note=nobody"
    assert len(fingerprints(service)) == 2


def test_page_offers_to_add_a_key_only_if_enrolment_is_possible(service: Service, alice: Browser) -> None:
    service.replace(open_enrolment=None)
    assert "Add a key" not in alice.get("/account/keys").text
    answer = alice.post("/account/keys/enrol", form(alice))
    assert (answer.status_code, heading(answer)) == (404, "Not here")


def test_adding_a_key_leads_to_the_page_of_an_enrolment(service: Service, alice: Browser) -> None:
    asked = []

    def enrol(session: Session, now: object) -> str:
        asked.append((session.user, now))
        return "https://id.example.org/enrol/x"

    service.replace(open_enrolment=enrol)
    assert "Add a key" in alice.get("/account/keys").text
    assert alice.post("/account/keys/enrol", form(alice)).headers["Location"] == "https://id.example.org/enrol/x"
    assert asked == [("alice", service.clock())]
    service.clock.advance(600)
    assert alice.post("/account/keys/enrol", form(alice)).headers["Location"] == "/?note=again"
    assert len(asked) == 1


# --- my activity


def test_my_activity_describes_each_event_in_plain_words(service: Service, alice: Browser, keys: list[str]) -> None:
    opened = service.open("alice", app="Webmail", context={"ip": "192.0.2.7"})
    alice.get(opened["page_url"])
    service.accept("alice", code="000000", fingerprint=keys[0], client_ip="192.0.2.8", challenge=opened["id"])
    service.accept("alice", code=opened["code"], fingerprint=keys[0], client_ip="192.0.2.7")
    service.reject(challenge=service.open("alice")["id"])
    page = alice.get("/account/activity").text
    for text in ("Login to Webmail", "Passed with ssh", "Wrong code", "Page opened", "The login was denied in ssh.",
                 "Signed in to my keys with ssh", "192.0.2.7", "192.0.2.8", "22 Nov 2026, 12:00 UTC"):  # fmt: skip
        assert text in page, text
    assert page.index("The login was denied") < page.index("Login to Webmail"), "the newest comes first"
    assert page.index("Wrong code") < page.index("Passed with ssh"), "the steps of a login have their order"
    assert opened["code"] not in page


def test_style_sheet_keeps_the_blanks_of_its_texts(alice: Browser) -> None:
    page = alice.get("/account/activity").text
    assert '.happenings dt::after{content:": "}' in page
    assert "  " not in page.partition("<style")[2].partition("</style>")[0]


def test_my_activity_names_the_key(service: Service, alice: Browser, keys: list[str]) -> None:
    """Finding U15: fingerprints tell people nothing."""
    service.store.keys.rename("alice", keys[0], "My <laptop>", service.clock())
    assert f"{keys[0]} (My &lt;laptop&gt;)</dd>" in alice.get("/account/activity").text


def test_person_with_one_key_is_asked_for_a_second_one(service: Service, alice: Browser) -> None:
    assert "You have one key." not in alice.get("/account/keys").text
    carol = Browser(service)
    carol.sign_in("carol", service.add_user("carol", ed25519("carol"))[0])
    assert "You have one key." in carol.get("/account/keys").text


def test_page_shows_only_activity_of_the_person(service: Service, alice: Browser) -> None:
    service.add_user("bob", ed25519("bob"))
    service.open("bob", app="Bob's own")
    assert "Bob" not in alice.get("/account/activity").text


def test_long_activity_is_split_into_pages(service: Service, alice: Browser, keys: list[str]) -> None:
    for number in range(60):
        Keys(service.store.database).rename("alice", keys[0], f"name {number}", service.clock())
    seen: list[str] = []
    path = "/account/activity"
    for _ in range(3):
        page = alice.get(path).text
        seen += [line.partition("<dd>")[2].partition("<")[0] for line in page.splitlines() if "<dt>Name" in line]
        if "Older" in page:
            path = "/account/activity?before=" + page.partition("before=")[2].partition('"')[0]
    assert seen == [f"name {number}" for number in reversed(range(60))]


@pytest.mark.parametrize("before", ["x", "-1", "9" * 30, "0", "%00", "1;drop"])
def test_malformed_place_in_the_activity_is_ignored(alice: Browser, before: str) -> None:
    assert alice.get(f"/account/activity?before={before}").status_code == 200


def test_unknown_event_shows_its_name(service: Service, alice: Browser) -> None:
    with service.store.database.write() as connection:
        event = {"at": service.clock(), "event": "moon.landed", "user_name": "alice", "facts": "{}"}
        connection.execute(audit_events.insert().values(**event))
    assert "moon.landed" in alice.get("/account/activity").text


def test_key_without_a_name_shows_its_kind(alice: Browser) -> None:
    assert ">Ed25519</h2>" in alice.get("/account/keys").text
    assert parse(ed25519("alice")).fingerprint in alice.get("/account/keys").text
