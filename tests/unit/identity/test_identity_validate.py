"""The API of privacyIDEA's plugins: their call sequences, and what nobody gets by them."""

import json
import re
from typing import Any

import pytest
import requests
from fakes.public_keys import ed25519
from unit.identity.running import Service

from sshaft_identity.clients import Scope
from sshaft_identity.tables import audit_events


@pytest.fixture
def alice(service: Service) -> str:
    """The fingerprint of her key."""
    return service.add_user("alice", ed25519("alice"))[0]


class Plugin:
    def __init__(self, service: Service, name: str = "plugin", mode: str = "poll", **more: Any) -> None:
        self.service, self.name = service, name
        faces = {"validate": {"mode": mode}}
        self.secret = service.store.clients.add(name, [], service.clock(), faces=faces, **more)

    def post(self, path: str, **fields: str) -> requests.Response:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self.service.call("POST", path, data=fields, auth=(self.name, self.secret), headers=headers)

    def trigger(self, user: str = "alice") -> dict[str, Any]:
        answer = self.post("/validate/triggerchallenge", user=user, clientip="192.0.2.7")
        assert answer.status_code == 200, answer.text
        told = answer.json()
        assert told["result"] == {"status": True, "value": False, "authentication": "CHALLENGE"}
        return dict(told["detail"])

    def poll(self, transaction: str) -> tuple[bool, str]:
        answer = self.service.call("GET", "/validate/polltransaction", params={"transaction_id": transaction})
        told = answer.json()
        return told["result"]["value"], told["detail"]["challenge_status"]

    def check(self, transaction: str | None = None, code: str = "", user: str = "alice") -> tuple[Any, str]:
        more = {} if transaction is None else {"transaction_id": transaction}
        answer = self.post("/validate/check", user=user, **{"pass": code}, **more)
        result = answer.json()["result"]
        return result.get("value"), result.get("authentication", str(result.get("error")))


@pytest.fixture
def plugin(service: Service) -> Plugin:
    return Plugin(service)


@pytest.fixture
def radius(service: Service) -> Plugin:
    return Plugin(service, "radius", "interactive")


def code_in(detail: dict[str, Any]) -> str:
    found = re.search(r"ssh mfa@login\.example\.org (\d{6})$", detail["message"])
    assert found, detail
    return found[1]


def passed(service: Service, detail: dict[str, Any], fingerprint: str) -> None:
    answer = service.accept("alice", code=code_in(detail), fingerprint=fingerprint, confirmed=True)
    assert answer.status_code == 200, answer.text


def printed(service: Service, fingerprint: str) -> str:
    answer = service.accept("alice", fingerprint=fingerprint, confirmed=True)
    assert answer.json()["state"] == "presented", answer.text
    return str(answer.json()["code"])


def refusals(service: Service) -> list[str]:
    with service.store.database.read() as connection:
        rows = connection.execute(audit_events.select().where(audit_events.c.event == "request.refused")).all()
    return [json.loads(row.facts)["error"] for row in rows]


# --- the sequence of Keycloak's plugin: token, trigger, poll, finish


def test_trigger_poll_and_finish_once(service: Service, plugin: Plugin, alice: str) -> None:
    account = {"username": plugin.name, "password": plugin.secret}
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    token = service.call("POST", "/auth", data=account, headers=headers).json()["result"]["value"]["token"]
    for header in ("Authorization", "PI-Authorization"):
        answer = service.call(
            "POST", "/validate/triggerchallenge", data={"user": "alice"}, headers=headers | {header: token}
        )
        detail = answer.json()["detail"]
    assert detail["client_mode"] == "poll"
    assert detail["multi_challenge"][0]["transaction_id"] == detail["transaction_id"]
    transaction = detail["transaction_id"]
    assert plugin.poll(transaction) == (False, "pending")
    assert plugin.check(transaction) == (False, "REJECT"), "not before the ssh"
    passed(service, detail, alice)
    assert plugin.poll(transaction) == (True, "accept")
    path = service.call("GET", f"/validate/polltransaction/{transaction}").json()
    assert path["result"]["value"] is True
    assert plugin.check(transaction) == (True, "ACCEPT")
    assert plugin.check(transaction) == (False, "REJECT"), "once"


def test_json_bodies_are_taken_as_well(service: Service, plugin: Plugin) -> None:
    answer = service.call(
        "POST", "/validate/check", json={"user": "alice", "pass": ""}, auth=(plugin.name, plugin.secret)
    )
    assert answer.json()["result"]["authentication"] == "CHALLENGE"


def test_a_denied_login_is_declined(service: Service, plugin: Plugin, alice: str) -> None:
    transaction = plugin.trigger()["transaction_id"]
    service.reject(fingerprint=alice)
    assert plugin.poll(transaction) == (False, "declined")
    assert plugin.check(transaction) == (False, "REJECT")


def test_a_new_challenge_takes_the_place_of_the_one_before(plugin: Plugin) -> None:
    before = plugin.trigger()["transaction_id"]
    plugin.trigger()
    assert plugin.poll(before) == (False, "cancelled")


def test_a_transaction_that_nobody_knows(plugin: Plugin) -> None:
    assert plugin.poll("x") == (False, "declined")
    assert plugin.poll("") == (False, "declined")
    assert plugin.check("x")[0] is None


# --- code-back: FreeRADIUS, and privacyIDEA's remote token


def test_the_first_try_opens_the_login_and_the_code_of_ssh_ends_it(
    service: Service, radius: Plugin, alice: str
) -> None:
    assert radius.check(code="any password") == (False, "CHALLENGE")
    code = printed(service, alice)
    assert radius.check(code=code) == (True, "ACCEPT")
    assert radius.check(code=code) == (False, "CHALLENGE"), "a code is good once: a new login begins"


def test_radiuscheck_says_it_by_its_status(service: Service, radius: Plugin, alice: str) -> None:
    assert radius.post("/validate/radiuscheck", user="alice", **{"pass": ""}).status_code == 400
    code = printed(service, alice)
    assert radius.post("/validate/radiuscheck", user="alice", **{"pass": code}).status_code == 204
    assert radius.post("/validate/radiuscheck", user="a b", **{"pass": code}).status_code == 400


def test_an_interactive_challenge_takes_its_code(service: Service, radius: Plugin, alice: str) -> None:
    detail = radius.trigger()
    assert (detail["client_mode"], detail["message"]) == (
        "interactive", "Run: ssh mfa@login.example.org and type the code that it prints",
    )  # fmt: skip
    assert radius.check(detail["transaction_id"], printed(service, alice)) == (True, "ACCEPT")


def test_wrong_codes_end_the_login(service: Service, radius: Plugin, alice: str) -> None:
    transaction = radius.trigger()["transaction_id"]
    code = printed(service, alice)
    wrong = f"{(int(code) + 1) % 10**6:06}"
    for _ in range(5):
        assert radius.check(transaction, wrong) == (False, "REJECT")
    assert radius.check(transaction, code) == (False, "REJECT")
    assert refusals(service) == ["too_many_attempts"], "wrong codes have events of their own"


# --- what nobody gets


def test_a_transaction_is_of_its_client_and_its_user(service: Service, plugin: Plugin, alice: str) -> None:
    service.add_user("bob", ed25519("bob"))
    detail = plugin.trigger()
    passed(service, detail, alice)
    transaction = detail["transaction_id"]
    assert Plugin(service, "other").check(transaction)[0] is None
    assert plugin.check(transaction, user="bob")[0] is None
    assert plugin.check(transaction, code="123456") == (False, "REJECT"), "no password is taken beside it"
    assert plugin.check(transaction) == (True, "ACCEPT")


def test_the_code_of_the_page_is_no_password(service: Service, plugin: Plugin, alice: str) -> None:
    detail = plugin.trigger()
    assert plugin.check(detail["transaction_id"], code_in(detail)) == (False, "REJECT"), alice
    assert service.store.challenges.recent()[0].tries == 0


def test_a_pass_is_never_a_password(service: Service, plugin: Plugin, radius: Plugin) -> None:
    for password in ("password", "alice", "0", "000000", " ", "\x00", "null", "true"):
        assert plugin.check(code=password)[0] is False
        assert radius.check(code=password)[0] is False
    assert "accepted" not in {each.state for each in service.store.challenges.recent()}


def test_an_unknown_user_is_answered_like_a_known_one(plugin: Plugin, alice: str) -> None:
    known, unknown = plugin.trigger(), plugin.trigger("nobody-here")
    assert known.keys() == unknown.keys(), alice
    assert plugin.poll(unknown["transaction_id"]) == (False, "pending")


@pytest.mark.parametrize("user", ["", "a b", "-x", "x" * 65, "\u202e", "a\nb"])
def test_odd_users_get_an_error_of_this_api(service: Service, plugin: Plugin, user: str) -> None:
    for path in ("/validate/triggerchallenge", "/validate/check"):
        answer = plugin.post(path, user=user)
        assert (answer.status_code, answer.json()["result"]["status"]) == (400, False)
        assert answer.json()["result"]["error"]["code"] == 905
    assert service.store.challenges.recent() == []
    assert len(refusals(service)) == 2


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff", b'{"user":', b"[" * 50_000])
def test_odd_bodies(service: Service, plugin: Plugin, body: bytes) -> None:
    for kind in ("application/json", "application/x-www-form-urlencoded", "text/plain"):
        headers = {"Content-Type": kind}
        answer = service.call(
            "POST", "/validate/triggerchallenge", data=body, auth=(plugin.name, plugin.secret), headers=headers
        )
        assert answer.status_code == 400
        assert answer.json()["result"]["status"] is False


def test_who_has_not_proven_itself_gets_nothing(service: Service, plugin: Plugin) -> None:
    api = service.store.clients.add("api", [Scope.CHALLENGES], service.clock())
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    bearers = [service.bearer(Scope.CHALLENGES), {"Authorization": "x"}, {"PI-Authorization": "x"}, {}]
    for path in ("/validate/check", "/validate/triggerchallenge", "/validate/radiuscheck"):
        for auth in (("plugin", "wrong"), ("nobody", plugin.secret), ("api", api)):
            answer = service.call("POST", path, data={"user": "alice"}, auth=auth, headers=form)
            assert answer.status_code in (401, 403)
        for bearer in bearers:
            assert service.call("POST", path, data={"user": "alice"}, headers=form | bearer).status_code == 401
    wrong = {"username": plugin.name, "password": "wrong"}
    assert service.call("POST", "/auth", data=wrong, headers=form).status_code == 401
    assert len(refusals(service)) == 3 * 7 + 1
    assert service.store.challenges.recent() == []


def test_the_token_of_auth_is_no_key_to_the_api(service: Service, plugin: Plugin) -> None:
    token = plugin.post("/auth", username="x", password="y").json()["result"]["value"]["token"]
    bearer = {"Authorization": f"Bearer {token}"}
    assert service.call("POST", "/api/v1/challenges", json={"user": "alice"}, headers=bearer).status_code == 403


def test_a_client_may_call_from_its_networks_only(service: Service) -> None:
    far = Plugin(service, "far", networks=["192.0.2.0/24"])
    assert far.post("/validate/triggerchallenge", user="alice").status_code == 401
    assert far.post("/auth", username=far.name, password=far.secret).status_code == 401
