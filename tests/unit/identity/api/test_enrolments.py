"""Tests enrolment over HTTP for the sshd side, for the client that invites, and for other clients."""

import json
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from fakes.public_keys import ed25519
from service.service import SETTINGS, Service, Socket, wrong

from sshaft.public_key import parse
from sshaft_identity.clients.clients import Client, Scope
from sshaft_identity.people.key_policy import KeyPolicy
from sshaft_identity.service.app import create_app
from sshaft_identity.settings import Settings, changed

CONTRACT = json.loads((Path(__file__).parents[3] / "contract" / "enrol.json").read_text())
PATH = "/api/v1/enrolments"
KEY = ed25519("a")
FINGERPRINT = parse(KEY).fingerprint


@pytest.fixture(autouse=True)
def people(service: Service) -> None:
    service.add_user("alice", ed25519("alice"))
    service.add_user("bob")


def use(service: Service, listening: tuple[Socket, str], **settings: Any) -> None:
    """Restarts the application with other settings."""
    listening[0].app = create_app(service.store, changed(SETTINGS, settings), service.clock)


def invite(service: Service, user: str = "bob", **more: Any) -> Any:
    answer = service.call("POST", PATH, Scope.ENROLMENTS, json={"user": user} | more)
    assert answer.status_code == 201, answer.text
    return answer.json()


def enrol(service: Service, code: str, key: str = KEY, **more: Any) -> requests.Response:
    body = {"code": code.replace("-", ""), "authorized_key": key, "fingerprint": parse(key).fingerprint}
    body |= {"client_ip": "192.0.2.7"} | more
    return service.call("POST", "/api/v1/mfa/ssh/enrol", Scope.ACCEPT, json=body)


def test_invitation_holds_the_ssh_command_and_the_page(service: Service) -> None:
    answer = service.call("POST", PATH, Scope.ENROLMENTS, json={"user": "bob", "expires_in": 120})
    invited = answer.json()
    assert (answer.status_code, answer.headers["Location"]) == (201, f"{PATH}/{invited['id']}")
    assert invited["ssh_command"] == f"ssh mfa@login.example.org enrol {invited['code']}"
    assert invited["page_url"].startswith("https://id.example.org/enrol/")
    assert (invited["state"], invited["user"], invited["expires_at"]) == ("open", "bob", "2026-11-22T12:02:00Z")


@pytest.mark.parametrize(
    "body", [{}, {"user": "-x"}, {"user": "bob", "expires_in": 901}, {"user": "bob", "expires_in": 5}]
)
def test_malformed_invitation_is_an_invalid_request(service: Service, body: dict[str, Any]) -> None:
    answer = service.call("POST", PATH, Scope.ENROLMENTS, json=body)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


def test_unknown_user_is_not_invited(service: Service) -> None:
    answer = service.call("POST", PATH, Scope.ENROLMENTS, json={"user": "mallory"})
    assert (answer.status_code, answer.json()["error"]) == (404, "unknown_user")


@pytest.mark.parametrize("scope", [Scope.LIST, Scope.ACCEPT, Scope.CHALLENGES])
def test_inviting_needs_its_own_scope(service: Service, scope: Scope) -> None:
    answer = service.call("POST", PATH, scope, json={"user": "bob"})
    assert (answer.status_code, answer.json()["error"]) == (403, "insufficient_scope")


def test_presenting_needs_the_scope_of_the_sshd_side(service: Service) -> None:
    body = CONTRACT["request"]["body"]
    answer = service.call("POST", "/api/v1/mfa/ssh/enrol", Scope.ENROLMENTS, json=body)
    assert (answer.status_code, answer.json()["error"]) == (403, "insufficient_scope")


def test_enrolment_of_another_client_is_not_found(service: Service) -> None:
    identifier = invite(service)["id"]
    service.store.clients.add(Client("other", frozenset(list(Scope))), service.clock())
    header = {"Authorization": f"Bearer {service.token(Scope.ENROLMENTS, 'other')}"}
    for path in (f"{PATH}/{identifier}", f"{PATH}/nosuch"):
        answer = service.call("GET", path, headers=header)
        assert (answer.status_code, answer.json()["error"]) == (404, "no_enrolment")


def test_enrolment_shows_its_state_and_never_its_code(service: Service) -> None:
    invited = invite(service)
    enrol(service, invited["code"])
    shown = service.call("GET", f"{PATH}/{invited['id']}", Scope.ENROLMENTS).json()
    assert shown == {
        "id": invited["id"],
        "state": "presented",
        "user": "bob",
        "created_at": "2026-11-22T12:00:00Z",
        "expires_at": "2026-11-22T12:15:00Z",
        "fingerprint": FINGERPRINT,
        "key_type": "ssh-ed25519",
        "source": "ssh",
        "client_ip": "192.0.2.7",
    }
    service.clock.now += timedelta(minutes=15)
    assert service.call("GET", f"{PATH}/{invited['id']}", Scope.ENROLMENTS).json()["state"] == "expired"


@pytest.mark.usefixtures("hearing")
def test_wait_ends_when_a_key_is_presented(service: Service) -> None:
    invited = invite(service)
    token = {"Authorization": f"Bearer {service.token(Scope.ENROLMENTS)}"}
    answers: list[Any] = []

    def wait() -> None:
        answers.append(requests.get(f"{service.url}{PATH}/{invited['id']}?wait=20", headers=token, timeout=40).json())

    waiting = threading.Thread(target=wait)
    waiting.start()
    time.sleep(0.3)  # by then the request waits
    assert enrol(service, invited["code"]).status_code == 200
    waiting.join(40)
    assert answers[0]["state"] == "presented"


# --- the list


def test_unowned_key_is_listed_while_an_enrolment_is_open(service: Service) -> None:
    assert service.keys(FINGERPRINT) == []
    invite(service)
    assert service.keys(FINGERPRINT) == CONTRACT["offers"][0]["answer"]
    service.clock.now += timedelta(minutes=15)
    assert service.keys(FINGERPRINT) == []


def test_other_lists_hold_no_enrolment(service: Service) -> None:
    invite(service)
    assert service.keys() == []
    assert "enrolment" not in json.dumps(service.keys(parse(ed25519("alice")).fingerprint))


def test_switched_off_enrolment_lists_and_accepts_no_key(service: Service, listening: tuple[Socket, str]) -> None:
    code = invite(service)["code"]
    use(service, listening, enrolment_over_ssh=False)
    assert service.keys(FINGERPRINT) == []
    answer = enrol(service, code)
    assert (answer.status_code, answer.json()["error"]) == (404, "no_enrolment")
    assert set(invite(service)) & {"code", "ssh_command"} == set()


# --- the contract


def presented(service: Service) -> requests.Response:
    return enrol(service, invite(service)["code"])


def against_the_policy(service: Service) -> requests.Response:
    return enrol(service, invite(service)["code"])


def another(service: Service) -> requests.Response:
    code = invite(service)["code"]
    enrol(service, code, ed25519("first"))
    return enrol(service, code)


def guessed(service: Service) -> requests.Response:
    code = invite(service)["code"]
    for _ in range(3):
        assert enrol(service, wrong(code)).json()["error"] == "invalid_code"
    return enrol(service, code)


PROVOKED: dict[str, Callable[[Service], requests.Response]] = {
    "presented": presented,
    "wrong code": lambda service: enrol(service, wrong(invite(service)["code"])),
    "against the policy": against_the_policy,
    "nothing is open": lambda service: enrol(service, "12345678"),
    "another key was presented": another,
    "somebody else's key": lambda service: enrol(service, invite(service)["code"], ed25519("alice")),
    "an own key": lambda service: enrol(service, invite(service, "alice")["code"], ed25519("alice")),
    "too many wrong codes": guessed,
}


@pytest.mark.parametrize("example", CONTRACT["examples"], ids=lambda example: example["name"])
def test_every_example_of_the_contract_gets_its_answer(
    service: Service, listening: tuple[Socket, str], example: dict[str, Any]
) -> None:
    if example["outcome"]["reason"] is not None:
        use(service, listening, key_policy=KeyPolicy(security_keys_only=True).model_dump())
    answer = PROVOKED[example["name"]](service)
    assert (answer.status_code, answer.json()) == (example["response"]["status"], example["response"]["body"])
    assert "alice" not in answer.text
    assert ("Retry-After" in answer.headers) == (answer.status_code == 429)


@pytest.mark.parametrize(
    "change",
    [{"code": "5821-7741"}, {"code": ""}, {"fingerprint": None}],
)  # fmt: skip
def test_malformed_presentation_is_an_invalid_request(service: Service, change: dict[str, Any]) -> None:
    invite(service)
    body = CONTRACT["request"]["body"] | change
    answer = service.call("POST", "/api/v1/mfa/ssh/enrol", Scope.ACCEPT, json=body)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    "change",
    [
        {"authorized_key": "ssh-ed25519 AAAA"},
        {"authorized_key": KEY + "\n" + KEY},
        {"authorized_key": "x" * 30_000},
        {"fingerprint": "SHA256:" + "A" * 43},
    ],
)
def test_malformed_or_different_key_is_refused(service: Service, change: dict[str, Any]) -> None:
    invite(service)
    body = CONTRACT["request"]["body"] | change
    answer = service.call("POST", "/api/v1/mfa/ssh/enrol", Scope.ACCEPT, json=body)
    assert (answer.status_code, answer.json()["error"]) == (403, "key_refused")


def test_log_holds_every_fact_except_codes(service: Service) -> None:
    code = invite(service)["code"].replace("-", "")
    enrol(service, wrong(code))
    enrol(service, code)
    (event,) = service.events("enrolment.presented")
    assert (event["user"], event["fingerprint"], event["client_ip"]) == ("bob", FINGERPRINT, "192.0.2.7")
    (missed,) = service.events("enrolment.wrong_code")
    assert missed["fingerprint"] == FINGERPRINT
    assert code not in service.log.getvalue()
    assert wrong(code) not in service.log.getvalue()


def test_enrolment_over_ssh_is_on_by_default() -> None:
    assert Settings().enrolment_over_ssh
