"""Tests the REST tokens of Apereo CAS, with the calls of its source code (CAS 6.6 to 7.3)."""

from typing import Any

import pytest
import requests
from fakes.public_keys import ed25519
from service.service import Service, wrong
from service.typing_provider import Provider, audited, printed, refusals

from sshaft_identity.faces.cas import CasClient


@pytest.fixture
def alice(service: Service) -> str:
    """The fingerprint of her key."""
    return service.add_user("alice", ed25519("alice"))[0]


def principal(user: Any) -> dict[str, Any]:
    return {
        "@class": "org.apereo.cas.authentication.principal.SimplePrincipal",
        "id": user,
        "attributes": {"@class": "java.util.LinkedHashMap"},
    }


class Cas(Provider):
    def __init__(self, service: Service, name: str = "cas", networks: tuple[str, ...] = (), **options: Any) -> None:
        super().__init__(service, "cas", "/cas", name, options, networks)

    def new(self, user: Any = "alice", method: str = "POST") -> requests.Response:
        return self.call("/new?service=https%3A%2F%2Fapp.example.org%2F", principal(user), method)

    def fetch(self, code: str) -> requests.Response:
        return self.call(f"/{code}", method="GET")

    def validate(self, code: str, user: Any = "alice", method: str = "POST") -> requests.Response:
        return self.call(f"/{code}", principal(user), method)


@pytest.fixture
def cas(service: Service) -> Cas:
    return Cas(service, app="CAS")


def test_login_with_the_calls_of_cas_7_passes(service: Service, cas: Cas, alice: str) -> None:
    """CAS 7 fetches the token, once or twice, and then validates it."""
    token = cas.new()
    assert token.status_code == 200
    assert token.headers["Content-Type"].startswith("text/plain")
    assert cas.call("", {"@class": "x.Ticket", "id": token.text}).status_code == 200
    code = printed(service, alice)
    for _ in range(2):
        fetched = cas.fetch(code)
        assert (fetched.status_code, fetched.json()) == (200, principal("alice"))
    assert cas.validate(code).json() == principal("alice")
    assert cas.fetch(code).status_code == 403
    assert cas.validate(code).status_code == 403
    (challenge,) = service.store.challenges.recent()
    assert (challenge.state, challenge.context.app) == ("consumed", "CAS")


def test_login_with_the_calls_of_cas_6_passes(service: Service, cas: Cas, alice: str) -> None:
    """CAS 6 uses GET with a body for all calls, and only validates."""
    assert cas.new(method="GET").status_code == 200
    code = printed(service, alice)
    assert cas.validate(code, method="GET").json() == principal("alice")
    assert cas.validate(code, method="GET").status_code == 403


def test_token_that_cas_sends_by_mail_does_not_pass(service: Service, cas: Cas, alice: str) -> None:
    token = cas.new().text
    printed(service, alice)
    assert cas.fetch(token).status_code == 403
    assert cas.validate(token).status_code == 403


def test_no_code_passes_before_the_ssh_login(service: Service, cas: Cas, alice: str) -> None:
    cas.new()
    code = service.store.codes.given_back(service.store.challenges.recent()[0].id)
    assert cas.fetch(code).status_code == 403, alice
    assert cas.validate(code).status_code == 403


def test_code_passes_for_its_user_and_its_client_only(service: Service, cas: Cas, alice: str) -> None:
    service.add_user("bob", ed25519("bob"))
    other = Cas(service, "other")
    cas.new()
    cas.new("bob")
    code = printed(service, alice)
    assert cas.validate(code, "bob").status_code == 403
    assert other.fetch(code).status_code == 403
    assert other.validate(code).status_code == 403
    assert cas.validate(code).status_code == 200


def test_codes_of_another_face_are_refused(service: Service, cas: Cas, alice: str) -> None:
    portal = Provider(service, "code_back", "/code-back/", "portal")
    portal.call("init", {"user": "alice"})
    assert cas.fetch(printed(service, alice)).status_code == 403


def test_code_has_eight_digits_and_is_compared_only_with_codes_of_its_client(
    service: Service, cas: Cas, alice: str
) -> None:
    """Finding S22: with eight digits the limit can be so high that one person does not stop the client."""
    other = Cas(service, "other")
    cas.new()
    assert CasClient().wrong_codes == 10_000
    code = printed(service, alice)
    assert len(code) == 8
    assert other.fetch(code).status_code == 403
    assert cas.fetch(code).json()["id"] == "alice"


def test_guesses_without_a_user_count_for_the_client(service: Service, alice: str) -> None:
    cas, other = Cas(service, wrong_codes=3), Cas(service, "other")
    cas.new()
    code = printed(service, alice)
    assert [cas.fetch(wrong(code, by)).status_code for by in range(1, 4)] == [403] * 3
    assert cas.fetch(code).status_code == 429
    other.new()
    assert other.fetch(printed(service, alice)).status_code == 200
    service.clock.advance(3601)
    cas.new()
    assert cas.fetch(printed(service, alice)).status_code == 200
    assert refusals(service) == ["invalid_code"] * 3 + ["too_many_attempts"]


def test_wrong_codes_of_a_user_end_the_login(service: Service, cas: Cas, alice: str) -> None:
    cas.new()
    code = printed(service, alice)
    assert [cas.validate(wrong(code)).status_code for _ in range(5)] == [403] * 5
    assert cas.validate(code).status_code == 403
    assert cas.fetch(code).status_code == 403
    assert audited(service).count(("challenge.wrong_code", None)) == 5


def test_expired_login_does_not_pass(service: Service, cas: Cas, alice: str) -> None:
    cas.new()
    code = printed(service, alice)
    service.clock.advance(301)
    assert cas.fetch(code).status_code == 403
    assert cas.validate(code).status_code == 403


def test_unknown_user_gets_the_same_answer_as_a_known_user(cas: Cas, alice: str) -> None:
    known, unknown = cas.new(), cas.new("nobody-here")
    assert (known.status_code, len(known.text)) == (unknown.status_code, len(unknown.text)), alice
    assert cas.validate("123456", "nobody-here").status_code == 403


@pytest.mark.parametrize("user", ["", "-oProxyCommand=x", "a b", "\u202e", "x" * 65, None, 7, ["alice"]])
def test_odd_user_names_are_refused(service: Service, cas: Cas, user: Any) -> None:
    assert cas.new(user).status_code == 400
    assert cas.validate("123456", user).status_code == 400
    assert service.store.challenges.recent() == []
    assert refusals(service) == ["invalid_request"] * 2


@pytest.mark.parametrize("code", ["abc", "1" * 17, "%D9%A1%D9%A2%D9%A3", "12%0A34%00", "%FF", "..%2f..%2fetc", "%20"])
def test_odd_codes_do_not_count_as_tries(service: Service, cas: Cas, alice: str, code: str) -> None:
    cas.new()
    printed(service, alice)
    assert cas.fetch(code).status_code in (403, 404)
    assert cas.validate(code).status_code in (403, 404)
    assert service.store.challenges.recent()[0].tries == 0


@pytest.mark.parametrize("body", ["[]", "x", "[" * 100_000, '"text"'])
def test_odd_bodies_are_refused(service: Service, cas: Cas, body: str) -> None:
    for step in ("/new", "/123456"):
        answer = service.call("POST", f"/cas{step}", data=body, auth=(cas.name, cas.secret))
        assert answer.status_code in (400, 413)


def test_unauthenticated_client_is_refused(service: Service, cas: Cas) -> None:
    portal = Provider(service, "code_back", "", "portal")
    far = Cas(service, "far", ("192.0.2.0/24",))
    calls = [("", "POST"), ("/new", "POST"), ("/123456", "GET"), ("/123456", "POST")]
    for auth, status in (
        (None, 401),
        (("cas", "wrong"), 401),
        (("nobody", cas.secret), 401),
        ((portal.name, portal.secret), 403),
        ((far.name, far.secret), 401),
    ):
        for step, method in calls:
            body = None if method == "GET" else principal("alice")
            assert cas.call(step, body, method, auth=auth).status_code == status
    assert len(refusals(service)) == 20


def test_neither_code_nor_secret_reaches_the_log(service: Service, cas: Cas, alice: str) -> None:
    cas.new()
    code = printed(service, alice)
    cas.fetch(code)
    cas.validate(code)
    for secret in (code, cas.secret):
        assert secret not in service.log.getvalue()
