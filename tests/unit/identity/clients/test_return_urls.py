"""Tests return URLs: only registered prefixes are allowed, and a URL is never a script."""

import re
from html import unescape

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from service.service import Service, wrong

from sshaft_identity.clients.clients import Client, Scope
from sshaft_identity.clients.return_urls import allows, checked, checked_prefix

APP = "https://app.example.org/login"
BACK = f"{APP}/again?user=alice&next=%2Fmail#top"


@pytest.fixture(autouse=True)
def shop(service: Service) -> None:
    service.add_user("alice")
    service.store.clients.add(
        Client("shop", frozenset([Scope.CHALLENGES]), return_urls=[APP, "http://127.0.0.1:8080"]), service.clock()
    )


def asked(service: Service, url: object) -> requests.Response:
    headers = service.bearer(Scope.CHALLENGES, "shop")
    return service.call("POST", "/api/v1/challenges", json={"user": "alice", "return_url": url}, headers=headers)


def way_back(service: Service, opened: dict[str, str]) -> tuple[str, str, bool] | None:
    """Returns the URL and the label of the link, and whether it is visible."""
    page = service.call("GET", opened["page_url"].removeprefix("https://id.example.org")).text
    found = re.search(
        r'<p class="actions" id="return"( hidden)?><a [^>]*href="([^"]*)" rel="noreferrer">(.*?)</a>', page
    )
    return found and (unescape(found[2]), found[3], not found[1])


# --- what is an address to lead back to


UPWARDS = ["..%2f", "..%2F", "%2e%2e%2f", "..%5c", "x%2f..%2f..%2f", "..%252f", "%252e%252e/", "..;/", "..;a=b%2f",
           "..%20/", "..%09/", "..%00/", "%2525252e%2525252e%2525252f"]  # fmt: skip
"""What some browser, proxy or server takes for `../`."""


@pytest.mark.parametrize("path", ["a%2fb", "a..b", "..a/b", "a%20b", "100%25", "...", "caf%C3%A9"])
def test_return_url_may_have_encoded_characters(path: str) -> None:
    assert checked(f"{APP}/{path}")


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)", "JAVASCRIPT:alert(1)//https://app.example.org/login", "data:text/html,x",
        "//app.example.org/login", "/login", "", "https://", "https:///login", "https:app.example.org/login", "http://app.example.org/login",
        "ftp://app.example.org/login", "https://user@app.example.org/login", "https://app.example.org:x@evil.example/login",
        "https://app.example.org@evil.example/login", "https://app.example.org\\@evil.example/login", "https://evil.example\\/login",
        f"{APP}\n", f"\t{APP}", f" {APP}", f"{APP}\x00", f"{APP}/\x1b[31m", f"{APP}/\u202e", "https://app.example.org:99999/login",
        "https://äpp.example.org/login", f"{APP}/../admin", f"{APP}/%2e%2E/admin", f"{APP}/.%2e", f"{APP}/./x",
        *(f"{APP}/{up}admin" for up in UPWARDS),
        f'{APP}/"><script>',
        "https://app.example.org:0/login", "https://[::1/login", "http://127.0.0.1.evil.example/", "http://localhost.evil.example/",
        f"{APP}/{'x' * 2048}",
    ],
)  # fmt: skip
def test_malformed_return_url_is_refused(service: Service, url: str) -> None:
    """Also "unproven" behind finding S22: proxies and servers read `..%2f` as a way up."""
    with pytest.raises(ValueError, match=r"."):
        checked(url)
    answer = asked(service, url)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert answer.json()["detail"].startswith("return_url: ")


@pytest.mark.parametrize(
    "url",
    ["https://evil.example/login", "https://app.example.org.evil.example/login", "https://evil.example/https://app.example.org/login",
     "https://app.example.org:8443/login", "https://app.example.org/", "https://app.example.org/loginx", "https://app.example.org/LOGIN",
     "https://sub.app.example.org/login", "http://127.0.0.1:8081/", "http://localhost:8080/", "http://[::1]:8080/"],
)  # fmt: skip
def test_return_url_below_no_registered_prefix_is_refused(service: Service, url: str) -> None:
    answer = asked(service, url)
    assert (answer.status_code, answer.json()["error"]) == (403, "return_url_not_allowed")
    assert service.events("challenge.created") == []


@pytest.mark.parametrize(
    "url",
    [
        APP,
        BACK,
        f"{APP}/",
        f"{APP}?next=/../x",
        "https://APP.example.org:443/login",
        "http://127.0.0.1:8080",
        "http://127.0.0.1:8080/x",
    ],
)
def test_return_url_at_or_below_a_registered_prefix_is_accepted(service: Service, url: str) -> None:
    answer = asked(service, url)
    assert answer.status_code == 201, answer.text


def test_client_without_a_registered_prefix_may_use_no_return_url(service: Service) -> None:
    headers = service.bearer(Scope.CHALLENGES, "other")
    answer = service.call("POST", "/api/v1/challenges", json={"user": "alice", "return_url": APP}, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (403, "return_url_not_allowed")


@pytest.mark.parametrize("url", [f"{APP}?", f"{APP}?x=y", f"{APP}#", "javascript:alert(1)", "https://*.example.org/"])
def test_malformed_prefix_cannot_be_registered(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        checked_prefix(url)


@given(st.text(max_size=60))
def test_accepted_url_has_the_host_of_its_prefix(more: str) -> None:
    try:
        url = checked("https://app.example.org" + more)
    except ValueError:
        return
    if allows(["https://app.example.org"], url):
        assert re.fullmatch(r"https://app\.example\.org(:0*443?|:)?([/?#].*)?", url)


# --- the page


def test_page_links_to_the_return_url_only_after_the_end(service: Service) -> None:
    opened = asked(service, BACK).json()
    found = way_back(service, opened)
    assert found
    assert found[2] is False
    assert service.accept(challenge=opened["id"], code=opened["code"]).status_code == 200
    assert way_back(service, opened) == (BACK, "Continue", True)


@pytest.mark.parametrize("end", ["expired", "cancelled", "denied", "tried out"])
def test_page_of_a_failed_login_offers_another_try(service: Service, end: str) -> None:
    opened = asked(service, BACK).json()
    match end:
        case "expired":
            service.clock.advance(301)
        case "cancelled":
            service.store.challenges.cancel(opened["id"], service.clock())
        case "denied":
            assert service.reject(challenge=opened["id"]).status_code == 200
        case "tried out":
            for _ in range(5):
                service.accept(challenge=opened["id"], code=wrong(opened["code"]))
    assert way_back(service, opened) == (BACK, "Try again", True)


def test_page_without_a_return_url_has_no_link(service: Service) -> None:
    opened = service.open()
    service.clock.advance(301)
    assert way_back(service, opened) is None
