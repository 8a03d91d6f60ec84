"""Tests notifications of CIBA clients, on both databases and by several processes."""

import json
import threading
from datetime import timedelta
from pathlib import Path

import requests
from fakes.notified import Endpoint
from service.service import START
from store.serving import another_host, command, serving, set_up, until

from sshaft_identity.challenges.challenge import Challenge
from sshaft_identity.challenges.challenges import Wish
from sshaft_identity.clients.clients import Client
from sshaft_identity.face_support.notifications import RETRY_PAUSES, Notification, Notifications
from sshaft_identity.service import purge
from sshaft_identity.store import Store

URL = "https://bank.example.org/ping"
LONG = timedelta(minutes=5)


def opened(store: Store) -> Challenge:
    store.clients.add(Client("bank", frozenset([]), faces={"ciba": {"notification_endpoint": URL}}), START)
    challenge = store.challenges.open(Wish("alice", LONG, client="bank", code="482913"), START).challenge
    body = {"auth_req_id": "the handle"}
    Notifications(store).add(challenge, "bank", Notification("ciba", "the token", if_passed=body, if_failed=body))
    return challenge


def test_a_notification_is_sent_until_the_client_received_it(store: Store) -> None:
    challenge = opened(store)
    assert Notifications(store).take_due(START) == []
    store.challenges.cancel(challenge.id, START)
    (ping,) = Notifications(store).take_due(START)
    assert (ping.url, ping.body, ping.token, ping.is_last) == (URL, {"auth_req_id": "the handle"}, "the token", False)
    assert Notifications(store).take_due(START) == [], "another caller sends it"
    now = START
    for pause in RETRY_PAUSES:
        now += pause
        (ping,) = Notifications(store).take_due(now)
    assert ping.is_last
    assert Notifications(store).take_due(now + LONG) == []


def test_an_expired_challenge_is_notified_before_the_purge_marks_it(store: Store) -> None:
    challenge = opened(store)
    assert len(Notifications(store).take_due(START + LONG)) == 1
    Notifications(store).delete(challenge.id)
    assert Notifications(store).take_due(START + 2 * LONG) == []


def test_one_of_many_parallel_notifiers_sends(store: Store) -> None:
    store.challenges.cancel(opened(store).id, START)
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.append(len(Notifications(store).take_due(START)))) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(found) == 1


def test_a_notification_that_is_never_sent_is_deleted(store: Store) -> None:
    opened(store)
    done = {step.rule: step.rows for step in purge.batches(store.database, START + timedelta(hours=2))}
    assert done["pings_forgotten"] == 1


def test_a_removed_client_is_not_notified(store: Store) -> None:
    challenge = opened(store)
    store.revocation.remove_client("bank", START)
    store.challenges.cancel(challenge.id, START)
    assert Notifications(store).take_due(START) == []


def test_a_client_is_notified_by_another_process_if_the_first_one_ended(url: str, tmp_path: Path) -> None:
    secret = set_up(tmp_path / "a", url)
    other_host = another_host(tmp_path / "a", "b")
    with Endpoint() as endpoint, serving(other_host, secret) as b:
        told = command(
            tmp_path / "a", "client", "add", "bank", "--for", "generic-ciba", "--notify", endpoint.url, "--json"
        )
        proof = ("bank", json.loads(told)["client_secret"])
        form = {"scope": "openid", "login_hint": "alice", "binding_message": "482913", "client_notification_token": "t"}
        with serving(tmp_path / "a", secret) as a:
            answer = requests.post(f"{a.url}/oauth2/bc-authorize", data=form, auth=proof, timeout=40)
            handle = answer.json()["auth_req_id"]
            a.process.kill()
        denied = b.post("/api/v1/mfa/ssh/reject", {"user": "alice"}, b.token())
        assert denied.status_code == 200, denied.text
        until(lambda: endpoint.heard)
        assert endpoint.heard == [("/ping", "Bearer t", {"auth_req_id": handle})]
        until(lambda: bool(b.events("ping.sent")))
