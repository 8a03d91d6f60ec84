"""Tests the description of the API: it names every route and every answer, and its requests cause no failure."""

from typing import Any

import pytest
import requests
import schemathesis
from fakes.public_keys import ed25519
from hypothesis import given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from service.service import SETTINGS, Service

from sshaft_identity.api import approvals, challenges, enrolments, host_reports, openapi, sshd
from sshaft_identity.challenges.challenge import MAX_LIFETIME
from sshaft_identity.clients.clients import Scope
from sshaft_identity.service import health

DESCRIPTION = openapi.description(SETTINGS.base_url)
SCHEMA = schemathesis.openapi.from_dict(DESCRIPTION)
SCOPES = {(each.method, each.path): each.scope for each in openapi.OPERATIONS}
FORM = "application/x-www-form-urlencoded"
EXAMPLES = 40


def described() -> set[tuple[str, str]]:
    return {(method.upper(), path) for path, item in DESCRIPTION["paths"].items() for method in item}


def test_every_route_of_the_api_is_described() -> None:
    modules = (sshd, challenges, approvals, enrolments, host_reports, health)
    routes = [route for module in modules for route in module.ROUTES]
    found = {(method, route.path) for route in routes for method in (route.methods or ()) if method != "HEAD"}
    beside = {
        ("POST", "/oauth2/token"),
        ("GET", "/.well-known/jwks.json"),
        ("GET", "/challenge/{page_token}/state"),
    }
    assert found | beside == described()


def test_service_serves_its_description(service: Service) -> None:
    answer = service.call("GET", "/openapi.json")
    assert answer.status_code == 200
    assert answer.json() == DESCRIPTION
    assert answer.json()["servers"] == [{"url": "https://id.example.org"}]


def test_every_scope_is_described() -> None:
    flow = DESCRIPTION["components"]["securitySchemes"]["accessToken"]["flows"]["clientCredentials"]
    assert set(flow["scopes"]) == {scope.value for scope in Scope}
    assert flow["tokenUrl"] == "https://id.example.org/oauth2/token"


def operation(method: str, path: str) -> Any:
    return SCHEMA[path][method]


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize(("method", "path"), sorted(described()))
def test_requests_made_from_the_description_are_answered_as_described(
    service: Service, method: str, path: str, mode: GenerationMode
) -> None:
    """schemathesis finds a 5xx, an answer that is not described, a wrong request that is accepted, a right request that
    is refused, and an answer without a token.
    """
    target, scope = operation(method, path), SCOPES.get((method, path))
    service.store.signing_keys.ensure(service.clock())
    service.add_user("alice", ed25519("alice"))
    headers = {} if scope is None else {"Authorization": f"Bearer {service.token(scope)}"}
    if mode is GenerationMode.NEGATIVE and not can_be_wrong(target):
        pytest.skip("nothing in such a request can be wrong")

    @settings(max_examples=EXAMPLES, derandomize=True)
    @given(case=target.as_strategy(mode))
    def check(case: schemathesis.Case) -> None:
        service.clock.advance(
            MAX_LIFETIME.total_seconds()
        )  # every earlier challenge is over, so no request waits for it
        case.call_and_validate(base_url=service.url, headers=headers, session=service.session)

    check()
    assert service.events("request.failed") == []


def can_be_wrong(target: Any) -> bool:
    return bool(target.body) or any(True for _ in target.iter_parameters())


@pytest.mark.parametrize("credentials", ["form", "basic"])
def test_token_endpoint_answers_as_described(service: Service, credentials: str) -> None:
    target = operation("POST", "/oauth2/token")
    own = {"client_id": "test", "client_secret": service.secret}

    @settings(max_examples=EXAMPLES, derandomize=True)
    @given(scope=st.sampled_from(["", "mfa:list", "mfa:list challenges", "other"]))
    def check(scope: str) -> None:
        form = {"grant_type": "client_credentials", "scope": scope}
        basic = None if credentials == "form" else ("test", service.secret)
        body = form | (own if credentials == "form" else {})
        case = target.Case(body=body, media_type=FORM)
        answer = requests.post(f"{service.url}/oauth2/token", data=body, auth=basic, timeout=10)
        assert answer.status_code == (400 if scope == "other" else 200)
        case.validate_response(answer)

    check()


def test_whole_login_is_answered_as_described(service: Service) -> None:
    service.store.signing_keys.ensure(service.clock())
    [fingerprint] = service.add_user("alice", ed25519("alice"))
    opened = service.call(
        "POST",
        "/api/v1/challenges",
        Scope.CHALLENGES,
        json={"user": "alice", "app": "Wiki", "context": {"ip": "192.0.2.7", "user_agent": "Firefox"}},
    )
    identifier, code = opened.json()["id"], opened.json()["code"]
    valid("POST", "/api/v1/challenges", opened, 201)

    def call(method: str, path: str, status: int, *, scope: Scope = Scope.CHALLENGES, **more: Any) -> None:
        answer = service.call(method, path.replace("{id}", identifier), scope, **more)
        valid(method, path, answer, status)

    claim = {"user": "alice", "fingerprint": fingerprint, "key_type": "ssh-ed25519", "client_ip": "192.0.2.7"}
    call("GET", "/api/v1/mfa/ssh/keys", 200, scope=Scope.LIST)
    call("POST", "/api/v1/challenges/{id}/consume", 409)
    call("POST", "/api/v1/mfa/ssh/accept", 403, scope=Scope.ACCEPT, json=claim)
    call("POST", "/api/v1/mfa/ssh/accept", 403, scope=Scope.ACCEPT, json=claim | {"code": "0"})
    call("POST", "/api/v1/mfa/ssh/accept", 200, scope=Scope.ACCEPT, json=claim | {"code": code})
    call("GET", "/api/v1/challenges/{id}", 200)
    call("POST", "/api/v1/challenges/{id}/consume", 200)
    call("POST", "/api/v1/challenges/{id}/consume", 409)
    call("POST", "/api/v1/challenges/{id}/cancel", 409)
    page = opened.json()["page_url"].rpartition("/")[2]
    answer = service.call("GET", f"/challenge/{page}/state")
    valid("GET", "/challenge/{page_token}/state", answer, 200)
    service.open()
    call("POST", "/api/v1/mfa/ssh/reject", 200, scope=Scope.ACCEPT, json={"user": "alice"})
    call("POST", "/api/v1/mfa/ssh/reject", 404, scope=Scope.ACCEPT, json={"user": "alice"})


def valid(method: str, path: str, answer: requests.Response, status: int) -> None:
    """Checks that the answer has the expected status, and that the description names this status."""
    assert answer.status_code == status, answer.text
    target = operation(method, path)
    assert str(status) in target.definition.raw["responses"]
    target.validate_response(answer)
