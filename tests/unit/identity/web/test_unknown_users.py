"""Tests what the operator reads when a provider sends a name that nobody has."""

from typing import Any

import pytest
import requests
from fakes.public_keys import ed25519
from service.service import Service

from sshaft_identity.clients.clients import Client
from sshaft_identity.web.throttle import MAX_UNKNOWN_USERS


@pytest.fixture(autouse=True)
def _alice(service: Service) -> None:
    service.add_user("alice", ed25519("alice"))


@pytest.fixture
def vpn(service: Service) -> tuple[str, str]:
    client = Client("vpn", frozenset(), faces={"validate": {"mode": "interactive"}})
    return "vpn", service.store.clients.add(client, service.clock())


def try_name(service: Service, vpn: tuple[str, str], name: str) -> requests.Response:
    return service.call("POST", "/validate/check", auth=vpn, data={"user": name, "pass": "x"})


def reported(service: Service) -> list[dict[str, Any]]:
    """Returns the events, after the step of the background work that logs them."""
    assert service.app
    service.app.state.sshaft.unknown_users.report(service.store.users)
    return service.events("user.unknown")


@pytest.mark.parametrize("name", ["Alice", "ALICE", "alice@corp.example"])
def test_login_for_a_name_in_another_form_is_an_event_that_names_the_user(
    service: Service, vpn: tuple[str, str], name: str
) -> None:
    """Case user_name_forms: the operator's log had no word of a login that nobody can pass."""
    assert try_name(service, vpn, name).json()["result"]["authentication"] == "CHALLENGE", "strangers learn nothing"
    (event,) = reported(service)
    assert (event["user"], event["client"], event["similar"]) == (name, "vpn", "alice")


@pytest.mark.parametrize("name", ["CORP\\alice", "alice "])
def test_text_that_is_no_user_name_gets_a_reason_and_is_an_event(
    service: Service, vpn: tuple[str, str], name: str
) -> None:
    """Case user_name_forms: the answer was a bare 400."""
    answer = try_name(service, vpn, name)
    assert answer.status_code == 400
    assert "send the name without domain and blanks" in answer.json()["result"]["error"]["message"]
    assert reported(service)[0]["similar"] == "alice"


def test_login_of_a_user_is_no_such_event(service: Service, vpn: tuple[str, str]) -> None:
    try_name(service, vpn, "alice")
    service.open(None)
    assert not reported(service)


def test_name_that_is_like_nobodys_is_an_event_without_a_user(service: Service) -> None:
    service.open("nobody")
    (event,) = reported(service)
    assert event.get("similar") is None


def test_strangers_cannot_fill_the_log_with_such_events(service: Service) -> None:
    """Case user_name_forms: the event is limited, because strangers can cause it."""
    for number in range(MAX_UNKNOWN_USERS + 5):
        service.open(f"nobody{number}")
    assert len(reported(service)) == MAX_UNKNOWN_USERS
    service.clock.advance(300)
    service.open("nobody")
    assert len(reported(service)) == MAX_UNKNOWN_USERS + 1
