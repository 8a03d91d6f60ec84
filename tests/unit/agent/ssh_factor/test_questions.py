"""Tests how the fields of a message become a question or a request."""

import re

import pytest
from fakes import public_keys

from sshaft import public_key
from sshaft.public_key import DEFAULT_TYPES
from sshaft_agent.ssh_factor.questions import LOGIN_REQUESTS, AcceptRequest, KeysQuestion

ID = "0123456789abcdef" * 2
KEY = public_keys.ed25519()


def test_fields_of_a_question_are_its_parts() -> None:
    fields = {"type": "a", "key": "b", "fingerprint": "c", "request_id": ID}
    assert KeysQuestion.of(fields) == KeysQuestion("a", "b", "c", ID)


@pytest.mark.parametrize("request_id", [None, "", ID[1:], f"{ID}0", ID.upper(), "g" * 32, f"{ID}\n", f" {ID}"])
def test_request_id_of_another_form_is_replaced(request_id: str | None) -> None:
    fields = {} if request_id is None else {"request_id": request_id}
    questions = [KeysQuestion.of(fields) for _ in range(2)]
    assert all(re.fullmatch(r"[0-9a-f]{32}", question.request_id) for question in questions)
    assert questions[0].request_id != questions[1].request_id
    assert (questions[0].key_type, questions[0].key, questions[0].fingerprint) == ("", "", "")


def test_fields_of_a_request_are_its_parts() -> None:
    fields = {"ticket": "t", "key_type": "a", "key": "b", "client_ip": "c", "code": "1", "confirmed": "yes"}
    assert AcceptRequest.of(fields | {"choice": "2"}) == AcceptRequest("t", "a", "b", "c", "1", True, 2)
    assert AcceptRequest.of({}) == AcceptRequest("", "", "", "", None, False)


@pytest.mark.parametrize(
    ("field", "text", "read"),
    [
        ("code", "", None),
        ("code", "0", "0"),
        ("confirmed", "no", False),
        ("confirmed", "", False),
        ("confirmed", "YES", False),
        ("choice", "", None),
        ("choice", "1", 1),
        ("choice", "9", 9),
        ("choice", "0", 0),
        ("choice", "10", 0),
        ("choice", "1\n", 0),
        ("choice", "\u0661", 0),
    ],
)
def test_field_of_a_request_is_read(field: str, text: str, read: object) -> None:
    found = getattr(AcceptRequest.of({field: text}), field)
    assert (found, type(found)) == (read, type(read))


def test_kind_of_a_message_chooses_the_request() -> None:
    assert {kind: type(made.of({})).__name__ for kind, made in LOGIN_REQUESTS.items()} == {
        "accept": "AcceptRequest",
        "reject": "RejectRequest",
        "enrol": "EnrolRequest",
    }


def test_key_that_signed_has_an_allowed_type() -> None:
    key_type, key = public_keys.of(KEY)
    request = AcceptRequest.of({"key_type": key_type, "key": key})
    assert request.signed_key(DEFAULT_TYPES) == public_key.parse(KEY)
    assert request.signed_key(["ssh-rsa"]) is None
    assert AcceptRequest.of({"key_type": "ssh-rsa", "key": key}).signed_key(DEFAULT_TYPES) is None
