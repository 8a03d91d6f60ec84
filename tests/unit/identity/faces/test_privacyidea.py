"""Tests the face `validate` with the call sequences of privacyIDEA's plugins."""

import base64
import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import pytest
import requests
from fakes.public_keys import ed25519
from service.service import Service

from sshaft_identity.clients.clients import Client, Scope


@pytest.fixture
def alice(service: Service) -> str:
    """The fingerprint of her key."""
    return service.add_user("alice", ed25519("alice"))[0]


class Plugin:
    def __init__(self, service: Service, name: str = "plugin", mode: str = "poll", **more: Any) -> None:
        self.service, self.name = service, name
        faces = {"validate": {"mode": mode}}
        self.secret = service.store.clients.add(Client(name, frozenset([]), faces=faces, **more), service.clock())

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


FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def token_of(plugin: Plugin, **headers: str) -> str:
    account = {"username": plugin.name, "password": plugin.secret}
    answer = plugin.service.call("POST", "/auth", data=account, headers=FORM | headers)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["result"]["value"]["token"])


def refusals(service: Service) -> list[str]:
    return [each["error"] for each in service.refusals()]


_FIELDS = ((b"user", b"alice"), (b"pass", b"Gr\xfc\xdfe"), (b"clientip", b"192.0.2.7:50123"))
_PART = b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
MULTIPART = b"".join(_PART % field for field in _FIELDS) + b"--x--\r\n"
GREETING = b"user=alice&pass=Gr%FC%DFe&clientip=192.0.2.7:50123"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (GREETING, "application/x-www-form-urlencoded"),
        (b"user=alice&pass=Gr\xfc\xdfe&clientip=192.0.2.7:50123", "application/x-www-form-urlencoded"),
        (b'{"user": "alice", "pass": "Gr\xfc\xdfe", "clientip": "192.0.2.7:50123"}', "application/json"),
        (MULTIPART, "multipart/form-data; boundary=x"),
    ],
    ids=["form", "form of bytes", "JSON", "multipart"],
)
def test_password_in_another_encoding_begins_a_login(
    service: Service, radius: Plugin, alice: str, body: bytes, kind: str
) -> None:
    """Case latin1_password, case address_with_port: Windows NPS and AnyConnect send Latin-1; 400 ended each login."""
    assert alice
    auth = (radius.name, radius.secret)
    answer = service.call("POST", "/validate/check", data=body, auth=auth, headers={"Content-Type": kind})
    assert answer.json()["result"].get("authentication") == "CHALLENGE", answer.text
    assert service.audited("challenge.created")[-1]["browser_address"] == "192.0.2.7"


def test_user_name_in_another_encoding_is_refused(service: Service, radius: Plugin) -> None:
    """Case latin1_password: only values that are not used may be in another encoding."""
    answer = service.call(
        "POST", "/validate/check", data=b"user=b%FCrgi&pass=x", auth=(radius.name, radius.secret), headers=FORM
    )
    assert answer.status_code == 400
    assert "user" in answer.json()["result"]["error"]["message"]


# --- the sequence of Keycloak's plugin: token, trigger, poll, finish


def test_trigger_poll_and_finish_once(service: Service, plugin: Plugin, alice: str) -> None:
    token = token_of(plugin)
    for header in ("Authorization", "PI-Authorization"):
        answer = service.call(
            "POST", "/validate/triggerchallenge", data={"user": "alice"}, headers=FORM | {header: token}
        )
        detail = answer.json()["detail"]
    assert detail["client_mode"] == detail["preferred_client_mode"] == "poll"
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


def test_token_contains_its_expiry(service: Service, plugin: Plugin) -> None:
    account = {"username": plugin.name, "password": plugin.secret}
    told = service.call("POST", "/auth", data=account, headers=FORM).json()
    token, role = (told["result"]["value"][name] for name in ("token", "role"))
    claims = token.split(".")[1]
    assert role == "admin", "simpleSAMLphp's plugin takes no other"
    assert re.fullmatch(r"[A-Za-z0-9]+", claims), "Java's decoder knows no - or _, .NET no ="
    assert json.loads(base64.b64decode(claims + "=" * (-len(claims) % 4)))["exp"] - told["time"] == 300
    service.clock.advance(301)
    late = service.call("POST", "/validate/check", data={"user": "alice"}, headers=FORM | {"Authorization": token})
    assert late.status_code == 401


def test_claims_in_the_token_prove_nothing(service: Service, plugin: Plugin) -> None:
    claims = token_of(plugin).rpartition(".")[0]
    for token in (f"{claims}.", claims, f"{claims}.{'A' * 43}", "..", "."):
        answer = service.call(
            "POST", "/validate/check", data={"user": "alice"}, headers=FORM | {"Authorization": token}
        )
        assert answer.status_code == 401


def test_ad_fs_may_send_its_old_token_with_every_call(service: Service, plugin: Plugin, alice: str) -> None:
    for _ in range(2):
        last = {"Authorization": token_of(plugin)}
        assert token_of(plugin, **last)
        body = {"user": "alice"}
        detail = service.call("POST", "/validate/triggerchallenge", data=body, headers=FORM | last).json()["detail"]
        passed(service, detail, alice)
        body |= {"pass": "", "transaction_id": detail["transaction_id"]}
        done = service.call("POST", "/validate/check", data=body, headers=FORM | last).json()
        assert done["result"] == {"status": True, "value": True, "authentication": "ACCEPT"}


@pytest.mark.parametrize("name", ["a", "ab", "abc"])
def test_pi_authorization_header_authenticates_the_client(service: Service, name: str) -> None:
    """Keycloak's plugin sends this header with every call but `/auth`, without padding, beside Authorization."""
    plugin = Plugin(service, name)
    basic = base64.b64encode(f"{name}:{plugin.secret}".encode()).decode().rstrip("=")
    headers = FORM | {"PI-Authorization": f"Basic {basic}"}
    for more in ({}, {"Authorization": token_of(plugin)}):
        answer = service.call("POST", "/validate/triggerchallenge", data={"user": "alice"}, headers=headers | more)
        assert answer.json()["result"]["authentication"] == "CHALLENGE", answer.text
    wrong = base64.b64encode(f"{name}:wrong".encode()).decode()
    headers |= {"PI-Authorization": f"Basic {wrong}", "Authorization": token_of(plugin)}
    assert service.call("POST", "/validate/check", data={"user": "alice"}, headers=headers).status_code == 401


def test_user_names_may_be_encoded_twice(service: Service, plugin: Plugin) -> None:
    service.add_user("al+ice@example.org", ed25519("alice"))
    for name in ("al+ice@example.org", quote("al+ice@example.org"), quote("al+ice@example.org", safe="")):
        plugin.trigger(name)
    assert {each.user for each in service.store.challenges.recent()} == {"al+ice@example.org"}


@pytest.mark.parametrize(
    ("fields", "address"),
    [
        ({"client": "192.0.2.7"}, "192.0.2.7"),
        ({"clientip": "192.0.2.7"}, "192.0.2.7"),
        ({"client": "2001%3Adb8%3A%3A1"}, "2001:db8::1"),
        ({"clientip": "00-11-22-33-44-55"}, None),
        ({"client": "\x1b[2J"}, None),
    ],
)
def test_address_of_the_person_is_stored(
    service: Service, plugin: Plugin, fields: dict[str, str], address: str | None
) -> None:
    plugin.post("/validate/triggerchallenge", user="alice", **fields)
    (challenge,) = service.store.challenges.recent()
    assert challenge.context.ip == address


def test_multipart_forms_of_php_are_accepted(service: Service, plugin: Plugin, alice: str) -> None:
    auth = (plugin.name, plugin.secret)

    def post(path: str, **fields: str) -> Any:
        parts = {name: (None, value) for name, value in fields.items()}
        return service.call("POST", path, files=parts, auth=auth).json()

    detail = post("/validate/triggerchallenge", user="alice")["detail"]
    passed(service, detail, alice)
    done = post("/validate/check", user="alice", transaction_id=detail["transaction_id"], **{"pass": ""})
    assert done["result"]["authentication"] == "ACCEPT"


def test_json_bodies_are_accepted(service: Service, plugin: Plugin) -> None:
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
    assert plugin.poll(before) == (False, "declined")


def test_unknown_transaction_is_declined(plugin: Plugin) -> None:
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


def test_serial_of_a_remote_token_is_the_user_if_no_user_is_named(service: Service, radius: Plugin, alice: str) -> None:
    def check(**form: str) -> str:
        return str(radius.post("/validate/check", **form).json()["result"].get("authentication", "an error"))

    assert check(serial="alice", **{"pass": "any"}) == "CHALLENGE"
    code = printed(service, alice)
    assert check(serial="alice", user="bob", **{"pass": code}) != "ACCEPT"
    assert check(serial="alice", **{"pass": code}) == "ACCEPT"
    assert check(serial="not a name", **{"pass": "any"}) == "an error"


def test_radiuscheck_answers_by_its_status(service: Service, radius: Plugin, alice: str) -> None:
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


def test_transaction_belongs_to_its_client_and_its_user(service: Service, plugin: Plugin, alice: str) -> None:
    service.add_user("bob", ed25519("bob"))
    detail = plugin.trigger()
    passed(service, detail, alice)
    transaction = detail["transaction_id"]
    assert Plugin(service, "other").check(transaction)[0] is None
    assert plugin.check(transaction, user="bob")[0] is None
    assert plugin.check(transaction, code="123456") == (False, "REJECT"), "no password is taken beside it"
    assert plugin.check(transaction) == (True, "ACCEPT")


def test_code_of_the_page_is_not_accepted_as_pass(service: Service, plugin: Plugin, alice: str) -> None:
    detail = plugin.trigger()
    assert plugin.check(detail["transaction_id"], code_in(detail)) == (False, "REJECT"), alice
    assert service.store.challenges.recent()[0].tries == 0


def test_parameter_pass_is_never_a_password(service: Service, plugin: Plugin, radius: Plugin) -> None:
    for password in ("password", "alice", "0", "000000", " ", "\x00", "null", "true"):
        assert plugin.check(code=password)[0] is False
        assert radius.check(code=password)[0] is False
    assert "accepted" not in {each.state for each in service.store.challenges.recent()}


def test_unknown_user_gets_the_same_answer_as_a_known_user(plugin: Plugin, alice: str) -> None:
    known, unknown = plugin.trigger(), plugin.trigger("nobody-here")
    assert known.keys() == unknown.keys(), alice
    assert plugin.poll(unknown["transaction_id"]) == (False, "pending")


@pytest.mark.parametrize("user", ["", "a b", "-x", "x" * 65, "\u202e", "a\nb"])
def test_odd_user_names_get_an_error_of_this_api(service: Service, plugin: Plugin, user: str) -> None:
    for path in ("/validate/triggerchallenge", "/validate/check"):
        answer = plugin.post(path, user=user)
        assert (answer.status_code, answer.json()["result"]["status"]) == (400, False)
        assert answer.json()["result"]["error"]["code"] == 905
    assert service.store.challenges.recent() == []
    assert len(refusals(service)) == 2


PART = b'--x\r\nContent-Disposition: form-data; name="user"%s\r\n\r\n%s\r\n'


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"\xff", b'{"user":', b"[" * 50_000,
        rb'{"user": "alice", "transaction_id": "\ud800"}',
        PART % (b"", b"\xff") + b"--x--\r\n",
        PART % (b"", b"alice") + PART % (b"", b"root") + b"--x--\r\n",
        PART % (b'; filename="x"', b"alice") + b"--x--\r\n",
        PART % (b"", b"alice"),
        PART % (b"\r\nContent-Type: multipart/form-data; boundary=y", b"--y\r\n") + b"--x",
        b"--x\r\n\r\nalice\r\n--x--\r\n",
        b"--x\r\n" * 5_000,
    ],
)  # fmt: skip
def test_odd_bodies_are_refused(service: Service, plugin: Plugin, body: bytes) -> None:
    parts = ("multipart/form-data", "multipart/form-data; boundary=x", "multipart/form-data; boundary=")
    for kind in ("application/json", "application/x-www-form-urlencoded", "text/plain", *parts):
        headers = {"Content-Type": kind}
        answer = service.call(
            "POST", "/validate/triggerchallenge", data=body, auth=(plugin.name, plugin.secret), headers=headers
        )
        assert answer.status_code == 400
        assert answer.json()["result"]["status"] is False


def test_unauthenticated_client_gets_nothing(service: Service, plugin: Plugin) -> None:
    api = service.store.clients.add(Client("api", frozenset([Scope.CHALLENGES])), service.clock())
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


def test_token_of_auth_does_not_open_the_api(service: Service, plugin: Plugin) -> None:
    token = token_of(plugin)
    bearer = {"Authorization": f"Bearer {token.rpartition('.')[2]}"}
    assert service.call("POST", "/api/v1/challenges", json={"user": "alice"}, headers=bearer).status_code == 403


def test_client_may_call_from_its_networks_only(service: Service) -> None:
    far = Plugin(service, "far", networks=["192.0.2.0/24"])
    assert far.post("/validate/triggerchallenge", user="alice").status_code == 401
    assert far.post("/auth", username=far.name, password=far.secret).status_code == 401


def test_code_is_refused_from_another_client(service: Service, radius: Plugin, alice: str) -> None:
    other = Plugin(service, "other", "interactive")
    radius.check(code="begin")
    code = printed(service, alice)
    assert other.check(code=code) == (False, "CHALLENGE")
    assert other.check(code=code) == (False, "REJECT")
    assert radius.check(code=code) == (True, "ACCEPT")


def test_token_of_a_client_outside_its_networks_is_refused(service: Service, plugin: Plugin) -> None:
    far = Plugin(service, "far", networks=["192.0.2.0/24"])
    client = service.store.clients.get("far")
    assert client
    token = service.store.access_tokens.issue(client, ["validate"], service.clock())
    headers = FORM | {"Authorization": f"Bearer {token}"}
    transaction = plugin.trigger()["transaction_id"]
    body = {"user": "alice", "transaction_id": transaction}
    assert service.call("POST", "/validate/check", data=body, headers=headers).status_code == 401
    assert refusals(service) == ["4031"], far.name


def test_poll_does_not_reveal_the_user(service: Service, plugin: Plugin) -> None:
    transactions = [plugin.trigger()["transaction_id"], plugin.trigger("nobody-here")["transaction_id"], "unknown"]
    told = [service.call("GET", "/validate/polltransaction", params={"transaction_id": each}) for each in transactions]
    assert [each.json()["detail"] for each in told] == [
        {"challenge_status": "pending"}, {"challenge_status": "pending"}, {"challenge_status": "declined"},
    ]  # fmt: skip
    assert all("alice" not in each.text and each.headers["Cache-Control"] == "no-store" for each in told)
    assert all(len(each) >= 22 for each in transactions[:2]), "128 bits"


def test_expired_login_does_not_pass(service: Service, plugin: Plugin, alice: str) -> None:
    detail = plugin.trigger()
    service.clock.advance(601)
    assert plugin.poll(detail["transaction_id"]) == (False, "declined"), alice
    assert plugin.check(detail["transaction_id"]) == (False, "REJECT")


def test_only_one_of_many_parallel_calls_takes_the_result(
    service: Service, plugin: Plugin, radius: Plugin, alice: str
) -> None:
    detail = plugin.trigger()
    passed(service, detail, alice)
    begun = radius.trigger()["transaction_id"]
    code = printed(service, alice)

    def finish(end: tuple[Plugin, str, str]) -> str:
        by, transaction, typed = end
        answer = requests.post(
            f"{service.url}/validate/check",
            data={"user": "alice", "pass": typed, "transaction_id": transaction},
            auth=(by.name, by.secret), timeout=40,
        )  # fmt: skip
        return str(answer.json()["result"]["authentication"])

    for end in ((plugin, str(detail["transaction_id"]), ""), (radius, str(begun), code)):
        with ThreadPoolExecutor(8) as pool:
            assert sorted(pool.map(finish, [end] * 8)) == ["ACCEPT", *["REJECT"] * 7]
    assert len(refusals(service)) == 14
