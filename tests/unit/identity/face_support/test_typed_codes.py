"""Tests each decision about a code that a person types at a provider."""

import base64
import json
from datetime import timedelta
from typing import Any

import pytest
from fakes.public_keys import ed25519
from service.service import START, Service, wrong
from service.typing_provider import Provider, printed
from starlette.requests import Request

from sshaft_identity.challenges.challenge import Binding, Challenge, State
from sshaft_identity.clients.clients import Client
from sshaft_identity.face_support import typed_codes
from sshaft_identity.web.call import Call
from sshaft_identity.web.problem import ProblemError

FACE = "code_back"


@pytest.fixture
def alice(service: Service) -> str:
    """The fingerprint of her key."""
    return service.add_user("alice", ed25519("alice"))[0]


@pytest.fixture
def portal(service: Service) -> Client:
    return client_named(service, "portal")


def client_named(service: Service, name: str) -> Client:
    Provider(service, FACE, "/code-back/", name)
    client = service.store.clients.get(name)
    assert client
    return client


def call_of(service: Service, body: bytes = b"", authorization: str | None = None) -> Call:
    headers = [] if authorization is None else [(b"authorization", authorization.encode())]
    return Call(Request({"type": "http", "app": service.app, "headers": headers, "client": None}), body)


def reasons(service: Service) -> list[tuple[str, str, str]]:
    return [(each["face"], each["error"], each["reason"]) for each in service.audited("request.refused")]


def basic(name: str, secret: str) -> str:
    return f"Basic {base64.b64encode(f'{name}:{secret}'.encode()).decode()}"


def test_client_needs_its_secret_and_the_face(service: Service) -> None:
    portal, other = Provider(service, FACE, "/code-back/"), Provider(service, "cas", "/cas/", "other")
    found = typed_codes.client_of_basic(call_of(service, authorization=basic("provider", portal.secret)), FACE)
    assert found.client_id == "provider"
    with pytest.raises(ProblemError) as refused:
        typed_codes.client_of_basic(call_of(service, authorization=basic("provider", "wrong")), FACE)
    told = "no such client, or not its secret"
    assert (refused.value.error, refused.value.members) == ("invalid_client", {"detail": told})
    assert refused.value.headers == {"WWW-Authenticate": 'Basic realm="sshaft"'}
    with pytest.raises(ProblemError) as refused:
        typed_codes.client_of_basic(call_of(service, authorization=basic("other", other.secret)), FACE)
    assert refused.value.error == "unauthorized_client"
    assert reasons(service) == [
        (FACE, "invalid_client", told),
        (FACE, "unauthorized_client", "the client is not registered for this face"),
    ]


def test_body_is_a_json_object(service: Service) -> None:
    assert typed_codes.json_members(call_of(service, b'{"a": 1}'), FACE) == {"a": 1}
    with pytest.raises(ProblemError) as refused:
        typed_codes.json_members(call_of(service, b"[]"), FACE)
    assert (refused.value.error, refused.value.members) == (
        "invalid_request", {"detail": "the body must be a JSON object"},
    )  # fmt: skip
    assert reasons(service) == [(FACE, "invalid_request", "the body is not a JSON object")]


@pytest.mark.parametrize(
    ("path", "text"), [("a", "1"), ("b.c", "2"), ("b", ""), ("b.d", ""), ("a.c", ""), ("e", ""), ("n", ""), ("x", "")]
)
def test_member_is_a_text_or_nothing(path: str, text: str) -> None:
    body: dict[str, Any] = json.loads('{"a": "1", "b": {"c": "2", "d": 3}, "e": null, "n": 7}')
    assert typed_codes.text_member(body, path) == text


@pytest.mark.parametrize(
    ("text", "may_be"),
    [("1", True), ("1" * 16, True), ("1" * 17, False), (" 48 29\t13 ", True), ("", False), ("12a", False),
     ("\u0661\u0662", False), ("-1", False)],
)  # fmt: skip
def test_code_has_1_to_16_digits(text: str, *, may_be: bool) -> None:
    assert typed_codes.is_code(text) is may_be


def test_text_that_is_no_user_name_is_recorded(service: Service) -> None:
    assert typed_codes.check_user_name(call_of(service), FACE, "alice") is True
    assert reasons(service) == []
    assert typed_codes.check_user_name(call_of(service), FACE, "a b") is False
    assert reasons(service) == [(FACE, "invalid_request", "the text is not a user name of this service")]
    assert service.app
    service.app.state.sshaft.unknown_users.report(service.store.users)
    assert [each["user"] for each in service.events("user.unknown")] == ["a b"]


def test_login_begins_with_the_words_of_the_provider(service: Service, portal: Client) -> None:
    call = call_of(service)
    named = typed_codes.begin_login(call, portal, "alice", "The portal", "192.0.2.7", found_by_code=True)
    plain = typed_codes.begin_login(call, portal, "alice", None)
    odd = typed_codes.begin_login(call, portal, "alice", "", "no address")
    assert [(each.context.app, each.context.ip) for each in (named, plain, odd)] == [
        ("The portal", "192.0.2.7"), ("portal", None), ("portal", None),
    ]  # fmt: skip
    assert [each.code_index is None for each in (named, plain)] == [False, True]
    for each in (named, plain, odd):
        assert (each.user, each.client, each.binding) == ("alice", "portal", Binding.CODE_BACK)
        assert (each.created_at, each.expires_at) == (START, START + timedelta(minutes=5))


def test_code_is_compared_with_the_logins_of_this_user_and_client_only(service: Service, portal: Client) -> None:
    call, other = call_of(service), client_named(service, "other")
    service.open("alice", by="portal")  # its binding is code_in
    early = typed_codes.begin_login(call, portal, "alice", None)
    service.clock.advance(200)
    meant = typed_codes.begin_login(call, portal, "alice", None)
    typed_codes.begin_login(call, portal, "bob", None)
    typed_codes.begin_login(call, other, "alice", None)
    assert {each.id for each in typed_codes.pending_challenges(call, portal, "alice")} == {early.id, meant.id}
    service.clock.advance(100)
    assert [each.id for each in typed_codes.pending_challenges(call, portal, "alice")] == [meant.id]
    service.store.challenges.cancel(meant.id, service.clock())
    assert typed_codes.pending_challenges(call, portal, "alice") == []


def begun(service: Service, portal: Client, alice: str) -> tuple[Challenge, str]:
    challenge = typed_codes.begin_login(call_of(service), portal, "alice", None)
    return challenge, printed(service, alice)


def test_right_code_passes_and_takes_the_result(service: Service, portal: Client, alice: str) -> None:
    challenge, code = begun(service, portal, alice)
    call = call_of(service)
    assert typed_codes.redeem_code(call, FACE, portal, [challenge], f" {code[:3]} {code[3:]}") is True
    assert [each.id for each in call.changed] == [challenge.id]
    after = service.store.challenges.get(challenge.id)
    assert after
    assert after.state is State.CONSUMED
    assert reasons(service) == []
    assert len(service.events("challenge.verified")) == len(service.events("challenge.consumed")) == 1


def test_result_of_another_client_is_not_taken(service: Service, portal: Client, alice: str) -> None:
    challenge, code = begun(service, portal, alice)
    other = client_named(service, "other")
    assert typed_codes.redeem_code(call_of(service), FACE, other, [challenge], code) is False
    assert reasons(service) == [(FACE, "not_accepted", "the result was taken before")]


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("no login", ("no_challenge", "this user has no such pending login")),
        ("no code", ("invalid_request", "the code is not a number")),
        ("wrong code", None),
        ("not printed", ("not_presented", "ssh has not printed a code for this login yet")),
        ("cancelled", ("cancelled", "the login can no longer pass")),
        ("expired", ("expired", "the login can no longer pass")),
    ],
)
def test_code_that_does_not_pass_is_recorded_with_its_reason(
    service: Service, portal: Client, alice: str, case: str, expected: tuple[str, str] | None
) -> None:
    challenge = typed_codes.begin_login(call_of(service), portal, "alice", None)
    code = "123456" if case == "not printed" else printed(service, alice)
    if case == "cancelled":
        service.store.challenges.cancel(challenge.id, service.clock())
    if case == "expired":
        service.clock.advance(300)
    typed = {"no code": "abc", "wrong code": wrong(code)}.get(case, code)
    meant = [] if case == "no login" else [challenge]
    assert typed_codes.verify_code(call_of(service), FACE, meant, typed) is None
    assert typed_codes.redeem_code(call_of(service), FACE, portal, meant, typed) is False
    assert reasons(service) == ([] if expected is None else [(FACE, *expected)] * 2)
