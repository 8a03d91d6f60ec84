"""Tests the forms of a login's page: "This isn't me", "Cancel" and the short command."""

import re
from html import unescape

import pytest
import requests
from fakes.public_keys import ed25519
from service.browser import ORIGIN, Browser, heading
from service.relying_party import BACK, RelyingParty, back
from service.service import Service

from sshaft_identity.clients.clients import Client, Scope
from sshaft_identity.people.activity import Activity

FORMS = ("deny", "cancel", "alias")


@pytest.fixture
def alice(service: Service) -> str:
    return service.add_user("alice", ed25519("alice"))[0]


@pytest.fixture
def browser(service: Service) -> Browser:
    return Browser(service)


@pytest.fixture
def shop(service: Service) -> RelyingParty:
    return RelyingParty(service)


def led_to(answer: requests.Response) -> str:
    """Returns where the page leads by itself, also without scripts."""
    assert (answer.status_code, heading(answer)) == (200, "Cancelled"), answer.text
    found = re.search(r'<meta http-equiv="refresh" content="0;url=([^"]*)">', answer.text)
    assert found, answer.text
    assert f'href="{found[1]}" rel="noreferrer">Go back</a>' in answer.text
    return unescape(found[1])


# --- "This isn't me"


@pytest.mark.usefixtures("alice")
def test_person_denies_a_login_in_the_browser(service: Service, browser: Browser) -> None:
    opened = service.open(app="Wiki", context={"ip": "192.0.2.7"})
    assert "This isn't me" in browser.get(opened["page_url"]).text
    answer = browser.post(f"{opened['page_url']}/deny")
    assert answer.headers["Location"] == opened["page_url"].removeprefix(ORIGIN)
    assert heading(browser.get(opened["page_url"])) == "Denied"
    assert service.show(opened["id"])["state"] == "rejected"
    (told,) = service.audited("challenge.rejected")
    assert (told["user"], told["reason"], told["page_address"]) == ("alice", "not_me", "127.0.0.1")
    (event,) = service.events("challenge.rejected")
    assert (event["level"], event["user"], event["reason"]) == ("warning", "alice", "not_me")
    (row,) = Activity(service.store.database).of("alice").happenings[:1]
    assert row.newest.sentence == "Somebody said in the browser that the login was not theirs."


def test_denied_login_takes_no_code_any_more(service: Service, browser: Browser, alice: str) -> None:
    opened = service.open()
    browser.post(f"{opened['page_url']}/deny")
    assert service.accept(code=opened["code"], fingerprint=alice).status_code == 410
    assert service.show(opened["id"])["state"] == "rejected"


def test_login_that_has_passed_is_neither_denied_nor_cancelled(service: Service, browser: Browser, alice: str) -> None:
    opened = service.open()
    assert service.accept(code=opened["code"], fingerprint=alice).status_code == 200
    for form in ("deny", "cancel"):
        assert browser.post(f"{opened['page_url']}/{form}").status_code == 303
    assert service.show(opened["id"])["state"] == "accepted"
    assert service.audited("challenge.rejected") == service.audited("challenge.cancelled") == []


def test_login_that_names_nobody_offers_no_denial(service: Service, browser: Browser) -> None:
    assert "This isn't me" not in browser.get(service.open(None)["page_url"]).text


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "headers",
    [{}, {"Origin": "https://evil.example"}, {"Origin": ORIGIN, "Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}],
)
def test_other_site_cannot_send_the_forms(
    service: Service, browser: Browser, form: str, headers: dict[str, str]
) -> None:
    opened = service.open()
    answer = browser.post(f"{opened['page_url']}/{form}", {"has": "yes"}, headers=headers)
    assert (answer.status_code, browser.cookies) == (403, {})
    assert service.show(opened["id"])["state"] == "pending"


@pytest.mark.usefixtures("alice")
@pytest.mark.parametrize("form", ["deny", "cancel"])
def test_only_the_browser_that_owns_the_login_ends_it(
    service: Service, browser: Browser, shop: RelyingParty, form: str
) -> None:
    """A stranger who learns the address of a login, which holds no secret, does not end the login of a person."""
    page, _ = shop.begin(browser, login_hint="alice")
    assert Browser(service).post(f"{page}/{form}").status_code == 404
    challenge = service.store.challenges.recent()[0]
    assert challenge.state == "pending"
    assert Browser(service).post(f"/challenge/{challenge.id}/{form}").status_code == 404
    browser.post(f"{page}/{form}")
    assert service.store.challenges.recent()[0].state in ("rejected", "cancelled")


@pytest.mark.parametrize("form", FORMS)
def test_forms_are_no_links(service: Service, browser: Browser, form: str) -> None:
    assert browser.get(f"{service.open()['page_url']}/{form}").status_code == 405


# --- "Cancel"


@pytest.mark.usefixtures("alice")
def test_cancelled_login_leads_back_to_the_relying_party(
    service: Service, browser: Browser, shop: RelyingParty
) -> None:
    page, _ = shop.begin(browser, login_hint="alice")
    finish = led_to(browser.post(f"{page}/cancel"))
    assert finish == f"{page}/finish"
    came = back(browser.get(finish))
    assert (came["error"], came["state"]) == ("access_denied", "the state")
    assert came["error_description"] == "the login was cancelled, or a newer login replaced it"
    (told,) = service.audited("challenge.cancelled")
    assert (told["reason"], told["page_address"]) == ("cancelled_in_browser", "127.0.0.1")


@pytest.mark.usefixtures("alice")
def test_cancelled_login_is_answered_by_post_where_the_relying_party_wants_that(
    browser: Browser, shop: RelyingParty
) -> None:
    page, _ = shop.begin(browser, login_hint="alice", response_mode="form_post")
    answer = browser.get(led_to(browser.post(f"{page}/cancel")))
    assert f'action="{BACK}"' in answer.text
    assert 'name="error" value="access_denied"' in answer.text


def test_cancelled_login_leads_to_the_return_url(service: Service, browser: Browser) -> None:
    client = Client("app", frozenset([Scope.CHALLENGES]), return_urls=("https://app.example.org",))
    service.store.clients.add(client, service.clock())
    url = "https://app.example.org/back?a=1&b=%22%3E"
    opened = service.open(by="app", return_url=url)
    assert led_to(browser.post(f"{opened['page_url']}/cancel")) == url
    assert service.show(opened["id"], by="app")["state"] == "cancelled"


def test_cancelled_login_without_a_way_back_shows_that_it_is_cancelled(service: Service, browser: Browser) -> None:
    opened = service.open()
    page = opened["page_url"].removeprefix(ORIGIN)
    assert browser.post(f"{page}/cancel").headers["Location"] == page
    assert heading(browser.get(page)) == "Cancelled"


def test_cancelled_sign_in_leads_to_the_ways_to_sign_in(browser: Browser) -> None:
    browser.begin()
    assert led_to(browser.post("/sign-in/ssh/cancel")) == "/"
    assert heading(browser.get("/sign-in/ssh")) == "Cancelled"


# --- the short command


def test_page_shows_the_short_command_after_the_person_has_said_so(service: Service, browser: Browser) -> None:
    opened = service.open()
    page = opened["page_url"].removeprefix(ORIGIN)
    assert f">{opened['ssh_command']}</code>" in browser.get(page).text
    assert browser.post(f"{page}/alias", {"has": "yes"}).headers["Location"] == page
    (line,) = browser.set_cookies
    assert line.startswith("__Host-sshaft-alias=this-computer-has-the-alias; ")
    assert {"HttpOnly", "SameSite=lax", "Secure"} <= set(line.split("; "))
    shown = browser.get(page).text
    assert f">ssh mfa {opened['code']}</code>" in shown
    assert f"The whole command is <code>{opened['ssh_command']}</code>" in shown
    browser.post(f"{page}/alias", {"has": "no"})
    assert browser.cookies == {}
    assert f">{opened['ssh_command']}</code>" in browser.get(page).text


@pytest.mark.parametrize("value", ["", "yes", "this-computer-has-the-alias-x", "a" * 26])
def test_other_cookie_changes_no_command(service: Service, browser: Browser, value: str) -> None:
    opened = service.open()
    browser.cookies["__Host-sshaft-alias"] = value
    assert f">{opened['ssh_command']}</code>" in browser.get(opened["page_url"]).text
