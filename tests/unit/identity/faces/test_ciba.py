"""Tests the face `ciba`: a program logs people in without a browser."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
import requests
from fakes.notified import Endpoint
from fakes.public_keys import ed25519, sk_ed25519
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet
from service.browser import ORIGIN, Browser
from service.notifications import count_stored, send_due
from service.relying_party import RelyingParty, give_rsa_key
from service.service import Service, wrong

from sshaft_identity.clients.clients import Client
from sshaft_identity.face_support.notifications import RETRY_PAUSES, Notifications

CODE = "482913"
TOKEN = "notify.me-8d67dc78-7faa-4d41-aabd-67707b374255"


@pytest.fixture
def alice(service: Service) -> str:
    """The fingerprint of her key."""
    give_rsa_key(service)
    return service.add_user("alice", ed25519("alice"))[0]


@dataclass
class Bank:
    """A client of CIBA."""

    service: Service
    client_id: str = "bank"
    options: dict[str, Any] | None = field(default_factory=lambda: {"app": "The bank"})
    allows_unbound: bool = False
    jwks: dict[str, Any] | None = None
    pairwise_sector: str | None = None
    secret: str = ""

    def __post_init__(self) -> None:
        client = Client(
            self.client_id,
            frozenset(),
            allows_unbound=self.allows_unbound,
            faces={} if self.options is None else {"ciba": self.options},
            jwks=self.jwks,
            pairwise_sector=self.pairwise_sector,
        )
        self.secret = self.service.store.clients.add(client, self.service.clock())

    def post(self, path: str, form: dict[str, str | None], **more: Any) -> requests.Response:
        form = {name: value for name, value in form.items() if value is not None}
        return self.service.call("POST", path, data=form, **({"auth": (self.client_id, self.secret)} | more))

    def ask(self, **more: str | None) -> requests.Response:
        form = {"scope": "openid profile", "login_hint": "alice", "binding_message": CODE}
        return self.post("/oauth2/bc-authorize", form | more)

    def begin(self, **more: str | None) -> str:
        answer = self.ask(**more)
        assert answer.status_code == 200, answer.text
        assert answer.headers["Cache-Control"] == "no-store"
        handle: str = answer.json()["auth_req_id"]
        return handle

    def poll(self, auth_req_id: str | None) -> requests.Response:
        return self.post(
            "/oauth2/token", {"grant_type": "urn:openid:params:grant-type:ciba", "auth_req_id": auth_req_id}
        )

    def error(self, auth_req_id: str | None) -> str:
        answer = self.poll(auth_req_id)
        assert answer.status_code == 400
        return str(answer.json()["error"])

    def claims(self, auth_req_id: str) -> dict[str, Any]:
        answer = self.poll(auth_req_id)
        assert answer.status_code == 200, answer.text
        keys = KeySet.import_key_set(self.service.call("GET", "/.well-known/jwks.json").json())
        claims: dict[str, Any] = jwt.decode(answer.json()["id_token"], keys, algorithms=["RS256"]).claims
        return claims


@pytest.fixture
def bank(service: Service) -> Bank:
    return Bank(service)


def refusals(service: Service) -> list[tuple[str, str]]:
    return [(each["face"], each["error"]) for each in service.audited("request.refused")]


# --- a login


def test_login_passes_by_the_code_that_the_client_chose(service: Service, bank: Bank, alice: str) -> None:
    answer = bank.ask().json()
    assert (answer["expires_in"], answer["interval"]) == (300, 5)
    assert bank.error(answer["auth_req_id"]) == "authorization_pending"
    (entry,) = service.keys(alice)
    assert (entry["binding"], entry["context"]["app"]) == ("code_in", "The bank")
    assert service.accept("alice", code=CODE, fingerprint=alice).status_code == 200
    claims = bank.claims(answer["auth_req_id"])
    assert {name: claims[name] for name in ("iss", "aud", "sub", "preferred_username", "acr", "amr")} == {
        "iss": ORIGIN, "aud": "bank", "sub": "alice", "preferred_username": "alice",
        "acr": "urn:sshaft:acr:code", "amr": ["swk", "pop"],
    }  # fmt: skip
    assert claims["auth_time"] == int(service.clock().timestamp())
    assert claims["at_hash"]
    assert refusals(service) == [], "to be told to wait is no refusal"


@pytest.mark.parametrize("code", ["000000", "1234567", "12345678"])
def test_codes_of_six_to_eight_digits_pass(service: Service, bank: Bank, alice: str, code: str) -> None:
    handle = bank.begin(binding_message=code)
    assert service.accept("alice", code=code, fingerprint=alice).status_code == 200
    assert bank.poll(handle).status_code == 200


def test_login_without_its_code_does_not_pass(service: Service, bank: Bank, alice: str) -> None:
    handle = bank.begin()
    assert service.accept("alice", fingerprint=alice).json()["error"] == "code_required"
    for tries in range(4, -1, -1):
        refused = service.accept("alice", code=wrong(CODE), fingerprint=alice)
        assert (refused.json()["error"], refused.json()["attempts_left"]) == ("invalid_code", tries)
    assert service.accept("alice", code=CODE, fingerprint=alice).status_code != 200
    assert bank.error(handle) == "access_denied"


def test_another_persons_key_does_not_pass(service: Service, bank: Bank, alice: str) -> None:
    assert alice
    (bob,) = service.add_user("bob", ed25519("bob"))
    handle = bank.begin()
    assert service.accept("bob", code=CODE, fingerprint=bob).status_code != 200
    assert bank.error(handle) == "authorization_pending"


def test_the_result_is_given_once(service: Service, bank: Bank, alice: str) -> None:
    handle = bank.begin()
    service.accept("alice", code=CODE, fingerprint=alice)
    assert bank.poll(handle).status_code == 200
    assert bank.error(handle) == "invalid_grant"


@pytest.mark.usefixtures("alice")
def test_denied_cancelled_and_expired_logins_give_their_errors(service: Service, bank: Bank) -> None:
    handle = bank.begin()
    service.reject()
    assert bank.error(handle) == "access_denied"
    older, newer = bank.begin(), bank.begin(binding_message="739201")
    assert bank.error(older) == "access_denied", "a newer one took its place"
    assert bank.error(newer) == "authorization_pending"
    service.clock.advance(300)
    assert bank.error(newer) == "expired_token"


def test_result_that_is_not_fetched_expires(service: Service, bank: Bank, alice: str) -> None:
    handles = [bank.begin(), Bank(service, "other").begin(binding_message="739201")]
    service.clock.advance(299)
    for code in (CODE, "739201"):
        assert service.accept("alice", code=code, fingerprint=alice).status_code == 200
    service.clock.advance(30)
    assert bank.poll(handles[0]).status_code == 200, "it was passed in time"
    service.clock.advance(40)
    other = Bank(service, "third")
    assert other.error(handles[1]) == "invalid_grant"
    other.client_id, other.secret = "other", service.store.clients.rotate_secret(
        "other", service.clock(), timedelta(0)
    )  # fmt: skip
    assert other.error(handles[1]) == "expired_token"


def test_client_that_polls_too_fast_gets_slow_down(service: Service, bank: Bank, alice: str) -> None:
    handle = bank.begin()
    assert bank.error(handle) == "authorization_pending"
    service.clock.advance(2)
    assert bank.error(handle) == "slow_down"
    service.clock.advance(2)
    assert bank.error(handle) == "slow_down", "counted from the last poll"
    service.clock.advance(5)
    assert bank.error(handle) == "authorization_pending"
    service.accept("alice", code=CODE, fingerprint=alice)
    assert bank.poll(handle).status_code == 200, "who was told to come may come at once"


# --- the request


@pytest.mark.parametrize(
    ("asked", "given"), [("30", 30), ("600", 600), ("1", 30), ("999999999", 600), ("60", 60), (None, 300)]
)
def test_requested_expiry_is_used_within_limits(bank: Bank, asked: str | None, given: int) -> None:
    assert bank.ask(requested_expiry=asked).json()["expires_in"] == given


@pytest.mark.parametrize(
    ("wishes", "error"),
    [
        ({"scope": None}, "invalid_scope"),
        ({"scope": "profile"}, "invalid_scope"),
        ({"login_hint": None}, "invalid_request"),
        ({"id_token_hint": "x"}, "invalid_request"),
        ({"login_hint_token": "x"}, "invalid_request"),
        ({"login_hint": None, "login_hint_token": "x"}, "invalid_request"),
        ({"login_hint": None, "id_token_hint": "x.y.z"}, "invalid_request"),
        ({"login_hint": "alice\nbob"}, "invalid_request"),
        ({"login_hint": "../alice"}, "invalid_request"),
        ({"request": "x.y.z"}, "invalid_request"),
        ({"requested_expiry": "0"}, "invalid_request"),
        ({"requested_expiry": "-60"}, "invalid_request"),
        ({"requested_expiry": "6e1"}, "invalid_request"),
        ({"requested_expiry": "1" * 10}, "invalid_request"),
        ({"acr_values": "x" * 5000}, "invalid_request"),
        ({"binding_message": None}, "invalid_binding_message"),
        ({"binding_message": "48291"}, "invalid_binding_message"),
        ({"binding_message": "482913482"}, "invalid_binding_message"),
        ({"binding_message": "482 913"}, "invalid_binding_message"),
        ({"binding_message": "482913\n"}, "invalid_binding_message"),
        ({"binding_message": "٤٨٢٩١٣"}, "invalid_binding_message"),
        ({"binding_message": "Pay 10 to Eve"}, "invalid_binding_message"),
    ],
)
@pytest.mark.usefixtures("alice")
def test_invalid_requests_are_refused(service: Service, bank: Bank, wishes: dict[str, str | None], error: str) -> None:
    answer = bank.ask(**wishes)
    assert (answer.status_code, answer.json()["error"]) == (400, error)
    assert refusals(service) == [("ciba", error)]
    assert service.store.challenges.recent() == []


def test_repeated_parameter_is_refused(service: Service, bank: Bank) -> None:
    body = f"scope=openid&binding_message={CODE}&login_hint=alice&login_hint=bob"
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = service.call(
        "POST", "/oauth2/bc-authorize", data=body, headers=headers, auth=(bank.client_id, bank.secret)
    )
    assert answer.json()["error"] == "invalid_request"


@pytest.mark.usefixtures("alice")
def test_unknown_user_gets_the_same_answer_as_a_known_user(service: Service, bank: Bank) -> None:
    answers = [bank.ask(login_hint=name) for name in ("alice", "nobody-at-all")]
    assert [(each.status_code, sorted(each.json())) for each in answers] == [
        (200, ["auth_req_id", "expires_in", "interval"])
    ] * 2
    for each in answers:
        assert bank.error(each.json()["auth_req_id"]) == "authorization_pending"
    service.clock.advance(300)
    assert {bank.error(each.json()["auth_req_id"]) for each in answers} == {"expired_token"}


def test_unauthenticated_or_unregistered_clients_are_refused(service: Service, bank: Bank) -> None:
    form = {"scope": "openid", "login_hint": "alice", "binding_message": CODE}
    assert bank.post("/oauth2/bc-authorize", form, auth=None).status_code == 401
    assert bank.post("/oauth2/bc-authorize", form, auth=("bank", "guess")).status_code == 401
    other = Bank(service, "other", options=None)
    assert other.ask().json()["error"] == "unauthorized_client"
    assert other.error("x") == "unauthorized_client"
    assert refusals(service) == [
        ("ciba", "invalid_client"),
        ("ciba", "invalid_client"),
        ("ciba", "unauthorized_client"),
        ("oauth", "unauthorized_client"),
    ]


def test_client_assertion_may_name_this_endpoint_as_audience(service: Service, alice: str) -> None:
    key = ECKey.generate_key("P-256")
    bank = Bank(service, jwks={"keys": [key.as_dict(private=False)]})

    def proof(jti: str) -> dict[str, str]:
        now = int(service.clock().timestamp())
        claims = {"iss": "bank", "sub": "bank", "aud": f"{ORIGIN}/oauth2/bc-authorize", "exp": now + 60, "jti": jti}
        return {
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": jwt.encode({"alg": "ES256"}, claims, key),
        }

    form = {"scope": "openid", "login_hint": "alice", "binding_message": CODE}
    asked = bank.post("/oauth2/bc-authorize", form | proof("1"), auth=None)
    assert asked.status_code == 200, asked.text
    assert bank.post("/oauth2/bc-authorize", form | proof("1"), auth=None).json()["error"] == "invalid_client"
    service.accept("alice", code=CODE, fingerprint=alice)
    grant = {"grant_type": "urn:openid:params:grant-type:ciba", "auth_req_id": asked.json()["auth_req_id"]}
    assert bank.post("/oauth2/token", grant | proof("2"), auth=None).status_code == 200


def test_result_of_another_client_is_refused(service: Service, bank: Bank, alice: str) -> None:
    handle, other = bank.begin(), Bank(service, "other")
    assert other.error(handle) == "invalid_grant"
    service.accept("alice", code=CODE, fingerprint=alice)
    assert other.error(handle) == "invalid_grant"
    assert bank.poll(handle).status_code == 200, "nothing was used up"


@pytest.mark.parametrize("handle", ["", "x", "a" * 5000, "0\x00", None])
def test_odd_handles_are_refused(bank: Bank, handle: str | None) -> None:
    assert bank.error(handle) in ("invalid_grant", "invalid_request")


def test_client_does_not_learn_whether_its_code_belongs_to_another_login(
    service: Service, bank: Bank, alice: str
) -> None:
    """Finding S18: a client could find the code of another client's login by trying. Such a code passes no login."""
    mine, anonymous = service.open("alice"), service.open(None)
    for taken in (mine, anonymous):
        theirs = bank.begin(binding_message=taken["code"])
        assert service.accept("alice", code=taken["code"], fingerprint=alice).json()["error"] == "cancelled"
        assert (bank.error(theirs), service.show(taken["id"])["state"]) == ("access_denied", "cancelled")
    again = service.open("alice")
    assert service.accept("alice", code=again["code"], fingerprint=alice).status_code == 200


def test_client_may_begin_a_login_again(bank: Bank) -> None:
    first = bank.begin()
    second = bank.begin()
    assert (bank.error(first), bank.error(second)) == ("access_denied", "authorization_pending")


# --- by an ID token


def test_id_token_hint_names_the_user_for_its_own_client(service: Service, alice: str) -> None:
    bank, other = Bank(service, pairwise_sector="bank.example.org"), Bank(service, "other")
    handle = bank.begin()
    service.accept("alice", code=CODE, fingerprint=alice)
    hint = bank.poll(handle).json()["id_token"]
    again = bank.begin(login_hint=None, id_token_hint=hint)
    assert service.accept("alice", code=CODE, fingerprint=alice).status_code == 200
    claims = bank.claims(again)
    assert "preferred_username" not in claims
    assert claims["sub"] != "alice"
    stolen = other.ask(login_hint=None, id_token_hint=hint)
    assert stolen.json()["error"] == "invalid_request"


def test_id_token_hint_of_an_earlier_user_of_the_name_is_refused(service: Service, bank: Bank, alice: str) -> None:
    """Finding S15: the hint names a person who is gone, not the next person of that user name."""
    handle = bank.begin()
    service.accept("alice", code=CODE, fingerprint=alice)
    hint = bank.poll(handle).json()["id_token"]
    service.store.revocation.remove_user("alice", service.clock())
    service.add_user("alice", ed25519("the next alice"))
    assert bank.ask(login_hint=None, id_token_hint=hint).json()["error"] == "invalid_request"


def test_login_of_a_removed_user_fails_at_the_client(service: Service, bank: Bank, alice: str) -> None:
    """Finding S1: the client that waits for the login hears that it ended."""
    handle = bank.begin()
    service.accept("alice", code=CODE, fingerprint=alice)
    service.store.revocation.remove_user("alice", service.clock())
    assert bank.error(handle) == "access_denied"


def test_id_token_of_another_client_is_refused_as_a_hint(service: Service, bank: Bank, alice: str) -> None:
    shop = RelyingParty(service)
    came = shop.log_in(Browser(service), "alice", alice, login_hint="alice")
    hint = shop.redeem(came["code"]).json()["id_token"]
    assert bank.ask(login_hint=None, id_token_hint=hint).json()["error"] == "invalid_request"


# --- what was proven


def test_verified_code_and_possession_are_supported(service: Service, bank: Bank, alice: str) -> None:
    assert alice
    (hardware,) = service.add_user("bob", sk_ed25519("bob"))
    handle = bank.begin(login_hint="bob", acr_values="urn:sshaft:acr:verified-code")
    assert service.keys(hardware)[0]["verify_required"] is True
    assert service.accept("bob", code=CODE, fingerprint=hardware).status_code == 403
    assert service.accept("bob", code=CODE, fingerprint=hardware, verified=True).status_code == 200
    assert bank.claims(handle)["acr"] == "urn:sshaft:acr:verified-code"
    handle = bank.begin(login_hint="bob", acr_values="phr possession")
    service.accept("bob", code=CODE, fingerprint=hardware)
    assert bank.claims(handle)["acr"] == "possession"


def test_login_with_words_has_no_acr(service: Service, alice: str) -> None:
    bank = Bank(service, allows_unbound=True)
    handle = bank.begin(binding_message="Pay 10 to Bob", acr_values="possession")
    (entry,) = service.keys(alice)
    assert (entry["binding"], entry["context"]["app"]) == ("none", "The bank: Pay 10 to Bob")
    assert service.accept("alice", fingerprint=alice).status_code == 200
    claims = bank.claims(handle)
    assert "acr" not in claims
    assert claims["amr"] == ["swk", "pop"]
    bank.begin(binding_message=None)
    assert service.keys(alice)[0]["binding"] == "none"


@pytest.mark.parametrize("message", ["48291", "482-913", "Pay\x1b[2K 10", "Pay\n10", "\u202eyaP", "x" * 71, " Pay"])
def test_odd_words_are_refused(service: Service, message: str) -> None:
    bank = Bank(service, allows_unbound=True)
    assert bank.ask(binding_message=message).json()["error"] == "invalid_binding_message"


# --- ping


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as endpoint:
        yield endpoint


@pytest.fixture
def pinged(service: Service, endpoint: Endpoint) -> Bank:
    return Bank(service, options={"notification_endpoint": endpoint.url})


def test_client_is_notified_when_its_login_has_ended(
    service: Service, pinged: Bank, endpoint: Endpoint, alice: str
) -> None:
    handle = pinged.begin(client_notification_token=TOKEN)
    assert send_due(service) == 0, "it has not ended"
    service.accept("alice", code=CODE, fingerprint=alice)
    assert send_due(service) == 1
    assert endpoint.heard == [("/ping", f"Bearer {TOKEN}", {"auth_req_id": handle})]
    assert (send_due(service), count_stored(service)) == (0, 0)
    assert pinged.poll(handle).status_code == 200


@pytest.mark.usefixtures("alice")
def test_client_is_notified_of_every_end(service: Service, pinged: Bank, endpoint: Endpoint) -> None:
    handles = [pinged.begin(client_notification_token=TOKEN) for _ in range(2)]  # the first is cancelled by the second
    service.reject()
    handles.append(pinged.begin(client_notification_token=TOKEN))
    service.clock.advance(300)
    assert send_due(service) == 3
    assert [heard[2]["auth_req_id"] for heard in endpoint.heard] == handles


def test_notification_is_sent_again_to_a_client_that_does_not_answer(
    service: Service, pinged: Bank, endpoint: Endpoint, alice: str
) -> None:
    handle = pinged.begin(client_notification_token=TOKEN)
    service.accept("alice", code=CODE, fingerprint=alice)
    for status, pause in zip((500, 404, 302), RETRY_PAUSES, strict=True):
        endpoint.status, endpoint.headers = status, {"Location": f"{endpoint.url}/elsewhere"}
        assert send_due(service) == 1
        service.clock.advance(pause.total_seconds() - 1)
        assert send_due(service) == 0
        service.clock.advance(1)
    assert (send_due(service), count_stored(service)) == (1, 0), "that was the last"
    assert [heard[0] for heard in endpoint.heard] == ["/ping"] * 4, "redirects are not followed"
    assert [each["last"] for each in service.events("ping.failed")] == [False, False, False, True]
    assert handle not in service.log.getvalue()
    assert TOKEN not in service.log.getvalue()


def test_only_one_of_many_processes_sends_a_notification(service: Service, pinged: Bank, alice: str) -> None:
    pinged.begin(client_notification_token=TOKEN)
    service.accept("alice", code=CODE, fingerprint=alice)
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.append(len(Notifications(service.store).take_due(service.clock()))))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(found) == 1


def test_client_that_has_fetched_its_result_is_not_notified(service: Service, pinged: Bank, alice: str) -> None:
    handle = pinged.begin(client_notification_token=TOKEN)
    service.accept("alice", code=CODE, fingerprint=alice)
    assert pinged.poll(handle).status_code == 200
    assert (send_due(service), count_stored(service)) == (0, 0)


def test_request_cannot_choose_the_notification_address(
    service: Service, pinged: Bank, endpoint: Endpoint, alice: str
) -> None:
    theirs = {"client_notification_endpoint": "http://127.0.0.1:1/", "notification_endpoint": "http://127.0.0.1:1/"}
    pinged.begin(client_notification_token=TOKEN, **theirs)
    service.accept("alice", code=CODE, fingerprint=alice)
    assert send_due(service) == 1
    assert len(endpoint.heard) == 1


def test_removed_address_gets_no_notification(service: Service, pinged: Bank, endpoint: Endpoint, alice: str) -> None:
    pinged.begin(client_notification_token=TOKEN)
    service.accept("alice", code=CODE, fingerprint=alice)
    service.store.clients.set_face("bank", "ciba", None, service.clock())
    assert send_due(service) == 0
    assert endpoint.heard == []


@pytest.mark.parametrize("token", [None, "x" * 1025, "a b", "a\r\nX-Evil: 1", "=", "ü"])
def test_odd_notification_tokens_are_refused(service: Service, pinged: Bank, token: str | None) -> None:
    answer = pinged.ask(client_notification_token=token)
    assert answer.json()["error"] == "invalid_request"
    assert count_stored(service) == 0


def test_secrets_are_not_in_the_database(service: Service, pinged: Bank) -> None:
    handle = pinged.begin(client_notification_token=TOKEN)
    with service.store.database.read() as connection:
        dump = "\n".join(connection.connection.driver_connection.iterdump())  # type: ignore[union-attr]
    for secret in (handle, TOKEN, handle.encode().hex(), TOKEN.encode().hex(), f"'{CODE}'"):
        assert secret.upper() not in dump.upper()


def test_client_that_polls_needs_no_notification_token(service: Service, bank: Bank) -> None:
    bank.begin(client_notification_token=TOKEN)
    assert count_stored(service) == 0


# --- what it says of itself


def test_discovery_has_the_metadata_of_ciba(service: Service) -> None:
    told = service.call("GET", "/.well-known/openid-configuration").json()
    assert told["backchannel_authentication_endpoint"] == f"{ORIGIN}/oauth2/bc-authorize"
    assert told["backchannel_token_delivery_modes_supported"] == ["poll", "ping"]
    assert told["backchannel_user_code_parameter_supported"] is False
    assert "urn:openid:params:grant-type:ciba" in told["grant_types_supported"]
