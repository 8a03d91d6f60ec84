"""Tests the page of an approval. Most tests try to see or do what is for another person. `tests/web` has a browser."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
import requests
from fakes.openid_provider import CLIENT_ID, CLIENT_SECRET, OpenIdProvider
from fakes.public_keys import ed25519
from service.browser import FROM_HERE, ORIGIN, Browser, code_on, heading
from service.hosts import Host
from service.service import SETTINGS, START, Clock, Service, wrong

from sshaft_identity.service.app import create_app
from sshaft_identity.service.named_files import read_named_files
from sshaft_identity.settings import changed

HERE = "127.0.0.1"
CALLBACK = "/sign-in/oidc/callback"
ANSWERS = ("approve", "deny", "report")


@pytest.fixture
def keys(service: Service) -> dict[str, str]:
    return {name: service.add_user(name, ed25519(name))[0] for name in ("alice", "bob")}


@pytest.fixture
def host(service: Service, keys: dict[str, str]) -> Host:
    assert keys
    return Host(service)


@pytest.fixture
def opened(host: Host) -> dict[str, Any]:
    return host.open(client_ip=HERE)


@pytest.fixture
def alice(service: Service, keys: dict[str, str]) -> Browser:
    browser = Browser(service)
    browser.sign_in("alice", keys["alice"])
    return browser


@pytest.fixture
def bob(service: Service, keys: dict[str, str]) -> Browser:
    browser = Browser(service)
    browser.sign_in("bob", keys["bob"])
    return browser


def path_of(opened: dict[str, Any]) -> str:
    return str(opened["page"]).removeprefix(ORIGIN)


def digits_on(page: requests.Response) -> str | None:
    found = re.search(r'<code id="digits"><i>(\d{3})</i><i>(\d{3})</i></code>', page.text)
    return found and found[1] + found[2]


def answers_on(page: requests.Response) -> list[str]:
    return sorted(set(re.findall(r'action="/approve/[\w-]+/(approve|deny|report)"', page.text)))


def answer(browser: Browser, opened: dict[str, Any], what: str, **more: str) -> requests.Response:
    form = {"form_token": browser.form_token()} | more
    return browser.post(f"{path_of(opened)}/{what}", form)


def use(service: Service, listening: Any, **values: Any) -> None:
    """Restarts the application with other settings."""
    settings = changed(SETTINGS, values)
    app = create_app(service.store, settings, service.clock, named=read_named_files(settings, Path("/")))
    listening[0].app = service.app = app


# --- the way of a login


def test_person_signs_in_by_ssh_approves_and_gets_the_digits(
    service: Service, host: Host, opened: dict[str, Any], keys: dict[str, str]
) -> None:
    browser = Browser(service)
    first = browser.get(path_of(opened))
    assert heading(first) == "Do you want to log in here?"
    assert [each in first.text for each in ("build-1", "alice", "sshd", HERE)] == [True] * 4
    assert browser.post(f"{path_of(opened)}/sign-in/ssh").headers["Location"] == "/sign-in/ssh"
    code = code_on(browser.get("/sign-in/ssh"))
    service.accept("alice", code=code, fingerprint=keys["alice"], confirmed=True)
    assert browser.get("/sign-in/ssh").headers["Location"] == path_of(opened)
    page = browser.get(path_of(opened))
    assert (heading(page), answers_on(page)) == ("Approve this SSH login?", ["approve", "deny", "report"])
    assert answer(browser, opened, "approve").headers["Location"] == path_of(opened)
    page = browser.get(path_of(opened))
    digits = digits_on(page)
    assert digits
    assert heading(page) == "Type these digits into ssh"
    identity = host.verify(opened["id"], digits).json()
    assert (identity["sub"], identity["amr"], identity["acr"]) == ("alice", ["swk", "pop"], "urn:sshaft:acr:code")
    page = browser.get(path_of(opened))
    assert (heading(page), digits_on(page)) == ("The digits were right", None)
    host.end(opened["id"], "passed")
    assert heading(browser.get(path_of(opened))) == "You are logged in"


@pytest.fixture
def provider(clock: Clock) -> Iterator[OpenIdProvider]:
    with OpenIdProvider(clock, ORIGIN + CALLBACK) as provider:
        provider.user = {"sub": "subject-a", "preferred_username": "alice"}
        provider.bend_claims = {
            "amr": ["pwd", "two words", 7, "otp"],
            "acr": "gold",
            "auth_time": int(START.timestamp()),
        }
        yield provider


@pytest.fixture
def at_provider(service: Service, provider: OpenIdProvider, listening: Any, tmp_path: Path) -> OpenIdProvider:
    (tmp_path / "secret").write_text(CLIENT_SECRET)
    secret = {"client_id": CLIENT_ID, "client_secret_file": str(tmp_path / "secret")}
    use(service, listening, oidc={"issuer": provider.issuer, "label": "Example", **secret})
    return provider


def test_person_signs_in_at_the_provider_and_comes_back(
    service: Service, host: Host, opened: dict[str, Any], at_provider: OpenIdProvider
) -> None:
    browser = Browser(service)
    assert "Sign in with Example" in browser.get(path_of(opened)).text
    sent = browser.get(f"{path_of(opened)}/sign-in/oidc").headers["Location"]
    query = dict(parse_qsl(at_provider.answer(sent)))
    assert browser.get(f"{CALLBACK}?{urlencode(query)}").headers["Location"] == path_of(opened)
    assert "sshaft-wanted" not in " ".join(browser.cookies), "the next sign-in leads to my keys"
    answer(browser, opened, "approve")
    digits = digits_on(browser.get(path_of(opened)))
    identity = host.verify(opened["id"], str(digits)).json()
    assert identity["auth_time"] == int(START.timestamp())
    assert (identity["sub"], identity["acr"]) == ("alice", "gold")
    assert identity["amr"] == [], "one of the values is no text"


def test_methods_of_the_provider_reach_the_host(
    service: Service, host: Host, opened: dict[str, Any], at_provider: OpenIdProvider
) -> None:
    at_provider.bend_claims = {"amr": ["pwd", "otp", "two words"], "acr": 3}
    browser = Browser(service)
    sent = browser.get(f"{path_of(opened)}/sign-in/oidc").headers["Location"]
    browser.get(f"{CALLBACK}?{at_provider.answer(sent)}")
    answer(browser, opened, "approve")
    identity = host.verify(opened["id"], str(digits_on(browser.get(path_of(opened))))).json()
    assert (identity["amr"], identity["acr"]) == (["otp", "pwd"], None)


def test_another_person_may_take_over_the_browser(
    service: Service, host: Host, at_provider: OpenIdProvider, bob: Browser
) -> None:
    opened = host.open(client_ip=HERE)
    assert service.app
    assert heading(bob.get(path_of(opened))) == "Not your SSH login"
    left = bob.post(f"{path_of(opened)}/sign-out", {"form_token": bob.form_token()})
    assert left.headers["Location"] == f"{path_of(opened)}?again=1"
    page = bob.get(left.headers["Location"])
    assert heading(page) == "Do you want to log in here?"
    assert f'{path_of(opened)}/sign-in/oidc?again=1"' in page.text
    assert "max_age=0" in bob.get(f"{path_of(opened)}/sign-in/oidc?again=1").headers["Location"]
    assert at_provider.calls


# --- who sees and does what


def test_stranger_sees_neither_answers_nor_digits_nor_the_key(
    service: Service, host: Host, keys: dict[str, str], alice: Browser
) -> None:
    opened = host.open(client_ip=HERE, key_fingerprint=keys["alice"])
    stranger = Browser(service)
    page = stranger.get(path_of(opened))
    assert (answers_on(page), digits_on(page), keys["alice"] in page.text) == ([], None, False)
    answer(alice, opened, "approve")
    page = stranger.get(path_of(opened))
    assert (heading(page), answers_on(page), digits_on(page)) == ("Sign in again", [], None)
    for what in ANSWERS:
        assert stranger.post(f"{path_of(opened)}/{what}", {"form_token": "x"}).headers["Location"] == path_of(opened)
    assert host.state(opened["id"]) == "approved"


def test_another_person_sees_and_does_nothing(host: Host, opened: dict[str, Any], alice: Browser, bob: Browser) -> None:
    """Attack: the page of somebody else's login is sent to a person, or the person looks at it."""
    for before, state in (("", "pending"), ("approve", "approved")):
        if before:
            answer(alice, opened, before)
        page = bob.get(path_of(opened))
        assert (heading(page), answers_on(page), digits_on(page)) == ("Not your SSH login", [], None)
        assert "alice" not in page.text.partition("<body")[2]
        for what in ANSWERS:
            assert answer(bob, opened, what, confirmed="yes").status_code == 303
        assert host.state(opened["id"]) == state


def test_person_whom_the_subject_names_may_approve_another_account(host: Host, bob: Browser, alice: Browser) -> None:
    opened = host.open(client_ip=HERE, account="deploy", user="alice", subject="bob")
    assert answers_on(alice.get(path_of(opened))) == []
    answer(bob, opened, "approve")
    assert digits_on(bob.get(path_of(opened)))
    assert digits_on(alice.get(path_of(opened))) is None


def test_another_site_cannot_answer_for_the_person(
    service: Service, host: Host, opened: dict[str, Any], alice: Browser, bob: Browser
) -> None:
    token = alice.form_token()
    for what in ANSWERS:
        foreign = alice.post(
            f"{path_of(opened)}/{what}", {"form_token": token}, headers={"Origin": "https://evil.example"}
        )
        forged = alice.post(f"{path_of(opened)}/{what}", {"form_token": bob.form_token()}, headers=FROM_HERE)
        assert (foreign.status_code, forged.status_code) == (403, 403)
        assert alice.get(f"{path_of(opened)}/{what}").status_code == 405
    assert host.state(opened["id"]) == "pending"
    assert service.audited("approval.approved") == []


@pytest.mark.parametrize(
    "refusal", [("deny", "denied", "Denied"), ("report", "reported", "Denied and reported")], ids=["deny", "report"]
)
@pytest.mark.parametrize("approved", [False, True])
def test_person_denies_or_reports_at_any_time(
    service: Service, host: Host, opened: dict[str, Any], alice: Browser, refusal: tuple[str, str, str], approved: bool
) -> None:
    what, state, title = refusal
    if approved:
        answer(alice, opened, "approve")
    digits = digits_on(alice.get(path_of(opened))) or "000000"
    answer(alice, opened, what)
    page = alice.get(path_of(opened))
    assert (heading(page), answers_on(page), digits_on(page)) == (title, [], None)
    assert host.verify(opened["id"], digits).json()["state"] == state
    (facts,) = service.audited(f"approval.{state}")
    assert (facts["user"], facts["browser_address"]) == ("alice", HERE)


def test_report_is_a_warning_in_the_log(service: Service, opened: dict[str, Any], alice: Browser) -> None:
    answer(alice, opened, "report")
    (event,) = service.events("approval.reported")
    assert (event["level"], event["user"], event["host"]) == ("warning", "alice", "build-1")


def test_answers_of_two_tabs_do_not_change_the_first(host: Host, opened: dict[str, Any], alice: Browser) -> None:
    answer(alice, opened, "deny")
    assert answer(alice, opened, "approve").headers["Location"] == path_of(opened)
    assert host.state(opened["id"]) == "denied"


def test_sign_out_hides_the_digits(opened: dict[str, Any], alice: Browser) -> None:
    answer(alice, opened, "approve")
    kept = dict(alice.cookies)
    alice.post("/account/sign-out", {"form_token": alice.form_token()})
    alice.cookies = kept
    page = alice.get(path_of(opened))
    assert (heading(page), digits_on(page)) == ("Sign in again", None)


def test_unknown_page_is_a_page_that_says_so(service: Service, alice: Browser) -> None:
    for browser in (Browser(service), alice):
        page = browser.get("/approve/AAAAAAAAAAAAAAAAAAAAAA")
        assert (page.status_code, heading(page)) == (404, "No such SSH login")


# --- what the page shows


def test_wrong_digits_are_counted_on_the_page(host: Host, opened: dict[str, Any], alice: Browser) -> None:
    answer(alice, opened, "approve")
    digits = str(digits_on(alice.get(path_of(opened))))
    host.verify(opened["id"], wrong(digits))
    assert "Wrong digits, 2 tries left" in alice.get(path_of(opened)).text
    for by in (2, 3):
        host.verify(opened["id"], wrong(digits, by))
    page = alice.get(path_of(opened))
    assert heading(page) == "Denied"
    assert "Wrong digits were typed too often." in page.text


@pytest.mark.parametrize(("end", "title"), [("gone", "The SSH login is over"), (None, "Too late")])
def test_page_says_how_it_ended(
    service: Service, host: Host, opened: dict[str, Any], alice: Browser, end: str | None, title: str
) -> None:
    if end:
        host.end(opened["id"], end)
    else:
        service.clock.advance(300)
    assert heading(alice.get(path_of(opened))) == title


def test_page_names_the_key_of_the_person(service: Service, host: Host, keys: dict[str, str], alice: Browser) -> None:
    service.store.keys.rename("alice", keys["alice"], "laptop", service.clock())
    own, foreign = (host.open(client_ip=HERE, key_fingerprint=keys[name]) for name in ("alice", "bob"))
    assert "laptop" in alice.get(path_of(own)).text
    assert "a key that is not one of yours here" in alice.get(path_of(foreign)).text


@pytest.mark.parametrize(
    ("seconds", "key", "said"),
    [
        (12 * 3600, True, "for 12 hours, for this key from this network."),
        (86400, True, "for 1 day, for this key"),
        (5400, False, "for 90 minutes, from this network, also without a key."),
    ],
)
def test_page_says_how_long_the_host_remembers(
    host: Host, keys: dict[str, str], alice: Browser, seconds: int, key: bool, said: str
) -> None:
    asked = {"key_fingerprint": keys["alice"]} if key else {}
    opened = host.open(remember=seconds, **asked)
    assert f"The host asks for no other approval {said}" in alice.get(opened["page"]).text
    assert "no other approval" not in alice.get(host.open(**asked)["page"]).text


def test_page_shows_which_host_has_really_asked(host: Host, alice: Browser) -> None:
    """A hostile host may claim another name, but not the name of its client."""
    page = alice.get(path_of(host.open(client_ip=HERE, host="payroll")))
    assert re.search(r"payroll</bdi> \(registered here as <bdi[^>]*>build-1", page.text)


def test_foreign_text_is_escaped(host: Host, alice: Browser) -> None:
    text = alice.get(path_of(host.open(client_ip=HERE, account="<script>alert(1)</script>{{7*7}}"))).text
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert "{{7*7}}" in text


def test_owners_of_networks_are_named(
    service: Service, host: Host, listening: Any, alice: Browser, tmp_path: Path
) -> None:
    table = tmp_path / "networks"
    table.write_text("127.0.0.0/8 This computer\n192.0.2.0/24 Example University\n")
    use(service, listening, networks=str(table))
    assert "(Example University)" in alice.get(path_of(host.open(client_ip="192.0.2.7"))).text


# --- addresses


def test_person_at_another_address_confirms_first(host: Host, alice: Browser) -> None:
    opened = host.open(client_ip="203.0.113.5")
    page = alice.get(path_of(opened))
    assert "This browser is at another address" in page.text
    refused = answer(alice, opened, "approve")
    assert refused.status_code == 403
    assert "Confirm first that you began this login yourself." in refused.text
    assert ('http-equiv="refresh"' in page.text, 'http-equiv="refresh"' in refused.text) == (True, False)
    assert host.state(opened["id"]) == "pending"
    answer(alice, opened, "approve", confirmed="yes")
    assert host.state(opened["id"]) == "approved"


def test_service_may_want_the_same_network(service: Service, host: Host, listening: Any, alice: Browser) -> None:
    use(service, listening, address_check="require")
    opened = host.open(client_ip="203.0.113.5")
    assert answers_on(alice.get(path_of(opened))) == ["deny", "report"]
    assert answer(alice, opened, "approve", confirmed="yes").status_code == 403
    assert host.state(opened["id"]) == "pending"
    answer(alice, opened, "report")
    assert host.state(opened["id"]) == "reported"


# --- news


def test_news_hold_no_digits_and_no_person(
    host: Host, opened: dict[str, Any], alice: Browser, service: Service
) -> None:
    answer(alice, opened, "approve")
    news = service.call("GET", f"{path_of(opened)}/state").json()
    assert news == {"state": "approved", "mark": "approved-0", "expires_in": 300}
    assert host.state(opened["id"]) == "approved"


def test_page_hears_of_each_change_at_once(
    service: Service, host: Host, opened: dict[str, Any], alice: Browser
) -> None:
    with requests.get(f"{service.url}{path_of(opened)}/events", stream=True, timeout=40) as stream:
        lines = (line for line in stream.iter_lines(chunk_size=1, decode_unicode=True) if line.startswith("data"))
        assert '"pending"' in next(lines)
        answer(alice, opened, "approve")
        assert '"approved"' in next(lines)
        digits = str(digits_on(alice.get(path_of(opened))))
        host.verify(opened["id"], wrong(digits))
        assert '"approved-1"' in next(lines)
        host.verify(opened["id"], digits)
        assert '"verified"' in next(lines)
        host.end(opened["id"], "passed")
        assert '"passed"' in next(lines)
        assert list(lines) == []
