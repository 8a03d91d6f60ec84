"""Tests the face `keycloak_ciba`, with the calls of Keycloak's source code and its call-back."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from fakes.notified import Endpoint
from fakes.public_keys import ed25519
from service.notifications import count_stored, send_due
from service.service import Clock, Service
from service.typing_provider import Provider, refusals

from sshaft_identity.face_support.notifications import RETRY_PAUSES

CODE = "482913"


@pytest.fixture
def alice(service: Service) -> str:
    """The fingerprint of her key."""
    return service.add_user("alice", ed25519("alice"))[0]


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint(status=200) as endpoint:
        yield endpoint


def bearer(clock: Clock, name: str = "one", good_for: Any = 120) -> str:
    """Returns a token like a JWT of Keycloak. We do not check its signature."""
    end = int(clock().timestamp()) + good_for if isinstance(good_for, int) else good_for
    claims = json.dumps({"jti": name, "exp": end, "iss": "https://kc.example.org/realms/one"})
    return ".".join(
        base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in ('{"alg":"RS256"}', claims, "x" * 64)
    )


class Keycloak(Provider):
    def __init__(
        self, service: Service, url: str, name: str = "kc", networks: tuple[str, ...] = (), **options: Any
    ) -> None:
        options |= {"notification_endpoint": url}
        super().__init__(service, "keycloak_ciba", "/keycloak-ciba", name, options, networks)

    def ask(self, token: str | None = None, **more: Any) -> requests.Response:
        auth = more.pop("auth", (self.name, self.secret))
        headers = {"Authorization": f"Bearer {token or bearer(self.service.clock)}"} | more.pop("headers", {})
        body = {
            "binding_message": CODE, "login_hint": "alice", "is_consent_required": False, "acr_values": None,
            "scope": "openid",
        }  # fmt: skip
        path = f"{self.path}/{auth[0]}/{auth[1]}"
        return self.service.call("POST", path, json=body | more, headers=headers)


@pytest.fixture
def keycloak(service: Service, endpoint: Endpoint) -> Keycloak:
    return Keycloak(service, endpoint.url, app="The bank")


def state_of_last(service: Service) -> str:
    return str(service.store.challenges.recent()[0].state)


def test_keycloak_is_called_back_with_its_own_bearer(
    service: Service, keycloak: Keycloak, endpoint: Endpoint, alice: str
) -> None:
    token = bearer(service.clock)
    asked = keycloak.ask(token)
    assert (asked.status_code, asked.text) == (201, "")
    assert send_due(service) == 0, "it has not ended"
    assert service.accept("alice", code="482914", fingerprint=alice).json()["error"] == "invalid_code"
    assert service.accept("alice", code=CODE, fingerprint=alice).json()["state"] == "accepted"
    assert service.store.challenges.recent()[0].context.app == "The bank"
    assert send_due(service) == 1
    assert endpoint.heard == [("/ping", f"Bearer {token}", {"status": "SUCCEED"})]
    assert (send_due(service), count_stored(service), state_of_last(service)) == (0, 0, "consumed")


def test_keycloak_is_notified_of_every_other_end(
    service: Service, keycloak: Keycloak, endpoint: Endpoint, alice: str
) -> None:
    for name in ("superseded", "denied"):
        assert keycloak.ask(bearer(service.clock, name)).status_code == 201
    service.reject()
    assert send_due(service) == 2
    keycloak.ask(bearer(service.clock, "tried out"))
    for code in range(111111, 111116):
        service.accept("alice", code=str(code), fingerprint=alice)
    assert send_due(service) == 1
    keycloak.ask(bearer(service.clock, "nobody came"))
    service.clock.advance(120)
    assert send_due(service) == 1
    assert [heard[2] for heard in endpoint.heard] == [{"status": "UNAUTHORIZED"}] * 4


def test_keycloak_that_does_not_answer_is_notified_again(
    service: Service, keycloak: Keycloak, endpoint: Endpoint, alice: str
) -> None:
    token = bearer(service.clock)
    keycloak.ask(token)
    service.accept("alice", code=CODE, fingerprint=alice)
    for status, pause in zip((500, 403, 302), RETRY_PAUSES, strict=True):
        endpoint.status, endpoint.headers = status, {"Location": f"{endpoint.url}/elsewhere"}
        assert send_due(service) == 1
        service.clock.advance(pause.total_seconds())
    assert state_of_last(service) == "accepted"
    assert (send_due(service), count_stored(service)) == (1, 0), "that was the last"
    assert [heard[0] for heard in endpoint.heard] == ["/ping"] * 4, "redirects are not followed"
    assert {json.dumps(heard[2]) for heard in endpoint.heard} == {'{"status": "SUCCEED"}'}


def test_a_bearer_token_begins_one_login(service: Service, keycloak: Keycloak) -> None:
    token = bearer(service.clock)
    assert keycloak.ask(token).status_code == 201
    assert keycloak.ask(token).status_code == 400
    assert keycloak.ask(token, login_hint="bob").status_code == 400
    assert len(service.store.challenges.recent()) == 1


@pytest.mark.parametrize(("good_for", "seconds"), [(120, 120), (600, 300), (10**9, 300), ("x", 300), (None, 300)])
def test_login_expires_with_the_bearer_token(service: Service, keycloak: Keycloak, good_for: Any, seconds: int) -> None:
    assert keycloak.ask(bearer(service.clock, good_for=good_for)).status_code == 201
    challenge = service.store.challenges.recent()[0]
    assert (challenge.expires_at - challenge.created_at).total_seconds() == seconds


@pytest.mark.parametrize("good_for", [20, -5, -(10**9), float("nan"), "-Infinity"])
def test_an_expired_bearer_token_is_refused(service: Service, keycloak: Keycloak, good_for: Any) -> None:
    token = bearer(service.clock, good_for=good_for)
    if isinstance(good_for, str):
        middle = base64.urlsafe_b64encode(f'{{"exp": {good_for}}}'.encode()).decode().rstrip("=")
        token = f"a.{middle}.c"
    assert keycloak.ask(token).status_code == 400
    assert service.store.challenges.recent() == []


@pytest.mark.parametrize(
    "claims", ['{"exp": 1e999}', '{"exp": 1' + "0" * 400 + "}", "[]", "{", "[" * 2000, '{"exp": []}']
)
def test_odd_claims_of_a_bearer_token_are_ignored(service: Service, keycloak: Keycloak, claims: str) -> None:
    middle = base64.urlsafe_b64encode(claims.encode()).decode().rstrip("=")
    assert keycloak.ask(f"a.{middle}.c").status_code == 201
    assert len(service.store.challenges.recent()) == 1


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer a b", "Bearer ü", "Bearer " + "x" * 9000]
)
def test_odd_bearer_tokens_are_refused(service: Service, keycloak: Keycloak, header: str) -> None:
    answer = keycloak.ask(headers={"Authorization": header.encode()})
    assert answer.status_code == 400
    assert refusals(service) == ["invalid_request"]
    assert count_stored(service) == 0


def test_request_cannot_choose_the_notification_address(
    service: Service, keycloak: Keycloak, endpoint: Endpoint, alice: str
) -> None:
    elsewhere = "http://127.0.0.1:1/"
    keycloak.ask(
        notification_endpoint=elsewhere, callback=elsewhere, headers={"Referer": elsewhere, "Host": "127.0.0.1:1"}
    )
    service.accept("alice", code=CODE, fingerprint=alice)
    assert send_due(service) == 1
    assert len(endpoint.heard) == 1


def test_removed_address_gets_no_notification(
    service: Service, keycloak: Keycloak, endpoint: Endpoint, alice: str
) -> None:
    keycloak.ask()
    service.accept("alice", code=CODE, fingerprint=alice)
    service.store.clients.set_face("kc", "keycloak_ciba", None, service.clock())
    assert send_due(service) == 0
    assert endpoint.heard == []


def test_unauthenticated_client_is_refused(service: Service, keycloak: Keycloak, endpoint: Endpoint) -> None:
    portal = Provider(service, "code_back", "", "portal")
    far = Keycloak(service, endpoint.url, "far", ("192.0.2.0/24",))
    for auth, status in (
        (("kc", "wrong"), 401),
        (("nobody", keycloak.secret), 401),
        ((portal.name, portal.secret), 403),
        ((far.name, far.secret), 401),
    ):
        answer = keycloak.ask(auth=auth, headers={"X-Forwarded-For": "192.0.2.1"})
        assert answer.status_code == status
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert auth[1] not in answer.text
    assert len(refusals(service)) == 4
    assert service.store.challenges.recent() == []


@pytest.mark.parametrize(
    "more",
    [
        {"login_hint": None}, {"login_hint": ""}, {"login_hint": "-oProxyCommand=x"}, {"login_hint": "a b"},
        {"login_hint": ["alice"]}, {"login_hint": "x" * 65}, {"binding_message": None}, {"binding_message": ""},
        {"binding_message": "12345"}, {"binding_message": "Pay Bob"}, {"binding_message": 482913},
        {"binding_message": "482\u202e913"}, {"acr_values": 7},
    ],
)  # fmt: skip
def test_invalid_requests_are_refused(service: Service, keycloak: Keycloak, more: dict[str, Any]) -> None:
    assert keycloak.ask(**more).status_code == 400
    assert len(refusals(service)) == 1
    assert service.store.challenges.recent() == []


@pytest.mark.parametrize("body", ["", "[]", "x", "[" * 100_000])
def test_odd_bodies_are_refused(service: Service, keycloak: Keycloak, body: str) -> None:
    headers = {"Authorization": f"Bearer {bearer(service.clock)}"}
    path = f"/keycloak-ciba/kc/{keycloak.secret}"
    assert service.call("POST", path, data=body, headers=headers).status_code in (400, 413)


def test_unknown_user_gets_the_same_answer_as_a_known_user(service: Service, keycloak: Keycloak, alice: str) -> None:
    known = keycloak.ask(bearer(service.clock, "a"))
    unknown = keycloak.ask(bearer(service.clock, "b"), login_hint="nobody-here")
    assert (known.status_code, known.text) == (unknown.status_code, unknown.text), alice


def test_requested_verified_code_is_enforced(service: Service, keycloak: Keycloak, alice: str) -> None:
    keycloak.ask(acr_values="urn:sshaft:acr:verified-code")
    assert service.accept("alice", code=CODE, fingerprint=alice).json()["error"] == "verification_required"


def test_result_is_refused_to_other_clients(service: Service, keycloak: Keycloak, alice: str) -> None:
    keycloak.ask()
    service.accept("alice", code=CODE, fingerprint=alice)
    challenge = service.store.challenges.recent()[0].id
    taken = service.call("POST", f"/api/v1/challenges/{challenge}/consume", "challenges")
    assert taken.status_code == 404
    assert state_of_last(service) == "accepted"


def test_secrets_are_neither_in_the_database_nor_in_the_log(service: Service, keycloak: Keycloak, alice: str) -> None:
    token = bearer(service.clock)
    keycloak.ask(token)
    service.accept("alice", code=CODE, fingerprint=alice)
    with service.store.database.read() as connection:
        dump = "\n".join(connection.connection.driver_connection.iterdump())  # type: ignore[union-attr]
    send_due(service)
    for secret in (token, keycloak.secret):
        assert secret not in dump
        assert secret.encode().hex().upper() not in dump.upper()
        assert secret not in service.log.getvalue()
