"""Tests list, accept and reject with a real server on loopback that works, is slow, breaks or lies."""

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fakes import public_keys
from fakes.identity_server import (
    BUSY,
    DEEP,
    ERROR,
    HTML,
    Call,
    IdentityServer,
    Reply,
    drip,
    gibibyte,
    hang,
    redirect,
    reply_json,
)

from sshaft import messages, public_key
from sshaft.config import Config
from sshaft.deadline import Deadline
from sshaft.errors import ConfigurationError, IdentityServiceError, ReachError, RemoteServiceError
from sshaft.identity_client import Claim, IdentityClient, Outcome
from sshaft.listing import Context, Grant

REQUEST_ID = "0123456789abcdef0123456789abcdef"
NOW = datetime(2026, 11, 22, 12, 0, 30, tzinfo=UTC)
ATTEMPT = "fedcba9876543210fedcba9876543210"
ALICE = {"user": "alice", "authorized_key": public_keys.ed25519()}
BASE = Claim("alice", knows_challenges=False)
EXTENDED = Claim("alice", challenge="c1", code="482913", fingerprint="SHA256:x", key_type="ssh-ed25519")


def contract(name: str) -> Any:
    return json.loads((Path(__file__).parents[2] / "contract" / f"{name}.json").read_text())


Connect = Callable[..., IdentityClient]


@pytest.fixture
def connect(identity: IdentityServer) -> Iterator[Connect]:
    """Returns a function that makes a client of the fake identity service. The client does not wait between tries."""
    clients = []

    def make(
        *,
        sleep: Callable[[float], None] = lambda _: None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        **more: Any,
    ) -> IdentityClient:
        more = {"mfa_reject_endpoint": f"{identity.url}/reject"} | more
        clients.append(IdentityClient(Config.model_validate(identity.config(**more)), sleep=sleep, now=now))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def users(client: IdentityClient, seconds: float = 5, fingerprint: str | None = None) -> list[str]:
    listing = client.list_keys([fingerprint] if fingerprint else [], Deadline.after(seconds), REQUEST_ID)
    return [entry.user for entry in listing.all()]


def accept(client: IdentityClient, claim: Claim = EXTENDED, seconds: float = 5) -> Outcome:
    return client.accept(claim, ATTEMPT, Deadline.after(seconds), REQUEST_ID)


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


# --- the original's server


def test_server_of_the_original_gets_the_originals_requests(identity: IdentityServer, connect: Connect) -> None:
    identity.entries = [ALICE]
    client = connect()
    assert users(client) == ["alice"]
    assert accept(client, BASE) == Outcome("accepted")
    assert identity.accepted == ["alice"]
    token, listed, accepted = identity.calls
    assert (token.path, listed.path, accepted.path) == ("/token", "/keys", "/accept")
    assert listed.query == {}
    assert accepted.json == {"user": "alice"}
    assert {call.headers["x-request-id"] for call in (listed, accepted)} == {REQUEST_ID}


def test_answer_is_not_filtered_by_the_fingerprint_of_the_question(identity: IdentityServer, connect: Connect) -> None:
    identity.entries = [ALICE, {"user": "bob", "authorized_key": public_keys.ed25519("b")}]
    assert users(connect(), fingerprint="SHA256:a+b/c") == ["alice", "bob"]
    assert identity.calls[-1].query == {"fingerprint": ["SHA256:a+b/c"]}


def test_query_of_the_endpoints_address_is_kept(identity: IdentityServer, connect: Connect) -> None:
    users(connect(mfa_list_endpoint=f"{identity.url}/keys?tenant=1"), fingerprint="SHA256:x")
    assert identity.calls[-1].query == {"tenant": ["1"], "fingerprint": ["SHA256:x"]}


@pytest.mark.parametrize("user", ['a","admin":true,"x":"', "a\n", "José", "\U0001f511", "a\\", "</script>"])
def test_user_names_cannot_change_the_request(identity: IdentityServer, connect: Connect, user: str) -> None:
    identity.replies["/accept"] = reply_json({})
    accept(connect(), Claim(user, knows_challenges=False))
    assert identity.calls[-1].json == {"user": user}


# --- the contract


@pytest.mark.parametrize(
    ("kind", "example"),
    [(kind, example) for kind in ("accept", "reject") for example in contract(kind)["examples"]],
    ids=lambda value: value if isinstance(value, str) else value["name"],
)
def test_reports_are_those_of_the_contract(
    identity: IdentityServer, connect: Connect, kind: str, example: dict[str, Any]
) -> None:
    body, response = example["request"]["body"], example["response"]
    raw = b"" if response["body"] in (None, "") else json.dumps(response["body"]).encode()
    identity.replies[f"/{kind}"] = Reply(response["status"], raw, response["headers"])
    claim = Claim(**body, knows_challenges=list(body) != ["user"])
    client = connect()
    attempt = example["request"]["headers"]["Idempotency-Key"]
    report = client.accept if kind == "accept" else client.reject
    outcome = report(claim, attempt, Deadline.after(5), REQUEST_ID)
    assert outcome.fields(NOW) == {name: str(value) for name, value in example["outcome"].items() if value is not None}
    call = identity.calls[-1]
    assert call.json == body
    assert call.headers["idempotency-key"] == attempt
    assert call.headers["content-type"] == "application/json"
    assert identity.count(f"/{kind}") == 1


@pytest.mark.parametrize("problem", contract("problems")["problems"], ids=lambda problem: problem["body"]["error"])
def test_every_problem_of_the_contract_is_its_outcome_or_a_failure(
    identity: IdentityServer, connect: Connect, problem: dict[str, Any]
) -> None:
    status = problem["body"]["status"]
    identity.replies["/accept"] = Reply(status, json.dumps(problem["body"]).encode(), problem["headers"])
    client = connect()
    if problem["outcome"] is None:
        with pytest.raises(IdentityServiceError, match=str(status)) as error:
            accept(client)
        assert not isinstance(error.value, ReachError)
    else:
        assert accept(client) == Outcome(problem["outcome"], problem["body"].get("attempts_left"))


@pytest.mark.parametrize(
    ("status", "state"),
    [(403, "refused"), (404, "no_challenge"), (409, "already_used"), (410, "expired"), (429, "too_many_attempts")],
)
@pytest.mark.parametrize(
    "body", [b"no JSON", b"[]", b"null", b'{"error": 7}', b'{"error": "something_new"}', DEEP.body]
)
def test_refusal_without_a_known_code_is_read_by_its_status(
    identity: IdentityServer, connect: Connect, status: int, state: str, body: bytes
) -> None:
    identity.replies["/accept"] = Reply(status, body)
    assert accept(connect()).state == state


@pytest.mark.parametrize("body", [b"", b"<html>ok</html>", b'{"state": "rejected"}', b"\xff"])
def test_yes_may_have_any_body(identity: IdentityServer, connect: Connect, body: bytes) -> None:
    identity.replies["/accept"] = Reply(200, body)
    assert accept(connect(), BASE) == Outcome("accepted")


def present(identity: IdentityServer, connect: Connect, **body: object) -> Outcome:
    identity.replies["/accept"] = reply_json({"state": "presented"} | body)
    return accept(connect())


@pytest.mark.parametrize("code", ["0", "550127", "0" * 12])
def test_code_for_the_browser_has_up_to_twelve_digits(identity: IdentityServer, connect: Connect, code: str) -> None:
    outcome = present(identity, connect, code=code)
    assert outcome == Outcome("presented", code=code)
    assert f"'{code}'" not in repr(outcome)


@pytest.mark.parametrize("code", [None, "", "55 0127", "ABCD", "1\n", "\u0661", "0" * 13, 550127, ["1"]], ids=repr)
def test_login_that_waits_for_an_unreadable_code_is_a_failure_and_not_accepted(
    identity: IdentityServer, connect: Connect, code: object
) -> None:
    with pytest.raises(IdentityServiceError, match=r"no code of 1 to 12 digits$"):
        present(identity, connect, code=code)


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_every_status_of_success_is_a_yes(identity: IdentityServer, connect: Connect, status: int) -> None:
    identity.replies["/accept"] = Reply(status)
    assert accept(connect(), BASE) == Outcome("accepted")


ERRORS = {
    "code_required": "code_required",
    "invalid_code": "invalid_code",
    "unknown_key": "unknown_key",
    "no_challenge": "no_challenge",
    "already_used": "already_used",
    "expired": "expired",
    "cancelled": "cancelled",
    "rejected": "already_rejected",
    "too_many_attempts": "too_many_attempts",
    "confirm_required": "confirm_required",
    "other_user": "other_user",
    "address_mismatch": "address_mismatch",
    "verification_required": "verification_required",
}


@pytest.mark.parametrize(("error", "state"), ERRORS.items())
def test_error_counts_more_than_the_status(identity: IdentityServer, connect: Connect, error: str, state: str) -> None:
    context = {"app": "Wiki", "ip": "192.0.2.7"}
    body = {"error": error, "attempts_left": 3, "retry_after": 60, "context": context}
    identity.replies["/accept"] = reply_json(body, 418)
    expected = {"attempts_left": "3", "retry_after": "60", "app": "Wiki", "address": "192.0.2.7"}
    assert accept(connect()).fields(NOW) == {"state": state} | expected


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        (404, "not_found", "answered 404 (not_found): check the endpoint"),
        (403, "insufficient_scope", "answered 403 (insufficient_scope): check token_scope"),
        (401, None, "refuses a new access token (401): check token_scope"),
        (418, "something_new", "answered 418"),
        (409, "choice_required", "answered `choice_required` without choices"),
    ],
)
def test_failure_says_what_the_operator_checks(
    identity: IdentityServer, connect: Connect, status: int, error: str | None, message: str
) -> None:
    identity.replies["/accept"] = reply_json({"error": error}, status)
    with pytest.raises(IdentityServiceError) as raised:
        accept(connect())
    assert str(raised.value) == f"{identity.url}/accept: {message}"


@pytest.mark.parametrize("status", [202, 403, 404])
def test_list_without_a_yes_is_a_failure(identity: IdentityServer, connect: Connect, status: int) -> None:
    identity.replies["/keys"] = reply_json([ALICE], status)
    with pytest.raises(IdentityServiceError) as raised:
        users(connect())
    assert str(raised.value) == f"{identity.url}/keys: answered {status}"


@pytest.mark.parametrize(
    ("header", "takes"),
    [(None, 1), ("", 1), ("0", 1), ("1", 1), ("50", 50), ("999", 999), ("1000", 1), ("-5", 1), ("5 0", 1), ("\xb2", 1)],
)
def test_header_says_how_many_keys_the_service_takes(
    identity: IdentityServer, connect: Connect, header: str | None, takes: int
) -> None:
    identity.replies["/keys"] = Reply(200, b"[]", {} if header is None else {"Sshaft-Fingerprints": header})
    assert connect().list_keys(["SHA256:x"], Deadline.after(5), REQUEST_ID).takes == takes


def test_body_of_a_claim_leaves_out_what_is_not_known() -> None:
    assert Claim("alice").body() == Claim("alice", challenge="c1", knows_challenges=False).body() == {"user": "alice"}
    whole = Claim("a", "b", "c", "d", "e", "f", True, True)
    assert list(whole.body().items()) == [
        ("user", "a"),
        ("challenge", "b"),
        ("code", "c"),
        ("fingerprint", "d"),
        ("key_type", "e"),
        ("client_ip", "f"),
        ("verified", True),
        ("confirmed", True),
    ]


def test_claim_of_a_grant_without_a_signed_key_names_no_key() -> None:
    """Without ExposeAuthInfo, sshd does not say which key signed."""
    key = public_key.parse(public_keys.ed25519())
    grant = Grant("alice", key, True, "c1", True, None, verify_required=True, knows_challenges=True)
    assert Claim.of(grant, None, "1", "") == Claim("alice", "c1", "1", verified=True)
    signed = Claim("alice", "c1", None, key.fingerprint, key.type, "192.0.2.7", verified=True, confirmed=True)
    assert Claim.of(grant, key, None, "192.0.2.7", confirmed=True) == signed


@pytest.mark.parametrize(("seconds", "age"), [(-90, "90"), (-1, "1"), (0, "0"), (5, "0")])
def test_age_of_a_login_is_never_negative(seconds: int, age: str) -> None:
    context = Context(started_at=NOW + timedelta(seconds=seconds))
    assert Outcome("confirm_required", context=context).fields(NOW) == {"state": "confirm_required", "age": age}


# --- enrolment

KEY = public_key.parse(public_keys.ed25519("new"))


def enrol(client: IdentityClient, client_ip: str | None = None, seconds: float = 5) -> Outcome:
    return client.enrol(KEY, "58217741", client_ip, Deadline.after(seconds), REQUEST_ID)


@pytest.mark.parametrize(("client_ip", "more"), [(None, {}), ("192.0.2.7", {"client_ip": "192.0.2.7"})])
def test_key_is_presented_with_its_code(
    identity: IdentityServer, connect: Connect, client_ip: str | None, more: dict[str, str]
) -> None:
    identity.replies["/enrol"] = [BUSY, reply_json({})]
    client = connect(mfa_enrol_endpoint=f"{identity.url}/enrol")
    assert enrol(client, client_ip) == Outcome("presented")
    body = {"code": "58217741", "authorized_key": str(KEY), "fingerprint": KEY.fingerprint}
    assert (identity.calls[-1].json, identity.calls[-1].method) == (body | more, "POST")


def test_nothing_is_presented_without_an_endpoint(identity: IdentityServer, connect: Connect) -> None:
    assert enrol(connect()) == Outcome("no_enrolment")
    assert identity.calls == []


@pytest.mark.parametrize(
    "error",
    [
        "invalid_code",
        "no_enrolment",
        "already_presented",
        "key_taken",
        "already_registered",
        "key_refused",
        "too_many_attempts",
    ],
)
def test_refused_presentation_has_its_reason(identity: IdentityServer, connect: Connect, error: str) -> None:
    identity.replies["/enrol"] = reply_json({"error": error, "reason": "too old", "retry_after": 7}, 418)
    client = connect(mfa_enrol_endpoint=f"{identity.url}/enrol")
    assert enrol(client) == Outcome(error, reason="too old", retry_after=7)


@pytest.mark.parametrize(
    ("body", "what"), [({"error": "expired"}, "expired"), ({"error": 7}, "no reason given"), ([], "no reason given")]
)
@pytest.mark.parametrize("status", [201, 403])
def test_presentation_with_an_answer_outside_of_the_contract_is_a_failure(
    identity: IdentityServer, connect: Connect, body: Any, what: str, status: int
) -> None:
    identity.replies["/enrol"] = reply_json(body, status)
    with pytest.raises(IdentityServiceError) as raised:
        enrol(connect(mfa_enrol_endpoint=f"{identity.url}/enrol"))
    expected = f"{identity.url}/enrol: answered {status} ({what}): check mfa_enrol_endpoint and scope"
    assert str(raised.value) == expected


def test_presentation_that_may_have_arrived_is_not_repeated(identity: IdentityServer, connect: Connect) -> None:
    """A wrong code that arrives twice counts twice."""
    identity.replies["/enrol"] = Reply(write=reset)
    with pytest.raises(ReachError):
        enrol(connect(mfa_enrol_endpoint=f"{identity.url}/enrol"))
    assert identity.count("/enrol") == 1


def test_choices_are_read_and_malformed_ones_are_left_out(identity: IdentityServer, connect: Connect) -> None:
    """Finding S4: the person chooses among several logins that show their code in ssh."""
    context = {"app": "Wiki", "ip": "192.0.2.7", "started_at": "2026-11-22T12:00:00Z"}
    good = [{"challenge": f"c{number}", "context": context} for number in range(12)]
    identity.replies["/accept"] = reply_json({"error": "choice_required", "choices": [7, {"challenge": 1}, *good]}, 409)
    outcome = connect().accept(Claim("alice"), "a", Deadline.after(5), REQUEST_ID)
    assert [choice.challenge for choice in outcome.choices] == [f"c{number}" for number in range(9)]
    fields = outcome.fields(NOW)
    assert (fields["state"], fields["choices"], fields["app_a"], fields["age_i"]) == (
        "choice_required",
        "9",
        "Wiki",
        "30",
    )
    answer = fields | {"reference": REQUEST_ID}
    assert messages.decode(messages.encode("result", answer)) == ("result", answer)


@pytest.mark.parametrize("choices", [None, [], "c1", {"challenge": "c1"}, [{}]], ids=str)
def test_choice_without_choices_is_a_failure(identity: IdentityServer, connect: Connect, choices: Any) -> None:
    identity.replies["/accept"] = reply_json({"error": "choice_required", "choices": choices}, 409)
    with pytest.raises(IdentityServiceError):
        connect().accept(Claim("alice"), "a", Deadline.after(5), REQUEST_ID)


@pytest.mark.parametrize("status", [400, 402, 405, 413, 415, 418, 422, 451])
def test_status_outside_of_the_contract_is_a_failure(identity: IdentityServer, connect: Connect, status: int) -> None:
    identity.replies["/accept"] = Reply(status)
    with pytest.raises(IdentityServiceError, match=str(status)):
        accept(connect())


@pytest.mark.parametrize(
    ("left", "read"),
    [(4, 4), (0, 0), (-1, -1), ("4", None), (True, None), (4.5, None), ("four", None), ([], None), (None, None)],
)
def test_malformed_number_of_tries_is_ignored(
    identity: IdentityServer, connect: Connect, left: object, read: int | None
) -> None:
    identity.replies["/accept"] = reply_json({"error": "invalid_code", "attempts_left": left}, 403)
    assert accept(connect()) == Outcome("invalid_code", read)


def test_reject_without_its_endpoint_is_an_error(identity: IdentityServer, connect: Connect) -> None:
    client = connect(mfa_reject_endpoint=None)
    message = "^mfa_reject_endpoint is not configured: this identity service takes no denials$"
    with pytest.raises(ConfigurationError, match=message):
        client.reject(EXTENDED, ATTEMPT, Deadline.after(5), REQUEST_ID)
    assert identity.calls == []


# --- the token


@pytest.mark.parametrize("answer", contract("token")["answers"], ids=str)
def test_token_answers_of_the_contract_are_used(identity: IdentityServer, connect: Connect, answer: Any) -> None:
    identity.replies["/token"] = reply_json(answer)
    identity.valid_tokens.add(answer["access_token"])
    assert users(connect()) == []
    assert identity.calls[-1].headers["authorization"] == f"Bearer {answer['access_token']}"


@pytest.mark.parametrize("answer", contract("token")["no_answers"], ids=str)
def test_malformed_token_answer_is_an_error(identity: IdentityServer, connect: Connect, answer: Any) -> None:
    identity.replies["/token"] = reply_json(answer)
    with pytest.raises(IdentityServiceError, match=r"not a token answer|no bearer token"):
        users(connect())
    assert identity.count("/keys") == 0


@pytest.mark.parametrize("expires_in", [b"NaN", b"Infinity", b"-Infinity", b"1e999", b'"NaN"'])
def test_token_without_a_finite_lifetime_is_an_error(
    identity: IdentityServer, connect: Connect, expires_in: bytes
) -> None:
    identity.replies["/token"] = Reply(
        200, b'{"access_token": "x", "token_type": "Bearer", "expires_in": %s}' % expires_in
    )
    identity.valid_tokens.add("x")
    with pytest.raises(IdentityServiceError, match="not a token answer"):
        users(connect())


@pytest.mark.parametrize("error", contract("token")["errors"], ids=lambda error: error["body"]["error"])
def test_token_error_names_the_code_of_the_answer(identity: IdentityServer, connect: Connect, error: Any) -> None:
    identity.replies["/token"] = reply_json(error["body"], error["status"])
    with pytest.raises(IdentityServiceError, match=error["body"]["error"]) as raised:
        users(connect())
    assert not isinstance(raised.value, ReachError)
    assert identity.count("/token") == 1


@pytest.mark.parametrize(("token", "is_used"), [("a", True), ("a" * 16384, True), ("a" * 16385, False), ("", False)])
def test_token_has_a_bounded_length(identity: IdentityServer, connect: Connect, token: str, is_used: bool) -> None:
    identity.valid_tokens.add(token)
    identity.replies["/token"] = reply_json({"access_token": token, "token_type": "bearer"})
    if is_used:
        assert users(connect()) == []
        return
    with pytest.raises(IdentityServiceError) as raised:
        users(connect())
    assert str(raised.value) == f"{identity.url}/token: not a token answer (RFC 6749 section 5.1)"


@pytest.mark.parametrize(
    ("answer", "status", "message"),
    [
        ({"access_token": "a", "token_type": "mac"}, 200, "gave a token that is no bearer token"),
        ({"access_token": "a", "token_type": "bearer"}, 201, "gives no access token (201, no reason given)"),
        ({"error": "invalid_client"}, 401, "gives no access token (401, invalid_client)"),
    ],
)
def test_refused_token_says_why(
    identity: IdentityServer, connect: Connect, answer: Any, status: int, message: str
) -> None:
    identity.replies["/token"] = reply_json(answer, status)
    with pytest.raises(IdentityServiceError) as raised:
        users(connect())
    check = "" if status == 200 else ": check the client"
    assert str(raised.value) == f"{identity.url}/token: {message}{check}"


@pytest.mark.parametrize("scope", ["mfa:rw", ""])
def test_token_request_names_the_scope_of_the_configuration(
    identity: IdentityServer, connect: Connect, scope: str
) -> None:
    identity.replies["/token"] = lambda _: identity.new_token()
    users(connect(token_scope=scope))
    form = {"grant_type": "client_credentials", "client_id": "factor", "client_secret": "s3cret+/&"}
    assert identity.calls[0].form == (form | {"scope": scope} if scope else form)


def test_private_key_that_cannot_sign_is_an_error_at_the_start(connect: Connect, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        connect(token_endpoint_auth_method="private_key_jwt", private_key_file=tmp_path / "none.pem")


def test_token_is_kept_for_many_calls(identity: IdentityServer, connect: Connect) -> None:
    client = connect()
    for _ in range(10):
        users(client)
    assert identity.count("/token") == 1
    assert len({call.peer for call in identity.calls}) == 1  # the connection is kept, too


def test_closed_client_keeps_no_connection(identity: IdentityServer, connect: Connect) -> None:
    client = connect()
    users(client)
    client.close()
    users(client)
    assert len({call.peer for call in identity.calls}) == 2


def test_expired_token_is_fetched_again(identity: IdentityServer, connect: Connect) -> None:
    identity.expires_in = 0
    client = connect()
    for _ in range(3):
        users(client)
    assert identity.count("/token") == 3


def test_revoked_token_is_fetched_again_once(identity: IdentityServer, connect: Connect) -> None:
    client = connect()
    users(client)
    identity.revoke_tokens()
    users(client)
    assert [call.path for call in identity.calls] == ["/token", "/keys", "/keys", "/token", "/keys"]


def test_revoked_token_is_fetched_again_once_for_an_accept(identity: IdentityServer, connect: Connect) -> None:
    identity.entries = [ALICE]
    client = connect()
    users(client)
    identity.revoke_tokens()
    assert accept(client, BASE) == Outcome("accepted")
    assert identity.accepted == ["alice"]


@pytest.mark.parametrize("path", ["/keys", "/accept"])
def test_token_that_is_always_refused_is_not_fetched_for_ever(
    identity: IdentityServer, connect: Connect, path: str
) -> None:
    identity.replies[path] = Reply(401)
    with pytest.raises(IdentityServiceError, match="401") as error:
        users(connect()) if path == "/keys" else accept(connect())
    assert not isinstance(error.value, ReachError)
    assert (identity.count("/token"), identity.count(path)) == (2, 2)


def test_hundred_threads_fetch_one_token(identity: IdentityServer, connect: Connect) -> None:
    client = connect()
    start = threading.Barrier(100)

    def ask(_: int) -> list[str]:
        start.wait()
        return users(client, 20)

    with ThreadPoolExecutor(100) as pool:
        assert list(pool.map(ask, range(100))) == [[]] * 100
    assert identity.count("/token") == 1
    assert identity.count("/keys") == 100


def test_hundred_threads_with_a_revoked_token_fetch_one_new_one(identity: IdentityServer, connect: Connect) -> None:
    client = connect()
    users(client)
    identity.revoke_tokens()
    with ThreadPoolExecutor(100) as pool:
        list(pool.map(lambda _: users(client, 20), range(100)))
    assert identity.count("/token") == 2


# --- broken and hostile answers


BROKEN = {
    "HTML": HTML,
    "deep JSON": DEEP,
    "a gibibyte": gibibyte(),
    "a redirect": redirect("http://127.0.0.1:1/"),
    "500": ERROR,
    "204": Reply(204),
    "404": Reply(404),
    "an object": reply_json({}),
    "a closed connection": Reply(write=lambda _: None),
    "a reset connection": Reply(write=reset),
}


@pytest.mark.parametrize("reply", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("path", ["/token", "/keys"])
def test_answer_that_cannot_be_used_is_a_failure(
    identity: IdentityServer, connect: Connect, path: str, reply: Reply
) -> None:
    identity.replies[path] = reply
    with pytest.raises(RemoteServiceError) as error:
        users(connect())
    assert error.value.code == "identity_unavailable"
    assert str(error.value).startswith(f"{identity.url}{path}: ") or "the list is" in str(error.value)
    assert len(str(error.value)) < 300
    assert error.value.exit_status == 69


@pytest.mark.parametrize("reply", [hang(5), drip(5), drip(5, headers=False)], ids=["hang", "headers", "body"])
@pytest.mark.parametrize("path", ["/token", "/keys"])
def test_slow_answer_is_a_failure_in_time(identity: IdentityServer, connect: Connect, path: str, reply: Reply) -> None:
    identity.replies[path] = reply
    began = time.monotonic()
    with pytest.raises(ReachError):
        users(connect(), 0.15)
    assert time.monotonic() - began < 3


# --- trying again


@pytest.mark.parametrize("reply", [BUSY, ERROR, Reply(write=reset)], ids=["503", "500", "reset"])
@pytest.mark.parametrize("path", ["/token", "/keys"])
def test_list_succeeds_after_one_failure(identity: IdentityServer, connect: Connect, path: str, reply: Reply) -> None:
    identity.entries = [ALICE]
    identity.replies[path] = [reply]
    assert users(connect()) == ["alice"]
    assert identity.count(path) == 2


@pytest.mark.parametrize("path", ["/token", "/keys"])
def test_answer_that_is_the_same_next_time_is_not_asked_for_again(
    identity: IdentityServer, connect: Connect, path: str
) -> None:
    identity.replies[path] = redirect("http://127.0.0.1:1/")
    with pytest.raises(RemoteServiceError, match="redirect"):
        users(connect())
    assert identity.count(path) == 1


@pytest.mark.parametrize("path", ["/token", "/accept"])
@pytest.mark.parametrize("claim", [BASE, EXTENDED], ids=["base", "extended"])
def test_accept_succeeds_after_one_503(identity: IdentityServer, connect: Connect, path: str, claim: Claim) -> None:
    done = Reply(200)
    identity.replies["/accept"] = [BUSY, done] if path == "/accept" else [done]
    if path == "/token":
        identity.replies["/token"] = [BUSY]
    assert accept(connect(), claim) == Outcome("accepted")
    assert identity.count(path) == 2


AMBIGUOUS = {
    "500": ERROR,
    "502": Reply(502),
    "504": Reply(504),
    "closed": Reply(write=lambda _: None),
    "reset": Reply(write=reset),
    "broken off": Reply(write=lambda connection: connection.sendall(b"HTTP/1.1 2")),
}


@pytest.mark.parametrize("reply", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_accept_that_may_have_arrived_is_not_repeated_without_challenges(
    identity: IdentityServer, connect: Connect, reply: Reply
) -> None:
    identity.replies["/accept"] = reply
    with pytest.raises(ReachError):
        accept(connect(), BASE)
    assert identity.count("/accept") == 1


@pytest.mark.parametrize("reply", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_accept_that_may_have_arrived_is_repeated_unchanged_with_challenges(
    identity: IdentityServer, connect: Connect, reply: Reply
) -> None:
    identity.replies["/accept"] = [reply, reply_json({"state": "accepted"})]
    assert accept(connect()) == Outcome("accepted")
    first, second = [call for call in identity.calls if call.path == "/accept"]
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"] == ATTEMPT
    assert first.body == second.body
    assert first.headers["x-request-id"] == second.headers["x-request-id"] == REQUEST_ID


@pytest.mark.parametrize("claim", [BASE, EXTENDED], ids=["base", "extended"])
def test_refusal_is_never_repeated(identity: IdentityServer, connect: Connect, claim: Claim) -> None:
    identity.replies["/accept"] = reply_json({"error": "invalid_code"}, 403)
    assert accept(connect(), claim).state == "invalid_code"
    assert identity.count("/accept") == 1


@pytest.mark.parametrize("path", ["/token", "/keys"])
def test_client_gives_up_a_dead_service_within_the_deadline(
    identity: IdentityServer, connect: Connect, path: str
) -> None:
    identity.replies[path] = BUSY
    began = time.monotonic()
    with pytest.raises(ReachError, match="503"):
        users(connect(sleep=time.sleep), 1)
    assert time.monotonic() - began < 4
    assert 2 <= identity.count(path) <= 4


def test_client_waits_longer_from_try_to_try_and_gives_up_after_four(
    identity: IdentityServer, connect: Connect
) -> None:
    identity.replies["/keys"] = BUSY
    waits: list[float] = []
    with pytest.raises(ReachError):
        users(connect(sleep=waits.append), 60)
    assert identity.count("/keys") == 4
    for wait, least in zip(waits, (0.05, 0.1, 0.2), strict=True):
        assert least <= wait <= least + 0.05


def test_client_does_not_wait_for_a_try_after_the_deadline(identity: IdentityServer, connect: Connect) -> None:
    identity.replies["/token"] = BUSY
    waits: list[float] = []
    with pytest.raises(ReachError):
        users(connect(sleep=waits.append), 0.04)
    assert waits == []


def test_try_that_would_end_too_late_is_not_begun(identity: IdentityServer, connect: Connect) -> None:
    identity.replies["/keys"] = BUSY
    client = connect(sleep=time.sleep)
    began = time.monotonic()
    with pytest.raises(ReachError):
        users(client, 0.06)
    assert time.monotonic() - began < 3
    assert identity.count("/keys") <= 2


def test_slow_token_leaves_less_time_for_the_list(identity: IdentityServer, connect: Connect) -> None:
    def slow(_: Call) -> Reply:
        return identity.new_token()

    identity.replies["/token"] = slow
    identity.delay = 0.3
    began = time.monotonic()
    with pytest.raises(ReachError):
        users(connect(sleep=time.sleep), 0.5)
    assert time.monotonic() - began < 3.2


def test_error_for_a_dead_service_has_its_address_without_the_query(connect: Connect) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        with pytest.raises(ReachError) as error:
            users(connect(token_endpoint=f"{url}/token?key=s3cret"))
    assert str(error.value) == f"{url}/token: Connection refused"


# --- clocks


def test_times_of_the_list_are_corrected_to_this_hosts_clock(identity: IdentityServer, connect: Connect) -> None:
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=5)
    identity.entries = [
        ALICE | {"challenge": "c1", "expires_at": ends.isoformat(), "context": {"started_at": ends.isoformat()}},
        {"enrolment": "open", "expires_at": ends.isoformat()},
    ]
    for ahead in (timedelta(hours=1), timedelta(hours=-1), timedelta()):
        client = connect(now=lambda ahead=ahead: datetime.now(UTC) + ahead)
        listing = client.list_keys([], Deadline.after(5), REQUEST_ID)
        (entry,) = listing.all()
        assert entry.context
        assert (listing.ahead, listing.offers[""]) == (ahead, ends + ahead)
        assert (entry.expires_at, entry.context.started_at) == (ends + ahead, ends + ahead)


def test_times_of_an_outcome_are_corrected_to_this_hosts_clock(identity: IdentityServer, connect: Connect) -> None:
    began = datetime.now(UTC).replace(microsecond=0)
    context = {"app": "Wiki", "started_at": began.isoformat()}
    choices = [{"challenge": "c1", "context": context}, {"challenge": "c2", "context": 7}]
    identity.replies["/accept"] = reply_json({"error": "choice_required", "context": context, "choices": choices}, 409)
    for ahead in (timedelta(hours=1), timedelta(hours=-1), timedelta()):
        outcome = accept(connect(now=lambda ahead=ahead: datetime.now(UTC) + ahead))
        expected = Context("Wiki", started_at=began + ahead)
        assert [outcome.context, *(choice.context for choice in outcome.choices)] == [expected, expected, Context()]
