"""Attacks the help desk: nobody gets in without a role, and nobody changes anything without a fresh SSH login."""

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
import requests
from fakes.openid_provider import CLIENT_ID, CLIENT_SECRET, OpenIdProvider
from fakes.public_keys import ed25519
from pydantic import ValidationError
from service.browser import ORIGIN, Browser, code_on, heading
from service.service import Clock, Service
from unit.identity.desk.conftest import DESK, use

from sshaft.public_key import parse
from sshaft_identity.challenges.challenges import Wish
from sshaft_identity.challenges.sign_in import confirm_by_ssh
from sshaft_identity.people.roles import DeskSettings
from sshaft_identity.settings import Settings

PAGES = ("/desk", "/desk?q=a", "/desk/people/alice", "/desk/waiting", "/desk/clients", "/desk/confirm/alice")
ORDERS = ("unlock", "remove-key", "remove-all-keys", "sign-out", "invite")
CALLBACK = "/sign-in/oidc/callback"


def order(browser: Browser, action: str, person: str = "alice", **fields: str) -> requests.Response:
    form = {"form_token": browser.form_token(), "sure": "yes"} | fields
    return browser.post(f"/desk/people/{person}/{action}", form)


def fingerprints(service: Service, user: str = "alice") -> list[str]:
    return [each.key.fingerprint for each in service.store.keys.all(user)]


def lock(service: Service, user: str, fingerprint: str) -> None:
    """Tries wrong codes until the user is locked out."""
    for number in range(10):
        opened = service.open(user)
        wrong = "000001" if opened["code"] == "000000" else "000000"
        service.accept(user, f"wrong-{user}-{number}", code=wrong, fingerprint=fingerprint)
    assert service.store.challenges.locked_until(user, service.clock())


def everything(service: Service, keys: dict[str, str]) -> tuple[Any, ...]:
    """Returns what an order could have changed."""
    store, now = service.store, service.clock()
    events = [each for event in ("enrolment.opened", "session.all_ended") for each in service.audited(event)]
    return fingerprints(service), store.challenges.locked_until("alice", now), events, sorted(keys)


# --- without a role


def test_person_without_a_role_gets_the_answer_of_an_unknown_page(alice: Browser) -> None:
    for path in PAGES:
        answer, unknown = alice.get(path), alice.get("/no/such/page")
        assert (answer.status_code, answer.content) == (404, unknown.content)
        changing = {"x-request-id", "date"}
        first, second = (set(each.headers.items()) for each in (answer, unknown))
        assert {name.lower() for name, _ in first ^ second} <= changing
        assert {name.lower() for name in answer.headers} == {name.lower() for name in unknown.headers}


def test_order_of_a_person_without_a_role_does_nothing(service: Service, alice: Browser, keys: dict[str, str]) -> None:
    for action in (*ORDERS, "export"):
        before = everything(service, keys)
        assert order(alice, action, "bob", fingerprint=keys["bob"]).status_code == 404
        assert everything(service, keys) == before
        assert fingerprints(service, "bob") == [keys["bob"]]


def test_stranger_is_sent_to_the_sign_in_whether_there_is_a_help_desk_or_not(
    service: Service, keys: dict[str, str], listening: Any
) -> None:
    assert keys
    for desk in (DESK, {}):
        use(service, listening, desk=desk)
        assert {Browser(service).get(path).headers["Location"] for path in PAGES} == {"/?note=nobody"}


def test_help_desk_is_off_without_a_holder_of_a_role(carol: Browser, service: Service, listening: Any) -> None:
    assert carol.get("/desk").status_code == 200
    use(service, listening, desk={})
    assert carol.get("/desk").status_code == 404
    assert "/desk" not in carol.get("/account/keys").text


def test_link_to_the_help_desk_is_for_its_members_only(alice: Browser, rita: Browser) -> None:
    assert "/desk" not in alice.get("/account/keys").text
    assert 'href="/desk"' in rita.get("/account/keys").text


# --- roles that end


def test_lost_role_ends_the_access_at_once(carol: Browser, service: Service, listening: Any) -> None:
    assert carol.get("/desk/people/alice").status_code == 200
    use(service, listening, desk={"reader": {"users": ("carol",)}})
    assert order(carol, "sign-out").status_code == 403
    use(service, listening, desk={"desk": {"users": ("somebody",)}})
    assert carol.get("/desk/people/alice").status_code == 404
    assert order(carol, "sign-out").status_code == 404


def test_removed_or_signed_out_member_is_out_at_once(carol: Browser, rita: Browser, service: Service) -> None:
    form = {"form_token": carol.form_token(), "sure": "yes"}
    service.store.revocation.sign_out("carol", service.clock())
    assert carol.get("/desk").headers["Location"] == "/?note=nobody"
    assert carol.post("/desk/people/alice/sign-out", form).headers["Location"] == "/?note=nobody"
    service.store.revocation.remove_user("rita", service.clock())
    assert rita.get("/desk").headers["Location"] == "/?note=nobody"


def test_new_person_with_the_name_of_a_former_member_has_no_role(service: Service, carol: Browser) -> None:
    """A name is given out anew, an id is not."""
    assert carol.get("/desk").status_code == 200
    service.store.revocation.remove_user("carol", service.clock())
    key = service.add_user("carol", ed25519("another carol"))[0]
    other = Browser(service)
    other.sign_in("carol", key)
    assert other.get("/desk").status_code == 404


# --- readers


def test_reader_changes_nothing(service: Service, rita: Browser, keys: dict[str, str]) -> None:
    lock(service, "alice", keys["alice"])
    before = everything(service, keys)
    for action in ORDERS:
        answer = order(rita, action, fingerprint=keys["alice"])
        assert (answer.status_code, heading(answer)) == (403, "You may only look")
        assert everything(service, keys) == before
        page = rita.get("/desk/people/alice").text
        assert "You may look, and change nothing." in page
        assert f"/desk/people/alice/{action}" not in page


def test_member_changes_nothing_of_themselves(service: Service, carol: Browser, keys: dict[str, str]) -> None:
    for action in ORDERS:
        answer = order(carol, action, "carol", fingerprint=keys["carol"])
        assert (answer.status_code, heading(answer)) == (403, "Not for yourself"), action
    assert fingerprints(service, "carol") == [keys["carol"]]
    assert "/desk/people/carol/sign-out" not in carol.get("/desk/people/carol").text


# --- the fresh SSH login


def test_order_without_a_fresh_pass_asks_for_one(service: Service, carol: Browser, keys: dict[str, str]) -> None:
    service.clock.advance(600)
    before = everything(service, keys)
    for action in (*ORDERS, "export"):
        answer = order(carol, action, fingerprint=keys["alice"])
        assert answer.headers["Location"] == "/desk/people/alice?note=confirm"
        assert everything(service, keys) == before
        assert 'action="/desk/confirm/alice"' in carol.get("/desk/people/alice?note=confirm").text


def confirm(service: Service, browser: Browser, name: str, fingerprint: str) -> requests.Response:
    """Passes the SSH login that the help desk asks for."""
    assert browser.post("/desk/confirm/alice").headers["Location"] == "/desk/confirm/alice"
    code = code_on(browser.get("/desk/confirm/alice"))
    passed = service.accept(name, code=code, fingerprint=fingerprint, confirmed=True)
    assert passed.status_code == 200, passed.text
    return browser.get("/desk/confirm/alice")


def test_ssh_login_of_the_help_desk_stays_in_its_browser_and_can_be_cancelled(carol: Browser) -> None:
    """A QR code would take the page token out of its cookie."""
    carol.post("/desk/confirm/alice")
    assert 'class="qr"' not in carol.get("/desk/confirm/alice").text
    assert 'content="0;url=/desk/people/alice"' in carol.post("/desk/confirm/alice/cancel").text


def test_ssh_login_confirms_the_session_for_ten_minutes(service: Service, carol: Browser, keys: dict[str, str]) -> None:
    service.clock.advance(600)
    assert confirm(service, carol, "carol", keys["carol"]).headers["Location"] == "/desk/people/alice?note=confirmed"
    assert "fingerprint" in service.audited("session.passed")[0]
    service.clock.advance(599)
    assert order(carol, "sign-out").headers["Location"] == "/desk/people/alice?note=signed_out"
    service.clock.advance(1)
    assert order(carol, "sign-out").headers["Location"] == "/desk/people/alice?note=confirm"


def test_one_ssh_login_is_good_for_twenty_orders(service: Service, carol: Browser, keys: dict[str, str]) -> None:
    """A stolen session cannot remove everybody's keys within the ten minutes."""
    for action in ["sign-out", "unlock", "export", "sign-out"] * 5:
        answer = order(carol, action)
        assert not answer.headers.get("Location", "").endswith("note=confirm"), answer.headers
    for action in ("remove-all-keys", "export", "unlock"):
        assert order(carol, action).headers["Location"] == "/desk/people/alice?note=confirm"
    assert fingerprints(service) == [keys["alice"]]
    service.clock.advance(1)
    confirm(service, carol, "carol", keys["carol"])
    assert order(carol, "remove-all-keys").headers["Location"].endswith("note=keys_removed")


def test_confirmation_is_cancelled_or_denied_in_the_browser(service: Service, carol: Browser) -> None:
    for action, place in (("cancel", "/desk/people/alice"), ("deny", "/desk/confirm/alice")):
        carol.post("/desk/confirm/alice")
        page = carol.get("/desk/confirm/alice").text
        assert carol.cookies["__Host-sshaft-desk"] not in page, "the token is in no address"
        assert f'action="/desk/confirm/alice/{action}"' in page
        answer = carol.post(f"/desk/confirm/alice/{action}")
        assert place in answer.headers.get("Location", answer.text)
    assert service.audited("challenge.cancelled")
    assert service.audited("challenge.rejected")


def test_confirmation_counts_once_and_only_in_the_browser_that_began_it(
    service: Service, carol: Browser, keys: dict[str, str]
) -> None:
    other = Browser(service)
    other.sign_in("carol", keys["carol"])
    service.clock.advance(600)
    carol.post("/desk/confirm/-")
    kept = dict(carol.cookies)
    code = code_on(carol.get("/desk/confirm/-"))
    service.accept("carol", code=code, fingerprint=keys["carol"], confirmed=True)
    assert other.get("/desk/confirm/-").headers["Location"] == "/desk?note=no_cookie"
    assert carol.get("/desk/confirm/-").headers["Location"] == "/desk?note=confirmed"
    carol.cookies = kept
    assert carol.get("/desk/confirm/-").headers["Location"] == "/desk"
    assert order(other, "sign-out").headers["Location"].endswith("note=confirm")
    assert len(service.audited("session.passed")) == 1


def test_login_of_another_person_or_of_a_client_confirms_nothing(
    service: Service, carol: Browser, keys: dict[str, str]
) -> None:
    service.clock.advance(600)
    for opened in (service.open("carol", app="Help desk, to change something"), service.open("alice")):
        carol.cookies["__Host-sshaft-desk"] = opened["page_url"].rpartition("/")[2]
        assert carol.get("/desk/confirm/-").headers["Location"] == "/desk?note=no_cookie"
    rita = Browser(service)
    rita.sign_in("rita", keys["rita"])
    rita.post("/desk/confirm/-")
    code = code_on(rita.get("/desk/confirm/-"))
    service.accept("rita", code=code, fingerprint=keys["rita"], confirmed=True)
    carol.cookies["__Host-sshaft-desk"] = rita.cookies["__Host-sshaft-desk"]
    assert carol.get("/desk/confirm/-").headers["Location"] == "/desk?note=no_cookie"
    assert rita.get("/desk/confirm/-").headers["Location"] == "/desk?note=confirmed", "carol has not taken the result"
    carol.post("/desk/confirm/-")
    code = code_on(carol.get("/desk/confirm/-"))
    assert service.accept("alice", code=code, fingerprint=keys["alice"], confirmed=True).status_code != 200
    assert carol.get("/desk/confirm/-").status_code == 200
    assert [each["user"] for each in service.audited("session.passed")] == ["rita"]


def test_result_of_another_person_confirms_no_session(service: Service, carol: Browser, keys: dict[str, str]) -> None:
    """The transaction itself compares, whatever the page has checked before."""
    assert service.app
    session = service.app.state.sshaft.sessions.of_token(carol.cookies["__Host-sshaft"], service.clock())
    challenge = service.store.challenges.open(Wish("alice", timedelta(minutes=5)), service.clock())
    service.accept("alice", challenge=challenge.challenge.id, code=challenge.code, fingerprint=keys["alice"])
    done = confirm_by_ssh(service.store.database, session, challenge.challenge.id, service.clock())
    assert (done[0] is not None, done[1]) == (True, False)


def test_removed_key_confirms_nothing_any_more(service: Service, carol: Browser, keys: dict[str, str]) -> None:
    """A thief of a key is out as soon as the key is removed."""
    second = parse(ed25519("carol's second"))
    service.store.keys.add("carol", [(second, "")], service.clock())
    browser = Browser(service)
    browser.sign_in("carol", second.fingerprint)
    service.clock.advance(600)
    confirm(service, carol, "carol", second.fingerprint)
    service.store.revocation.remove_key(second.fingerprint, service.clock())
    assert carol.get("/desk").headers["Location"] == "/?note=nobody"
    assert browser.get("/desk").headers["Location"] == "/?note=nobody"
    assert keys


# --- forms of other sites


def test_form_of_another_site_or_session_is_refused(
    service: Service, carol: Browser, rita: Browser, keys: dict[str, str]
) -> None:
    before = everything(service, keys)
    form = {"form_token": carol.form_token(), "sure": "yes", "fingerprint": keys["alice"]}
    for action in (*ORDERS, "export"):
        path = f"/desk/people/alice/{action}"
        for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site", "Origin": ORIGIN}, {}):
            assert carol.post(path, form, headers=headers).status_code == 403
        assert carol.post(path, form | {"form_token": rita.form_token()}).status_code == 403
        assert carol.post(path, {"sure": "yes", "fingerprint": keys["alice"]}).status_code == 403
        assert everything(service, keys) == before


def test_confirmation_does_not_begin_by_a_form_of_another_site(carol: Browser) -> None:
    assert carol.post("/desk/confirm/-", headers={"Origin": "https://evil.example"}).status_code == 403
    assert carol.get("/desk/people/alice/unlock").status_code == 405


@pytest.mark.parametrize(
    "person", ["//evil.example", "..%2f..%2f", "%0d%0aX: y", "https:evil", "-x", "alice%3Fnote=unlocked&x="]
)
def test_path_of_the_confirmation_leads_to_no_other_place(carol: Browser, person: str) -> None:
    answer = carol.get(f"/desk/confirm/{person}")
    assert answer.headers.get("Location") in (None, "/desk?note=no_cookie")


# --- groups of the provider


@pytest.fixture
def provider(clock: Clock) -> Iterator[OpenIdProvider]:
    with OpenIdProvider(clock, ORIGIN + CALLBACK) as provider:
        provider.user = {"sub": "subject-c", "preferred_username": "dora", "groups": ["staff", "helpdesk"]}
        yield provider


@pytest.fixture
def dora(service: Service, keys: dict[str, str], provider: OpenIdProvider, listening: Any, tmp_path: Path) -> Browser:
    """Returns a browser of dora, whom only a group of the provider makes a member."""
    assert keys
    keys["dora"] = service.add_user("dora", ed25519("dora"))[0]
    use_provider(service, provider, listening, tmp_path)
    return Browser(service)


def use_provider(
    service: Service,
    provider: OpenIdProvider,
    listening: Any,
    directory: Path,
    *,
    groups: Any = ("helpdesk",),
    users: Any = (),
) -> None:
    (directory / "secret").write_text(CLIENT_SECRET)
    oidc = {
        "issuer": provider.issuer, "client_id": CLIENT_ID, "client_secret_file": str(directory / "secret"),
        "groups_claim": "groups",
    }  # fmt: skip
    use(service, listening, oidc=oidc, desk={"desk": {"groups": groups, "users": users}})


def come_back(browser: Browser, provider: OpenIdProvider, to: str = "/account/keys") -> None:
    query = dict(parse_qsl(provider.answer(browser.get("/sign-in/oidc").headers["Location"])))
    assert browser.get(f"{CALLBACK}?{urlencode(query)}").headers["Location"] == to


def test_group_gives_the_role_and_a_change_still_needs_ssh(
    service: Service, dora: Browser, provider: OpenIdProvider, keys: dict[str, str]
) -> None:
    come_back(dora, provider)
    assert dora.get("/desk/people/alice").status_code == 200
    assert order(dora, "sign-out").headers["Location"].endswith("note=confirm")
    assert confirm(service, dora, "dora", keys["dora"]).headers["Location"].endswith("note=confirmed")
    assert order(dora, "sign-out").headers["Location"].endswith("note=signed_out")
    service.store.keys.add("dora", [(parse(ed25519("dora's second")), "")], service.clock())
    service.store.revocation.remove_key(keys["dora"], service.clock())
    assert dora.get("/desk").status_code == 200, "the session by the provider goes on"
    assert order(dora, "sign-out").headers["Location"].endswith("note=confirm"), "the pass of the removed key does not"


@pytest.mark.parametrize(
    "groups", [[], ["Helpdesk"], "helpdesk-old", ["helpdesk "], {"helpdesk": True}, [["helpdesk"]], None, 7,
               ["helpdesk", 7]],
)  # fmt: skip
def test_other_group_gives_no_role(dora: Browser, provider: OpenIdProvider, groups: Any) -> None:
    provider.user["groups"] = groups
    come_back(dora, provider)
    assert dora.get("/desk").status_code == 404


def test_session_keeps_only_groups_that_have_a_role(service: Service, dora: Browser, provider: OpenIdProvider) -> None:
    come_back(dora, provider)
    session = service.app and service.app.state.sshaft.sessions.of_token(dora.cookies["__Host-sshaft"], service.clock())
    assert session
    assert session.groups == {"helpdesk"}


def test_group_counts_only_in_the_session_of_the_provider_that_named_it(
    service: Service, dora: Browser, provider: OpenIdProvider, keys: dict[str, str], listening: Any, tmp_path: Path
) -> None:
    come_back(dora, provider)
    by_ssh = Browser(service)
    by_ssh.sign_in("dora", keys["dora"])
    assert by_ssh.get("/desk").status_code == 404
    assert dora.get("/desk").status_code == 200
    with OpenIdProvider(service.clock, ORIGIN + CALLBACK) as other:
        use_provider(service, other, listening, tmp_path)
        assert dora.get("/desk").status_code == 404, "the group of the former provider"


def stay(service: Service, browser: Browser, seconds: int) -> None:
    """Lets this time go by in a browser that is used now and then."""
    for passed in range(0, seconds, 1200):
        assert browser.get("/account/keys").status_code == 200
        service.clock.advance(min(1200, seconds - passed))


def test_lost_group_ends_the_access_when_the_provider_is_asked_again(
    service: Service, dora: Browser, provider: OpenIdProvider
) -> None:
    come_back(dora, provider)
    stay(service, dora, 2999)  # an hour, less the ten minutes for a provider that does not say when it asked the person
    assert dora.get("/desk").status_code == 200
    service.clock.advance(1)
    provider.user["groups"] = ["staff"]
    for path in ("/desk", "/desk/people/alice", "/desk/waiting"):
        page = dora.get(path)
        assert (page.status_code, heading(page)) == (403, "One moment")
        assert '<meta http-equiv="refresh" content="0;url=/sign-in/oidc">' in page.text
        assert "alice" not in page.text
    assert dora.get("/account/keys").status_code == 200, "the session of the person goes on"
    come_back(dora, provider, to="/desk")
    assert dora.get("/desk").status_code == 404


def test_member_who_still_has_the_group_comes_back_to_the_person(
    service: Service, dora: Browser, provider: OpenIdProvider, keys: dict[str, str]
) -> None:
    come_back(dora, provider)
    confirm(service, dora, "dora", keys["dora"])
    token = dora.form_token()
    stay(service, dora, 3600)
    assert 'href="/desk"' in dora.get("/account/keys").text
    answer = dora.post("/desk/people/alice/sign-out", {"form_token": token})
    assert (answer.status_code, heading(answer)) == (403, "One moment")
    assert service.audited("session.all_ended") == [], "nothing was done"
    come_back(dora, provider, to="/desk/people/alice")
    assert dora.get("/desk/people/alice").status_code == 200
    assert order(dora, "sign-out").headers["Location"].endswith("note=confirm"), "a change needs ssh again"
    assert "__Host-sshaft-wanted" not in dora.cookies


def test_member_by_name_is_never_sent_to_the_provider(
    service: Service, keys: dict[str, str], provider: OpenIdProvider, listening: Any, tmp_path: Path
) -> None:
    use_provider(service, provider, listening, tmp_path, users=("carol",))
    carol = Browser(service)
    carol.sign_in("carol", keys["carol"])
    stay(service, carol, 7200)
    assert carol.get("/desk").status_code == 200


def test_group_that_loses_its_role_ends_the_access_at_once(
    service: Service, dora: Browser, provider: OpenIdProvider, listening: Any, tmp_path: Path
) -> None:
    come_back(dora, provider)
    use_provider(service, provider, listening, tmp_path, groups=("others",))
    assert dora.get("/desk").status_code == 404


# --- settings


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"desk": {"desk": {"groups": ["helpdesk"]}}}, "groups_claim"),
        (
            {"desk": {"reader": {"groups": ["x"]}}, "oidc": {"issuer": "https://a.example", "client_id": "x"}},
            "groups_claim",
        ),
        ({"desk": {"desk": {"users": ["a b"]}}}, "pattern"),
        ({"desk": {"desk": {"groups": [""]}}}, "at least 1"),
        ({"desk": {"admin": {}}}, "Extra"),
    ],
)
def test_settings_that_give_no_role_as_meant_are_refused(members: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Settings.model_validate_json(json.dumps(members))


def test_member_of_both_roles_may_change() -> None:
    settings = DeskSettings.model_validate_json(
        '{"desk": {"users": ["carol"]}, "reader": {"users": ["carol", "rita"]}}'
    )
    assert [settings.role_of(each, ()) for each in ("carol", "rita", "alice", "Carol")] == [
        "desk",
        "reader",
        None,
        None,
    ]


def test_no_page_of_the_help_desk_has_a_form_without_a_token(carol: Browser) -> None:
    """The confirmation and the search are the exceptions: they change nothing."""
    for path in ("/desk?q=a", "/desk/people/alice"):
        for form in re.findall(r"<form.*?</form>", carol.get(path).text, re.DOTALL):
            assert "form_token" in form or "/desk/confirm/" in form or 'role="search"' in form
