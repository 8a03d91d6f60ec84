"""Attacks from the browser: pages of other sites, other people, stolen and planted cookies, forged headers."""

from collections.abc import Iterator
from http.cookies import SimpleCookie
from typing import Any

import pytest
import requests
from service.web_service import WebService, web_service
from websockets.exceptions import InvalidStatus

from sshaft_demo.web_client import WebBrowser

pytestmark = pytest.mark.slow

EVIL = "https://evil.example"
NO_SUCH = "x" * 43


@pytest.fixture(scope="module")
def service() -> Iterator[WebService]:
    with web_service() as service:
        yield service


@pytest.mark.parametrize("origin", [EVIL, "null", "", "http://127.0.0.1", "http://localhost:1"])
@pytest.mark.parametrize("path", ["/api/terminals", "/sign-out", f"/api/terminals/{NO_SUCH}/close"])
def test_page_of_another_site_changes_nothing(service: WebService, path: str, origin: str) -> None:
    browser = service.browser()
    assert browser.post(path, {"target": "host"}, origin=origin).status_code == 403
    assert browser.terminals() == []


def test_request_without_an_origin_changes_nothing(service: WebService) -> None:
    browser = service.browser()
    answer = browser.http.post(f"{service.url}/api/terminals", json={"target": "host"}, timeout=10)
    assert (answer.status_code, answer.json()["error"]) == (403, "foreign_origin")


def test_two_origins_are_none(service: WebService) -> None:
    browser = service.browser()
    headers = {"Origin": service.url, "origin": EVIL}
    answer = requests.post(
        f"{service.url}/api/terminals", headers=headers, json={}, cookies=browser.http.cookies, timeout=10
    )
    assert answer.status_code == 403


@pytest.mark.parametrize("origin", [EVIL, "null", "http://127.0.0.1"])
def test_page_of_another_site_gets_no_websocket(service: WebService, origin: str) -> None:
    browser = service.browser()
    terminal = browser.open()
    with pytest.raises(InvalidStatus) as refused:
        browser.socket(terminal, origin=origin)
    assert refused.value.response.status_code == 403
    assert not browser.terminals()[0]["connected"]
    browser.post(f"/api/terminals/{terminal}/close")


def test_program_without_an_origin_gets_no_websocket(service: WebService) -> None:
    browser = service.browser()
    with pytest.raises(InvalidStatus) as refused:
        browser.socket(browser.open(), origin="")
    assert refused.value.response.status_code == 403


def test_another_persons_terminal_is_one_that_does_not_exist(service: WebService) -> None:
    owner, other = service.browser("owner"), service.browser("other")
    terminal = owner.open()
    assert other.terminals() == []
    assert other.attach(terminal).wait_for_end() == 4004
    theirs, unknown = (other.post(f"/api/terminals/{each}/close") for each in (terminal, NO_SUCH))
    assert (theirs.status_code, theirs.content) == (unknown.status_code, unknown.content) == (404, unknown.content)
    assert [each["id"] for each in owner.terminals()] == [terminal]


def test_second_browser_of_the_person_takes_the_terminal_over(service: WebService) -> None:
    first, second = service.browser("both"), service.browser("both")
    terminal = first.open()
    page = first.attach(terminal)
    page.wait_until("open")
    other = second.attach(terminal)
    other.wait_until("open")
    assert page.wait_for_end() == 4003
    second.post("/sign-out")
    assert other.wait_for_end() == 4001, "the page of the session that has ended"
    assert [each["id"] for each in first.terminals()] == [terminal], "it belongs to the first session"


def test_cookie_from_before_the_sign_in_is_worth_nothing(service: WebService) -> None:
    """Session fixation: an attacker plants a cookie in the browser, and the person signs in."""
    browser, planted = WebBrowser(service.url), "a" * 43
    browser.http.cookies.set("sshaft-web", planted)
    service.sign_in(browser)
    assert planted not in browser.http.cookies.get_dict().values() or len(browser.http.cookies) > 1
    thief = WebBrowser(service.url)
    thief.http.cookies.set("sshaft-web", planted)
    assert thief.post("/api/terminals", {"target": "host"}).status_code == 401


def test_session_of_an_attacker_does_not_become_the_persons(service: WebService) -> None:
    """The browser of the person has the attacker's own session, and the person signs in."""
    attacker = service.browser("attacker")
    stolen = attacker.http.cookies.get("sshaft-web")
    victim = WebBrowser(service.url)
    victim.http.cookies.set("sshaft-web", stolen, domain="127.0.0.1", path="/")
    service.sign_in(victim, "victim")
    assert victim.http.cookies.get("sshaft-web") != stolen
    assert "victim" not in attacker.http.get(service.url, timeout=10).text
    assert attacker.post("/api/terminals", {"target": "host"}).status_code == 401, "it ended with the sign-in"


def test_answer_of_the_provider_for_another_browser_signs_nobody_in(service: WebService) -> None:
    """Login CSRF: the attacker's own code and state come to the browser of another person."""
    attacker, victim = WebBrowser(service.url), WebBrowser(service.url)
    back = service.begin_sign_in(attacker)
    for _ in range(2):
        answer = victim.http.get(back, timeout=10, allow_redirects=False)
        assert (answer.status_code, "Not signed in" in answer.text) == (403, True)
        victim.http.get(f"{service.url}/sign-in", timeout=10, allow_redirects=False)  # an attempt of its own
    assert victim.http.get(f"{service.url}/api/terminals", timeout=10).status_code == 401


def test_answer_of_the_provider_counts_once(service: WebService) -> None:
    browser = WebBrowser(service.url)
    back = service.begin_sign_in(browser)
    cookies = dict(browser.http.cookies)
    assert browser.http.get(back, timeout=10, allow_redirects=False).status_code == 303
    assert requests.get(back, cookies=cookies, timeout=10, allow_redirects=False).status_code == 403


def test_forged_host_header_leads_nowhere(service: WebService) -> None:
    answer = requests.get(f"{service.url}/sign-in", headers={"Host": "evil.example"}, timeout=10, allow_redirects=False)
    assert "evil.example" not in answer.headers["Location"]
    browser = service.browser()
    headers = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "Origin": "http://evil.example"}
    assert browser.http.post(f"{service.url}/sign-out", headers=headers, timeout=10).status_code == 403
    assert "evil.example" not in requests.get(service.url, headers=headers, timeout=10).text


@pytest.mark.parametrize("path", ["/", "/sign-in"])
def test_browser_at_another_address_is_sent_to_the_same_page_at_public_url(service: WebService, path: str) -> None:
    other, headers = service.url.replace("127.0.0.1", "localhost"), {"X-Forwarded-Host": "evil.example"}
    answer = requests.get(f"{other}{path}?next=https://evil.example", headers=headers, timeout=10)
    sent_to = [each.headers["Location"] for each in answer.history]
    assert sent_to[:2] == [f"{service.url}{path}?moved", f"{service.url}{path}"]


def test_proxy_that_changes_the_host_sends_no_browser_round_and_round(service: WebService) -> None:
    page = requests.get(service.url, headers={"Host": "upstream"}, timeout=10)
    assert (page.status_code, len(page.history), "Sign in with" in page.text) == (200, 1, True)


def test_only_pages_are_sent_to_public_url(service: WebService) -> None:
    headers = {"Host": "localhost", "Origin": "http://localhost"}
    for method, path, status in (
        ("POST", "/sign-out", 403),
        ("POST", "/api/terminals", 401),
        ("GET", "/api/terminals", 401),
        ("GET", f"/terminals/{NO_SUCH}/socket", 404),
        ("GET", "//evil.example", 404),
    ):
        answer = requests.request(method, service.url + path, headers=headers, timeout=10, allow_redirects=False)
        assert (answer.status_code, "Location" in answer.headers) == (status, False), path


def test_client_address_of_a_stranger_is_not_believed(service: WebService) -> None:
    browser = service.browser()
    headers = {"Origin": service.url, "X-Forwarded-For": "203.0.113.9"}
    answer = browser.http.post(f"{service.url}/api/terminals", json={"target": "host"}, headers=headers, timeout=10)
    assert answer.status_code == 201


@pytest.mark.parametrize(
    "message",
    [
        {"target": "127.0.0.1"},
        {"target": "host", "host": "evil.example"},
        {"target": "host", "port": 25},
        {"target": "host", "user": "root"},
        {"target": "host", "columns": 100000},
        {"target": "host", "columns": "80"},
        {"target": ["host"]},
        [],
        None,
    ],
)
def test_request_names_no_place_to_connect_to(service: WebService, message: Any) -> None:
    browser = service.browser()
    assert browser.post("/api/terminals", message).status_code in (400, 404)
    assert browser.terminals() == []


def test_large_request_is_refused(service: WebService) -> None:
    browser = service.browser()
    assert browser.post("/api/terminals", {"target": "x" * 20000}).status_code == 413


def test_cookies_are_out_of_reach_of_scripts_and_other_sites(service: WebService) -> None:
    answer = service.sign_in(WebBrowser(service.url))
    _, *session = answer.headers["Set-Cookie"].rpartition("sshaft-web=")
    cookie = SimpleCookie("".join(session))["sshaft-web"]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"], cookie["domain"]) == (True, "lax", "/", "")


def test_every_answer_has_safe_headers(service: WebService) -> None:
    browser = service.browser()
    for path in ("/", "/api/terminals", "/nothing", "/sign-in/callback", "/sign-in"):
        headers = browser.http.get(service.url + path, timeout=10, allow_redirects=False).headers
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"], path
        assert (headers["X-Frame-Options"], headers["X-Content-Type-Options"]) == ("DENY", "nosniff")
        assert headers["Cache-Control"] == "no-store"


def test_token_never_reaches_the_browser(service: WebService) -> None:
    browser = service.browser()
    page = service.terminal(browser)
    seen = [
        browser.http.get(service.url, timeout=10).text,
        str(browser.terminals()),
        str(page.news),
        str(dict(browser.http.cookies)),
    ]
    assert not any('"access"' in each or "'access'" in each for each in seen)


def test_health_check_is_answered_at_any_address(service: WebService) -> None:
    """Kubernetes asks at the address of the pod. A page would send it to `public_url`."""
    headers = {"Host": "10.0.0.7:8090"}
    answer = requests.get(f"{service.url}/healthz", headers=headers, allow_redirects=False, timeout=10)
    assert (answer.status_code, answer.text) == (200, "ok\n")
