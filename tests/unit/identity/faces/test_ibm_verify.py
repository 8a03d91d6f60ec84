"""Tests the webhook of IBM Verify by its documented contract: enrollments, initiate and validate."""

from typing import Any

import pytest
from fakes.public_keys import ed25519
from service.service import Service, wrong
from service.typing_provider import Provider, audited, printed, refusals


@pytest.fixture
def alice(service: Service) -> str:
    """The fingerprint of her key."""
    return service.add_user("alice", ed25519("alice"))[0]


class Webhook(Provider):
    def __init__(self, service: Service, name: str = "ibm", networks: tuple[str, ...] = (), **options: Any) -> None:
        super().__init__(service, "ibm_verify", "/ibm-verify/", name, options, networks)

    def initiate(self, user: Any = "alice") -> Any:
        answer = self.call("initiate", {"capability": "ssh", "id": "ssh", "attributes": {"username": user}})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def validate(self, transaction: Any, code: Any, user: Any = "alice") -> str:
        attributes = {"passvalue": code, "username": user}
        body = {"capability": "ssh", "id": "ssh", "transactionId": transaction, "attributes": attributes}
        answer = self.call("validate", body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["status"])


@pytest.fixture
def webhook(service: Service) -> Webhook:
    return Webhook(service, app="Verify")


def test_code_that_ssh_printed_passes_once(service: Service, webhook: Webhook, alice: str) -> None:
    begun = webhook.initiate()
    assert begun["status"] == "PENDING"
    code = printed(service, alice)
    assert webhook.validate(begun["transactionId"], wrong(code)) == "FAILED"
    assert webhook.validate(begun["transactionId"], code) == "SUCCESS"
    assert webhook.validate(begun["transactionId"], code) == "FAILED"
    (challenge,) = service.store.challenges.recent()
    assert (challenge.state, challenge.context.app) == ("consumed", "Verify")
    assert audited(service).count(("challenge.wrong_code", None)) == 1
    assert refusals(service) == ["no_challenge"]


def test_every_person_has_the_factor(service: Service, alice: str) -> None:
    webhook = Webhook(service, capability="ssh_login")
    told = [webhook.call("enrollments", {"username": user}).json() for user in ("alice", "nobody-here")]
    attributes = {"authExecutionFlow": "init_then_validate", "deviceName": "SSH"}
    assert told == [[{"id": "ssh", "capability": "ssh_login", "attributes": attributes}]] * 2, alice


def test_unknown_user_gets_the_same_answer_as_a_known_user(webhook: Webhook, alice: str) -> None:
    known, unknown = webhook.initiate(), webhook.initiate("nobody-here")
    assert known.keys() == unknown.keys(), alice
    assert webhook.validate(unknown["transactionId"], "123456", "nobody-here") == "FAILED"


def test_transaction_belongs_to_its_login_its_user_and_its_client(
    service: Service, webhook: Webhook, alice: str
) -> None:
    service.add_user("bob", ed25519("bob"))
    other = Webhook(service, "other")
    old, bobs = webhook.initiate()["transactionId"], webhook.initiate("bob")["transactionId"]
    mine = webhook.initiate()["transactionId"]
    code = printed(service, alice)
    for transaction in (old, bobs, "", None, 7, "x" * 5000):
        assert webhook.validate(transaction, code) == "FAILED"
    assert webhook.validate(mine, code, "bob") == "FAILED"
    assert other.validate(mine, code) == "FAILED"
    theirs = other.initiate()["transactionId"]
    assert webhook.validate(theirs, code) == "FAILED"
    assert webhook.validate(mine, code) == "SUCCESS"
    assert refusals(service) == ["not_presented"] + ["no_challenge"] * 8


@pytest.mark.parametrize("user", ["", "-oProxyCommand=x", "a b", "\u202e", "x" * 65, None, 7, ["alice"]])
def test_odd_user_names_are_refused(service: Service, webhook: Webhook, user: Any) -> None:
    assert webhook.initiate(user) == {"status": "FAILED", "attributes": {}}
    assert webhook.validate("x", "123456", user) == "FAILED"
    assert service.store.challenges.recent() == []
    assert refusals(service) == ["invalid_request"] * 2


@pytest.mark.parametrize("step", ["enrollments", "initiate", "validate"])
def test_unauthenticated_client_is_refused(service: Service, webhook: Webhook, step: str) -> None:
    lemonldap = Provider(service, "code_back", "", "lemonldap")
    far = Webhook(service, "far", ("192.0.2.0/24",))
    for auth, status in (
        (None, 401),
        (("ibm", "wrong"), 401),
        (("nobody", webhook.secret), 401),
        ((lemonldap.name, lemonldap.secret), 403),
        ((far.name, far.secret), 401),
    ):
        body = {"username": "alice", "attributes": {"username": "alice"}}
        answer = webhook.call(step, body, auth=auth, headers={"X-Forwarded-For": "192.0.2.1"})
        assert answer.status_code == status
        assert answer.headers["Content-Type"] == "application/problem+json"
    assert len(refusals(service)) == 5


@pytest.mark.parametrize("body", ["", "[]", "x", "[" * 100_000, r'{"transactionId": "\ud800"}'])
def test_odd_bodies_are_refused(service: Service, webhook: Webhook, body: str) -> None:
    for step in ("enrollments", "initiate", "validate"):
        answer = service.call("POST", f"/ibm-verify/{step}", data=body, auth=(webhook.name, webhook.secret))
        assert answer.status_code in (400, 413)


def test_neither_code_nor_transaction_is_in_the_log_or_the_database(
    service: Service, webhook: Webhook, alice: str
) -> None:
    transaction = webhook.initiate()["transactionId"]
    code = printed(service, alice)
    assert webhook.validate(transaction, code) == "SUCCESS"
    for secret in (code, transaction, webhook.secret):
        assert secret not in service.log.getvalue()
