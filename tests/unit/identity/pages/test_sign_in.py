"""Tests the sign-in to "My keys" by SSH and its session. Most tests try to get in without the right."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import pytest
from fakes.public_keys import ed25519
from service.browser import FROM_HERE, ORIGIN, Browser, code_on, heading
from service.service import SETTINGS, Service

from sshaft_identity.database.tables import sessions
from sshaft_identity.service.app import create_app
from sshaft_identity.settings import Settings
from sshaft_identity.web.throttle import MAX_SIGN_INS


@pytest.fixture
def alice(service: Service) -> str:
    """Returns the fingerprint of Alice's key."""
    return service.add_user("alice", ed25519("alice"))[0]


@pytest.fixture
def browser(service: Service) -> Browser:
    return Browser(service)


def is_signed_in(browser: Browser) -> bool:
    return browser.get("/account/keys").status_code == 200


def count_sessions(service: Service) -> int:
    with service.store.database.read() as connection:
        return len(connection.execute(sessions.select()).all())


# --- the sign-in


def test_owner_of_the_key_is_signed_in(service: Service, browser: Browser, alice: str) -> None:
    code = browser.begin()
    assert len(code) == 8
    assert browser.get("/sign-in/ssh").status_code == 200, "there is no session before the SSH login"
    assert service.accept("alice", code=code, fingerprint=alice).status_code == 200
    assert browser.get("/sign-in/ssh").headers["Location"] == "/account/keys"
    assert "alice" in browser.get("/account/keys").text
    assert service.audited("challenge.consumed")
    assert [each["user"] for each in service.audited("session.started")] == ["alice"]


def test_link_to_the_activity_leads_there_after_the_sign_in(service: Service, browser: Browser, alice: str) -> None:
    """Finding U31: it led to the keys."""
    assert browser.get("/account/activity").headers["Location"] == "/?note=nobody"
    code = browser.begin()
    service.accept("alice", code=code, fingerprint=alice)
    assert browser.get("/sign-in/ssh").headers["Location"] == "/account/activity"
    browser.sign_in("alice", alice)  # once: this one leads to the keys


@pytest.mark.parametrize(
    "value",
    ["keys", "activity2", "person.", "person", "//evil.example", "https://evil.example", "person.%2f%2fevil.example",
     "person.../../evil", "", "desk/../x", "\r\nX: y", "x" * 500],
)  # fmt: skip
def test_cookie_of_the_wanted_page_leads_to_no_other_place(
    service: Service, browser: Browser, alice: str, value: str
) -> None:
    browser.cookies["__Host-sshaft-wanted"] = quote(value)
    code = browser.begin()
    service.accept("alice", code=code, fingerprint=alice)
    led_to = browser.get("/sign-in/ssh").headers["Location"]
    assert led_to == "/account/keys" or (led_to.startswith("/desk/people/") and "/" not in led_to[13:])


@pytest.mark.parametrize("path", ["/account/keys", "/account/keys/remove?fingerprint=x", "/account/activityx"])
def test_only_pages_to_come_back_to_are_remembered(browser: Browser, path: str) -> None:
    browser.get(path)
    assert "__Host-sshaft-wanted" not in browser.cookies


def test_signed_in_person_is_redirected_to_the_keys(browser: Browser, alice: str) -> None:
    browser.sign_in("alice", alice)
    assert browser.get("/").headers["Location"] == "/account/keys"


def test_cookies_are_bound_to_this_host_and_hidden_from_scripts(browser: Browser, alice: str) -> None:
    browser.post("/sign-in/ssh")
    (line,) = browser.set_cookies
    assert line.startswith("__Host-sshaft-ssh=")
    assert {"HttpOnly", "Path=/", "SameSite=strict", "Secure"} <= set(line.split("; "))
    code = code_on(browser.get("/sign-in/ssh"))
    browser.service.accept("alice", code=code, fingerprint=alice)
    browser.get("/sign-in/ssh")
    session, begun, known = (
        next(line for line in browser.set_cookies if f"__Host-{name}=" in line)
        for name in ("sshaft", "sshaft-ssh", "sshaft-known")
    )
    assert session.startswith("__Host-sshaft=")
    assert known.startswith("__Host-sshaft-known=")
    for line in (session, known):
        assert {"HttpOnly", "Path=/", "SameSite=lax", "Secure"} <= set(line.split("; "))
    assert "Domain" not in session
    assert "Max-Age=0" in begun


@pytest.mark.parametrize(
    ("url", "name"),
    [("http://127.0.0.1:8080", "sshaft-ssh"), ("http://localhost:8080", "sshaft-ssh"),
     ("http://id.example.org", "__Host-sshaft-ssh"), ("https://localhost", "__Host-sshaft-ssh")],
)  # fmt: skip
def test_cookies_over_http_to_loopback_have_no_prefix(service: Service, listening: Any, url: str, name: str) -> None:
    listening[0].app = create_app(service.store, Settings(public_url=url), service.clock)
    browser = Browser(service)
    browser.post("/sign-in/ssh", headers={"Origin": url})
    assert list(browser.cookies) == [name]


# --- who does not


def test_sign_in_works_only_in_the_browser_that_began_it(service: Service, browser: Browser, alice: str) -> None:
    other = Browser(service)
    service.accept("alice", code=browser.begin(), fingerprint=alice)
    assert other.get("/sign-in/ssh").headers["Location"] == "/?note=no_cookie"
    other.begin()
    assert other.get("/sign-in/ssh").status_code == 200
    assert not is_signed_in(other)


def test_token_of_a_sign_in_is_only_in_its_cookie(browser: Browser) -> None:
    browser.begin()
    (token,) = browser.cookies.values()
    page = browser.get("/sign-in/ssh")
    assert token not in page.text + str(page.headers)


def test_challenge_of_a_client_signs_nobody_in(service: Service, browser: Browser, alice: str) -> None:
    opened = service.open(None, app="My keys")
    browser.cookies["__Host-sshaft-ssh"] = opened["page_url"].rpartition("/")[2]
    service.accept("alice", code=opened["code"], fingerprint=alice)
    assert browser.get("/sign-in/ssh").headers["Location"] == "/?note=no_cookie"
    assert count_sessions(service) == 0


def test_sign_in_counts_once(service: Service, browser: Browser, alice: str) -> None:
    service.accept("alice", code=browser.begin(), fingerprint=alice)
    kept = dict(browser.cookies)
    assert browser.get("/sign-in/ssh").headers["Location"] == "/account/keys"
    again = Browser(service, kept)
    assert again.get("/sign-in/ssh").headers["Location"] == "/"
    assert not is_signed_in(again)
    assert count_sessions(service) == 1


def test_only_one_of_many_requests_gets_the_session(service: Service, browser: Browser, alice: str) -> None:
    service.accept("alice", code=browser.begin(), fingerprint=alice)
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(
                lambda _: service.call("GET", "/sign-in/ssh", headers={"Cookie": cookie}, allow_redirects=False),
                range(8),
            )
        )
    assert sorted(answer.headers["Location"] for answer in answers) == ["/"] * 7 + ["/account/keys"]
    assert count_sessions(service) == 1


def test_user_removed_after_the_ssh_login_is_not_signed_in(service: Service, browser: Browser, alice: str) -> None:
    service.accept("alice", code=browser.begin(), fingerprint=alice)
    service.store.revocation.remove_user("alice", service.clock())
    assert heading(browser.get("/sign-in/ssh")) == "Cancelled"
    assert count_sessions(service) == 0


def test_expired_sign_in_offers_a_new_one(service: Service, browser: Browser) -> None:
    browser.begin()
    service.clock.advance(300)
    page = browser.get("/sign-in/ssh")
    assert heading(page) == "Too late"
    assert 'action="/sign-in/ssh"' in page.text
    assert "Try again" in page.text


def test_passed_sign_in_waits_one_more_minute_for_its_browser(service: Service, browser: Browser, alice: str) -> None:
    service.accept("alice", code=browser.begin(), fingerprint=alice)
    service.clock.advance(360)
    assert browser.get("/sign-in/ssh").headers["Location"] == "/?note=no_cookie"
    assert count_sessions(service) == 0
    service.accept("alice", code=browser.begin(), fingerprint=alice)
    service.clock.advance(359)
    assert browser.get("/sign-in/ssh").headers["Location"] == "/account/keys"


def test_sign_in_is_fresh_from_the_time_of_the_ssh_login(service: Service, browser: Browser, alice: str) -> None:
    service.accept("alice", code=browser.begin(), fingerprint=alice)
    service.clock.advance(300)
    browser.get("/sign-in/ssh")
    question = f"/account/keys/remove?fingerprint={quote(alice)}"
    service.clock.advance(299)
    assert browser.get(question).status_code == 200
    service.clock.advance(1)
    assert browser.get(question).headers["Location"] == "/?note=again"


def test_new_sign_in_cancels_the_one_before(service: Service, browser: Browser, alice: str) -> None:
    first = browser.begin()
    second = browser.begin()
    assert service.accept("alice", code=first, fingerprint=alice).status_code != 200
    assert service.accept("alice", code=second, fingerprint=alice).status_code == 200


def test_one_address_may_have_only_so_many_open_sign_ins(service: Service, browser: Browser) -> None:
    """Finding S16: the page says when the next sign-in can begin."""
    for _ in range(MAX_SIGN_INS):
        assert Browser(service).post("/sign-in/ssh").status_code == 303
    page = browser.post("/sign-in/ssh")
    assert (page.status_code, heading(page)) == (429, "Too many sign-ins")
    assert "Try again in 300 seconds." in page.text
    service.clock.advance(300)
    assert browser.post("/sign-in/ssh").status_code == 303


def test_browser_whose_sign_in_is_under_way_may_begin_it_again(service: Service, browser: Browser) -> None:
    """Finding S16."""
    browser.begin()
    for _ in range(MAX_SIGN_INS):
        Browser(service).post("/sign-in/ssh")
    for _ in range(3):
        browser.begin()


def test_clock_that_was_set_back_does_not_block_sign_ins(service: Service) -> None:
    for _ in range(MAX_SIGN_INS + 1):
        Browser(service).post("/sign-in/ssh")
    service.clock.advance(-3600)
    assert Browser(service).post("/sign-in/ssh").status_code == 303


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://id.example.org"},
        {"Origin": "https://id.example.org:444"},
        {"Origin": "https://id.example.org.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": ORIGIN, "Sec-Fetch-Site": "cross-site"},
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"},
    ],
)
@pytest.mark.parametrize(
    "path", ["/sign-in/ssh", "/account/sign-out", "/account/keys/remove", "/account/keys/rename", "/challenge/x"]
)
def test_form_from_another_site_is_refused(
    service: Service, browser: Browser, path: str, headers: dict[str, str]
) -> None:
    page = browser.post(path, headers=headers)
    assert (page.status_code, heading(page)) == (403, "Not from here")
    assert not browser.set_cookies
    assert service.store.challenges.recent() == []


@pytest.mark.parametrize("headers", [FROM_HERE, {"Origin": ORIGIN}, {"Sec-Fetch-Site": "same-origin"}])
def test_one_header_of_the_browser_is_enough(browser: Browser, headers: dict[str, str]) -> None:
    assert browser.post("/sign-in/ssh", headers=headers).status_code == 303


@pytest.mark.parametrize(
    ("kind", "body"),
    [("text/plain", "a=b"), ("multipart/form-data; boundary=x", "a=b"), ("application/json", "{}"),
     ("application/x-www-form-urlencoded", "&".join(f"a{n}=b" for n in range(99))),
     ("application/x-www-form-urlencoded", b"\xff=%ff")],
)  # fmt: skip
def test_malformed_form_is_a_400_page(browser: Browser, kind: str, body: str) -> None:
    answer = browser.service.call("POST", "/sign-in/ssh", headers=FROM_HERE | {"Content-Type": kind}, data=body)
    assert answer.status_code == 400
    assert "Traceback" not in answer.text


# --- the session


def test_unused_session_ends(service: Service, browser: Browser, alice: str) -> None:
    browser.sign_in("alice", alice)
    service.clock.advance(29 * 60)
    assert is_signed_in(browser)
    service.clock.advance(29 * 60)
    assert is_signed_in(browser)
    service.clock.advance(30 * 60)
    assert browser.get("/account/keys").headers["Location"] == "/?note=nobody"


def test_session_ends_after_eight_hours_even_if_it_is_used(service: Service, browser: Browser, alice: str) -> None:
    browser.sign_in("alice", alice)
    for _ in range(8 * 3 - 1):
        service.clock.advance(20 * 60)
        assert is_signed_in(browser)
    service.clock.advance(20 * 60)
    assert not is_signed_in(browser)


def test_sign_out_ends_only_this_session(service: Service, browser: Browser, alice: str) -> None:
    other = Browser(service)
    browser.sign_in("alice", alice)
    other.sign_in("alice", alice)
    kept = dict(browser.cookies)
    assert browser.post("/account/sign-out", {"form_token": browser.form_token()}).status_code == 303
    assert not is_signed_in(Browser(service, kept)), "the token itself is no longer valid"
    assert is_signed_in(other)


def test_sign_out_everywhere_ends_all_sessions_of_the_person(service: Service, browser: Browser, alice: str) -> None:
    (bob,) = service.add_user("bob", ed25519("bob"))
    others = [Browser(service), Browser(service), Browser(service)]
    for each, user, key in zip(others, ("alice", "alice", "bob"), (alice, alice, bob), strict=True):
        each.sign_in(user, key)
    browser.sign_in("alice", alice)
    browser.post("/account/sign-out-everywhere", {"form_token": browser.form_token()})
    assert [is_signed_in(each) for each in (browser, *others)] == [False, False, False, True]


def test_sessions_end_with_their_user(service: Service, browser: Browser, alice: str) -> None:
    browser.sign_in("alice", alice)
    service.store.revocation.remove_user("alice", service.clock())
    assert not is_signed_in(browser)
    assert count_sessions(service) == 0


def test_new_sign_in_replaces_the_session_and_its_token(service: Service, browser: Browser, alice: str) -> None:
    (bob,) = service.add_user("bob", ed25519("bob"))
    browser.sign_in("alice", alice)
    kept = Browser(service, dict(browser.cookies))
    browser.sign_in("bob", bob)
    assert "bob" in browser.get("/account/keys").text
    assert not is_signed_in(kept)


@pytest.mark.parametrize("value", ["", "x", "A" * 43, "A" * 5000, "é" * 43, "' OR 1=1 --aaaaaaaaaaaaa"])
def test_invented_token_has_no_session(service: Service, value: str) -> None:
    headers = {"Cookie": f"__Host-sshaft={value}".encode("latin-1")}
    answer = service.call("GET", "/account/keys", headers=headers, allow_redirects=False)  # type: ignore[arg-type]
    assert answer.headers["Location"] == "/?note=nobody"


def test_tokens_are_stored_hashed_and_never_logged(service: Service, browser: Browser, alice: str) -> None:
    browser.begin()
    (begun,) = browser.cookies.values()
    browser.sign_in("alice", alice)
    token = browser.cookies["__Host-sshaft"]
    with service.store.database.read() as connection:
        stored = str(connection.execute(sessions.select()).all())
    assert token not in stored
    assert token not in service.log.getvalue()
    assert begun not in service.log.getvalue()


def test_every_address_is_below_the_path_of_public_url(service: Service, listening: Any) -> None:
    settings = SETTINGS.model_copy(update={"public_url": f"{ORIGIN}/ssh"})
    listening[0].app = create_app(service.store, settings, service.clock)
    browser = Browser(service)
    assert 'action="/ssh/sign-in/ssh"' in browser.get("/").text
    assert browser.post("/sign-in/ssh").headers["Location"] == "/ssh/sign-in/ssh"
    assert 'data-base="/ssh/sign-in/ssh"' in browser.get("/sign-in/ssh").text
