"""Tests the external MFA of Entra ID against a simulator of Microsoft."""

import base64
import hmac
import html
import re
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from fakes.entra import APP_ID, TENANT, Entra
from fakes.public_keys import ed25519, sk_ed25519
from joserfc import jwt
from joserfc.jwk import RSAKey
from service.browser import ORIGIN, Browser, code_on, heading
from service.relying_party import give_rsa_key
from service.service import Service

from sshaft_identity.clients.clients import Client, Scope

ELSEWHERE = {"Origin": "https://login.microsoftonline.com", "Sec-Fetch-Site": "cross-site"}


@pytest.fixture
def entra(service: Service) -> Iterator[Entra]:
    give_rsa_key(service)
    with Entra(service.clock) as entra:
        service.store.clients.add(
            Client("entra", frozenset([Scope.CHALLENGES]), faces={"entra": entra.options()}), service.clock()
        )
        yield entra


@pytest.fixture
def alice(service: Service) -> str:
    """The fingerprint of her key."""
    return service.add_user("alice", ed25519("alice"))[0]


@pytest.fixture
def browser(service: Service) -> Browser:
    return Browser(service)


def send(browser: Browser, form: dict[str, str]) -> requests.Response:
    return browser.post("/entra/authorize", form, headers=ELSEWHERE)


def posted(entra: Entra, answer: requests.Response) -> dict[str, str]:
    """Returns the fields that the page posts to Entra by itself."""
    assert answer.status_code == 200, answer.text
    assert f'action="{entra.redirect_uri}"' in answer.text
    fields = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', answer.text)
    return {name: html.unescape(value) for name, value in fields}


def begin(browser: Browser, form: dict[str, str]) -> tuple[str, str]:
    answer = send(browser, form)
    assert answer.status_code == 303, answer.text
    page = answer.headers["Location"]
    return page, code_on(browser.get(page))


def log_in(
    service: Service, browser: Browser, entra: Entra, user: str, fingerprint: str, form: dict[str, str] | None = None
) -> dict[str, Any]:
    form = form or entra.form()
    page, code = begin(browser, form)
    passed = service.accept(user, code=code, fingerprint=fingerprint, confirmed=True)
    assert passed.status_code == 200, passed.text
    answer = posted(entra, browser.get(f"{page}/finish"))
    told = service.call("GET", "/entra/.well-known/openid-configuration").json()
    jwks = service.call("GET", told["jwks_uri"].removeprefix(ORIGIN)).json()
    return entra.accepts(told["issuer"], jwks, form, answer)


# --- a login


def test_a_login_ends_with_an_id_token_that_entra_accepts(
    service: Service, browser: Browser, entra: Entra, alice: str
) -> None:
    claims = log_in(service, browser, entra, "alice", alice)
    assert (claims["acr"], claims["amr"]) == ("possessionorinherence", ["swk"])
    assert service.audited("request.refused") == []


@pytest.mark.parametrize(
    ("amr", "told"), [(["hwk", "swk"], "hwk"), (["fido", "swk"], "fido"), (["pop"], "pop"), (["swk"], None)]
)
def test_security_key_gives_the_amr_that_entra_requests(
    service: Service, browser: Browser, entra: Entra, amr: list[str], told: str | None
) -> None:
    (key,) = service.add_user("alice", sk_ed25519("alice"))
    form = entra.form(amr=amr)
    if told is not None:
        assert log_in(service, browser, entra, "alice", key, form)["amr"] == [told]
        return
    page, code = begin(browser, form)
    assert service.accept("alice", code=code, fingerprint=key, confirmed=True).status_code == 200
    assert posted(entra, browser.get(f"{page}/finish"))["error"] == "access_denied", "it is no software key"


def test_ui_locales_choose_the_language_of_the_page(browser: Browser, entra: Entra) -> None:
    page, _ = begin(browser, entra.form(ui_locales="de-CH"))
    assert "Anmeldung bei <bdi>Microsoft Entra ID</bdi>" in browser.get(page).text


def test_renamed_account_keeps_its_user(service: Service, browser: Browser, entra: Entra, alice: str) -> None:
    log_in(service, browser, entra, "alice", alice)
    renamed = entra.form(entra.hint(preferred_username="bob@contoso.com"))
    service.add_user("bob", ed25519("bob"))
    page, code = begin(browser, renamed)
    assert "as <bdi>alice</bdi>" in browser.get(page).text, code
    other = "00000000-1111-2222-3333-444455556666"
    answer = posted(entra, send(browser, entra.form(entra.hint(oid=other))))
    assert answer["error"] == "access_denied", "the name is another account's"


@pytest.mark.parametrize("name", [None, 7, ["alice@contoso.com"], "x" * 300], ids=str)
def test_name_that_cannot_be_read_stops_no_bound_account(
    service: Service, browser: Browser, entra: Entra, alice: str, name: object
) -> None:
    """Case provider_metadata: the account is bound, so nobody needs its name."""
    log_in(service, browser, entra, "alice", alice)
    page, _ = begin(browser, entra.form(entra.hint(preferred_username=name)))
    assert "as <bdi>alice</bdi>" in browser.get(page).text


def test_answer_is_given_for_a_minute(service: Service, browser: Browser, entra: Entra, alice: str) -> None:
    """Case browser_reload: the page that posts the answer may be reloaded."""
    page, code = begin(browser, entra.form())
    service.accept("alice", code=code, fingerprint=alice, confirmed=True)
    for _ in range(2):
        assert "id_token" in posted(entra, browser.get(f"{page}/finish"))
    service.clock.advance(60)
    assert heading(browser.get(f"{page}/finish")) == "Login already finished"


def test_result_belongs_to_the_browser_that_began(service: Service, browser: Browser, entra: Entra, alice: str) -> None:
    page, code = begin(browser, entra.form())
    service.accept("alice", code=code, fingerprint=alice, confirmed=True)
    assert heading(Browser(service).get(f"{page}/finish")) == "No such login"


def test_unknown_user_gets_the_same_page_as_a_known_user(service: Service, browser: Browser, entra: Entra) -> None:
    page, _ = begin(browser, entra.form(entra.hint(preferred_username="stranger@contoso.com")))
    assert "as <bdi>stranger</bdi>" in browser.get(page).text
    service.clock.advance(301)
    assert posted(entra, browser.get(f"{page}/finish"))["error"] == "access_denied"


def test_denied_login_returns_an_error_by_post(service: Service, browser: Browser, entra: Entra) -> None:
    service.add_user("alice", ed25519("alice"))
    page, _ = begin(browser, entra.form())
    service.reject()
    answer = posted(entra, browser.get(f"{page}/finish"))
    assert (answer["error"], answer["state"]) == ("access_denied", "the state of Entra")
    assert [each["error"] for each in service.audited("request.refused")] == ["access_denied"]


def test_answer_has_no_state_without_a_state_in_the_request(browser: Browser, entra: Entra) -> None:
    form = {name: value for name, value in entra.form(response_type="code").items() if name != "state"}
    assert "state" not in posted(entra, send(browser, form))


# --- hints that prove nothing


@pytest.mark.parametrize(
    "bent",
    [
        {"aud": "00000000-0000-0000-0000-000000000000"},
        {"tid": "00000000-0000-0000-0000-000000000000"},
        {"iss": "https://login.microsoftonline.com/common/v2.0"},
        {"iss": f"https://evil.example/{TENANT}/v2.0"},
        {"iat": 0},
        {"iat": 2**60},
        {"iat": "now"},
        {"oid": "../../x"},
        {"oid": None},
        {"sub": ""},
        {"preferred_username": "-oProxyCommand=x@contoso.com"},
        {"preferred_username": "a b@contoso.com"},
        {"preferred_username": "x" * 300},
    ],
)
def test_hint_with_a_wrong_claim_is_refused(
    service: Service, browser: Browser, entra: Entra, bent: dict[str, Any]
) -> None:
    answer = posted(entra, send(browser, entra.form(entra.hint(**bent))))
    assert answer["error"] in ("invalid_request", "access_denied")
    assert answer["state"] == "the state of Entra"
    assert service.store.challenges.recent() == []
    assert len(service.audited("request.refused")) == 1


def test_hint_of_another_tenant_is_refused(service: Service, browser: Browser, entra: Entra) -> None:
    other = "00000000-0000-0000-0000-000000000000"
    hint = entra.hint(tid=other, iss=f"{entra.authority}/{other}/v2.0")
    assert posted(entra, send(browser, entra.form(hint)))["error"] == "invalid_request"
    assert service.store.challenges.recent() == []


def test_hint_begins_one_login(service: Service, browser: Browser, entra: Entra) -> None:
    form = entra.form()
    begin(browser, form)
    assert posted(entra, send(browser, form))["error"] == "invalid_request"
    assert [each["reason"] for each in service.audited("request.refused")] == ["the id_token_hint was used before"]


def test_hint_is_refused_after_ten_minutes(service: Service, browser: Browser, entra: Entra) -> None:
    form = entra.form()
    service.clock.advance(600)
    assert posted(entra, send(browser, form))["error"] == "invalid_request"


def test_hints_with_an_unknown_key_are_refused(service: Service, browser: Browser, entra: Entra) -> None:
    good = entra.hint()
    head, body, signature = good.split(".")
    claims = jwt.decode(good, RSAKey.import_key(_published(entra)), algorithms=["RS256"]).claims
    stranger = RSAKey.generate_key(2048)
    pem = RSAKey.import_key(_published(entra)).as_pem(private=False)
    confused = base64url(b'{"alg":"HS256","kid":"first"}') + f".{body}"
    for hint in (
        "",
        "x.y.z",
        f"{head}.{body}.",
        f"eyJhbGciOiJub25lIn0.{body}.",
        f"{head}.{body}.{signature[:-4]}AAAA",
        jwt.encode({"alg": "RS256", "kid": "first"}, claims, stranger),
        jwt.encode({"alg": "RS256", "kid": "../../etc/passwd"}, claims, stranger),
        jwt.encode({"alg": "RS256", "jwk": stranger.as_dict(private=False)}, claims, stranger),
        f"{confused}.{base64url(hmac.digest(pem, confused.encode(), 'sha256'))}",
    ):
        assert posted(entra, send(browser, entra.form(hint)))["error"] == "invalid_request", hint
    assert service.store.challenges.recent() == []


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _published(entra: Entra) -> dict[str, Any]:
    answer = requests.get(f"{entra.authority}/common/discovery/v2.0/keys", timeout=10)
    return dict(answer.json()["keys"][0])


def test_new_key_of_entra_is_fetched(service: Service, browser: Browser, entra: Entra, alice: str) -> None:
    begin(browser, entra.form())
    entra.published.append("second")
    service.clock.advance(60)
    log_in(service, browser, entra, "alice", alice, entra.form(entra.hint(by="second")))


def test_hints_with_unknown_keys_do_not_fetch_the_keys_each_time(browser: Browser, entra: Entra) -> None:
    for _ in range(10):
        send(browser, entra.form(entra.hint(header={"kid": "unknown"})))
    assert len(entra.asked) == 2


def test_login_fails_while_microsoft_does_not_answer(service: Service, browser: Browser, entra: Entra) -> None:
    entra.broken = True
    assert posted(entra, send(browser, entra.form()))["error"] == "temporarily_unavailable"
    assert len(service.audited("request.refused")) == 1


# --- requests that are refused


@pytest.mark.parametrize(
    ("bent", "error"),
    [
        ({"response_type": "code"}, "unsupported_response_type"),
        ({"response_mode": "query"}, "invalid_request"),
        ({"scope": "profile"}, "invalid_scope"),
        ({"nonce": ""}, "invalid_request"),
        ({"nonce": "x" * 5000}, "invalid_request"),
        ({"claims": ""}, "invalid_request"),
        ({"claims": "{}"}, "invalid_request"),
        ({"claims": "[" * 4000}, "invalid_request"),
        ({"claims": '{"id_token":{"acr":{"values":["inherence"]},"amr":{"values":["swk"]}}}'}, "access_denied"),
        ({"claims": '{"id_token":{"acr":{"values":["possession"]},"amr":{"values":["face"]}}}'}, "access_denied"),
    ],
)
def test_invalid_requests_return_an_error_by_post(
    service: Service, browser: Browser, entra: Entra, bent: dict[str, str], error: str
) -> None:
    assert posted(entra, send(browser, entra.form(**bent)))["error"] == error
    assert [each["error"] for each in service.audited("request.refused")] == [error]


@pytest.mark.parametrize(
    "bent",
    [
        {"client_id": "test"},
        {"client_id": "nobody"},
        {"redirect_uri": "https://evil.example/"},
        {"redirect_uri": "https://login.microsoftonline.com/common/federation/externalauthprovider"},
    ],
)
def test_request_of_an_unknown_client_leads_to_an_error_page(
    service: Service, browser: Browser, entra: Entra, bent: dict[str, str]
) -> None:
    answer = send(browser, entra.form(**bent))
    assert (answer.status_code, heading(answer)) == (400, "This login cannot begin")
    assert "evil.example" not in answer.text
    assert len(service.audited("request.refused")) == 1


def test_authorization_request_must_come_by_post(browser: Browser, entra: Entra) -> None:
    answer = browser.get("/entra/authorize", params=entra.form())
    assert answer.status_code == 405


# --- what Entra reads


def test_discovery_has_what_entra_needs(service: Service) -> None:
    give_rsa_key(service)
    answer = service.call("GET", "/entra/.well-known/openid-configuration")
    told = answer.json()
    assert int(answer.headers["Content-Length"]) == len(answer.content)
    assert told["issuer"] == f"{ORIGIN}/entra"
    assert told["response_types_supported"] == ["id_token"]
    assert told["id_token_signing_alg_values_supported"] == ["RS256"]
    assert {each["kty"] for each in service.call("GET", "/entra/jwks.json").json()["keys"]} == {"RSA"}


def test_client_of_another_application_is_refused(service: Service, browser: Browser, entra: Entra) -> None:
    options = entra.options(app_id="00000000-0000-0000-0000-000000000000")
    service.store.clients.add(Client("other", frozenset([]), faces={"entra": options}), service.clock())
    answer = posted(entra, send(browser, entra.form(client_id="other")))
    assert answer["error"] == "invalid_request", f"the hint is for {APP_ID}"
