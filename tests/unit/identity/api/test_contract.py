"""Tests the service with the same examples as the sshd side (tests/contract/*.json)."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from fakes.public_keys import ed25519
from service.service import Service, wrong

from sshaft_identity.clients.clients import Scope

CONTRACT = Path(__file__).resolve().parents[3] / "contract"
ACCEPT = "/api/v1/mfa/ssh/accept"


def example(name: str) -> Any:
    return json.loads((CONTRACT / name).read_text())


def with_alice(service: Service) -> str:
    return service.add_user("alice", ed25519("alice"))[0]


def used_up(service: Service) -> requests.Response:
    opened = service.open()
    for _ in range(5):
        service.accept(challenge=opened["id"], code=wrong(opened["code"]))
    return service.accept(challenge=opened["id"], code=opened["code"])


def accepted_before(service: Service) -> requests.Response:
    opened = service.open()
    assert service.accept(challenge=opened["id"], code=opened["code"], attempt="a").status_code == 200
    return service.accept(challenge=opened["id"], code=opened["code"], attempt="b")


def expired(service: Service) -> requests.Response:
    opened = service.open()
    service.clock.now += timedelta(seconds=301)
    return service.accept(challenge=opened["id"], code=opened["code"])


def rejected(service: Service) -> requests.Response:
    opened = service.open()
    assert service.reject(challenge=opened["id"]).status_code == 200
    return service.accept(challenge=opened["id"], code=opened["code"])


def cancelled(service: Service) -> requests.Response:
    opened = service.open()
    service.call("POST", f"/api/v1/challenges/{opened['id']}/cancel", Scope.CHALLENGES)
    return service.accept(challenge=opened["id"], code=opened["code"])


def wrong_code(service: Service) -> requests.Response:
    opened = service.open()
    return service.accept(challenge=opened["id"], code=wrong(opened["code"]))


PROVOKED: dict[str, Callable[[Service], requests.Response]] = {
    "code_required": lambda service: service.accept(challenge=service.open()["id"]),
    "invalid_code": wrong_code,
    "unknown_key": lambda s: s.accept(challenge=s.open()["id"], code="000000", fingerprint="SHA256:" + "A" * 43),
    "insufficient_scope": lambda service: service.call("POST", ACCEPT, Scope.LIST, json={"user": "alice"}),
    "no_challenge": lambda service: service.accept(code="000000"),
    "already_used": accepted_before,
    "expired": expired,
    "rejected": rejected,
    "cancelled": cancelled,
    "too_many_attempts": used_up,
    "invalid_request": lambda service: service.call("POST", ACCEPT, Scope.ACCEPT, json={"user": 1}),
    "invalid_token": lambda service: service.call("POST", ACCEPT, headers={"Authorization": "Bearer x"}, json={}),
    "method_not_allowed": lambda service: service.call("GET", ACCEPT, Scope.ACCEPT),
    "too_large": lambda service: service.call("POST", ACCEPT, Scope.ACCEPT, data=b" " * 70_000),
    "not_found": lambda service: service.call("GET", "/api/v1/elsewhere", Scope.ACCEPT),
}


@pytest.mark.parametrize("problem", example("problems.json")["problems"], ids=lambda p: p["body"]["error"])
def test_service_answers_each_problem_of_the_contract(service: Service, problem: dict[str, Any]) -> None:
    with_alice(service)
    expected = problem["body"]
    answer = PROVOKED[expected["error"]](service)
    body = answer.json()
    assert (answer.status_code, body["status"], body["error"]) == (
        expected["status"],
        expected["status"],
        expected["error"],
    )
    assert set(body) - {"detail"} == set(expected) - {"detail"}
    for name, value in problem["headers"].items():
        assert name == "Retry-After" or answer.headers[name] == value
    assert body.get("attempts_left") == expected.get("attempts_left")


def test_accept_answers_the_example_of_the_agent(service: Service) -> None:
    fingerprint = with_alice(service)
    given = next(each for each in example("accept.json")["examples"] if each["name"] == "accepted")
    opened = service.open()
    body = given["request"]["body"] | {
        "challenge": opened["id"],
        "code": opened["code"],
        "fingerprint": fingerprint,
    }
    answer = service.call("POST", ACCEPT, Scope.ACCEPT, json=body, headers=given["request"]["headers"])
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.json() == given["response"]["body"] | {"challenge": opened["id"]}


def test_reject_answers_the_example_of_the_agent(service: Service) -> None:
    fingerprint = with_alice(service)
    given = example("reject.json")["examples"][0]
    body = given["request"]["body"] | {"challenge": service.open()["id"], "fingerprint": fingerprint}
    answer = service.call("POST", "/api/v1/mfa/ssh/reject", Scope.ACCEPT, json=body)
    assert (answer.status_code, answer.json()) == (200, given["response"]["body"])


@pytest.mark.parametrize("method", ["client_secret_post", "client_secret_basic"])
def test_token_request_of_the_agent_is_granted(service: Service, method: str) -> None:
    contract = example("token.json")
    given = next(each for each in contract["requests"] if each["token_endpoint_auth_method"] == method)
    form = given["form"]
    basic = None
    if method == "client_secret_post":
        form = form | {"client_id": "test", "client_secret": service.secret}
    else:
        basic = ("test", service.secret)
    answer = requests.post(f"{service.url}/oauth2/token", data=form, auth=basic, timeout=5)
    assert answer.status_code == 200
    assert set(answer.json()) == set(contract["answers"][0])


def test_list_entries_have_the_members_of_the_examples(service: Service) -> None:
    fingerprint = with_alice(service)
    known = {member for each in example("list.json")["examples"] for entry in each["answer"] for member in entry}
    assert set(service.keys(fingerprint)[0]) <= known
    service.open(app="Wiki", context={"ip": "192.0.2.7", "user_agent": "Firefox"})
    assert set(service.keys(fingerprint)[0]) <= known
