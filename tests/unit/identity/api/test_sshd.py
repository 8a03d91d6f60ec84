"""Tests list, accept and reject, which the sshd side calls."""

import json
from datetime import timedelta
from typing import Any

import pytest
from fakes.public_keys import ed25519, sk_ed25519
from service.service import Service, wrong

from sshaft.public_key import parse
from sshaft_identity.clients.clients import Scope
from sshaft_identity.common.times import rfc3339
from sshaft_identity.people.keys import NewKey

ALICES, BOBS, ALICES_TOKEN = ed25519("alice"), ed25519("bob"), sk_ed25519("alice")


@pytest.fixture
def alice(service: Service) -> list[str]:
    """Returns the fingerprints of Alice's software key and of her security key."""
    return service.add_user("alice", ALICES, ALICES_TOKEN)


def accepted(opened: dict[str, str]) -> dict[str, Any]:
    """Returns the whole answer to an accept of a challenge without a context."""
    return {"state": "accepted", "challenge": opened["id"], "context": {"started_at": opened["created_at"]}}


# --- list


def test_no_key_is_listed_without_a_pending_challenge(service: Service, alice: list[str]) -> None:
    assert alice
    assert service.keys() == []


def test_registered_key_is_found_by_fingerprint_without_a_pending_challenge(service: Service, alice: list[str]) -> None:
    assert service.keys(alice[0]) == [{"user": "alice", "authorized_key": ALICES, "challenge": None}]


def test_unknown_fingerprint_has_no_entries(service: Service) -> None:
    assert service.keys("SHA256:" + "A" * 43) == []


def test_one_request_may_name_several_fingerprints(service: Service, alice: list[str]) -> None:
    service.add_user("bob", BOBS)
    bobs = parse(BOBS).fingerprint
    unknown = "SHA256:" + "A" * 43
    asked = service.call("GET", "/api/v1/mfa/ssh/keys", Scope.LIST, params={"fingerprint": [alice[0], unknown, bobs]})
    assert asked.json() == service.keys(alice[0]) + service.keys(bobs)
    assert asked.headers["Sshaft-Fingerprints"] == "50"
    for too in ([unknown] * 51, [unknown, "x"]):
        refused = service.call("GET", "/api/v1/mfa/ssh/keys", Scope.LIST, params={"fingerprint": too})
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request")


def test_pending_challenge_lists_all_keys_of_its_user_with_the_context(service: Service, alice: list[str]) -> None:
    service.add_user("bob", BOBS)
    opened = service.open(app="Wiki", context={"ip": "192.0.2.7", "user_agent": "Firefox"})
    service.clock.advance(10)
    expected = {
        "user": "alice",
        "challenge": opened["id"],
        "expires_at": "2026-11-22T12:05:00Z",
        "binding": "code_in",
        "verify_required": False,
        "context": {"app": "Wiki", "ip": "192.0.2.7", "user_agent": "Firefox", "started_at": "2026-11-22T12:00:00Z"},
    }
    listed = sorted(service.keys(), key=lambda entry: str(entry["authorized_key"] != ALICES))
    assert listed == [expected | {"authorized_key": ALICES}, expected | {"authorized_key": ALICES_TOKEN}]
    assert service.keys(alice[1]) == [expected | {"authorized_key": ALICES_TOKEN}]


def test_each_pending_challenge_has_an_entry(service: Service, alice: list[str]) -> None:
    opened = {service.open(by=client)["id"] for client in ("wiki", "shop", "mail")}
    assert {entry["challenge"] for entry in service.keys(alice[0])} == opened
    assert len(service.keys()) == 6


def test_listing_changes_nothing_and_counts_nothing(service: Service, alice: list[str]) -> None:
    opened = service.open()
    for _ in range(20):
        service.keys(alice[0])
    assert service.accept(challenge=opened["id"], code=opened["code"]).status_code == 200


def test_finished_challenge_is_not_listed(service: Service, alice: list[str]) -> None:
    opened = service.open()
    service.open(by="wiki", expires_in=30)
    service.accept(challenge=opened["id"], code=opened["code"])
    service.clock.advance(30)
    assert service.keys() == []
    assert [entry["challenge"] for entry in service.keys(alice[0])] == [None]


@pytest.mark.parametrize(
    "fingerprint",
    ["", "SHA256:", "MD5:" + "A" * 43, "SHA256:" + "A" * 42, "SHA256:" + "A" * 42 + "\n", "SHA256:" + "Ä" * 43],
)
def test_malformed_fingerprint_is_refused(service: Service, fingerprint: str) -> None:
    answer = service.call("GET", "/api/v1/mfa/ssh/keys", Scope.LIST, params={"fingerprint": fingerprint})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


# --- accept


def test_right_code_accepts_once_and_the_challenge_shows_the_proof(service: Service, alice: list[str]) -> None:
    opened = service.open()
    answer = service.accept(
        challenge=opened["id"],
        code=opened["code"],
        fingerprint=alice[1],
        key_type="ssh-ed25519",  # the type of the registered key counts, not the agent's
        client_ip="192.0.2.99",
    )
    assert (answer.status_code, answer.json()) == (200, accepted(opened))
    shown = service.show(opened["id"])
    assert shown["state"] == "accepted"
    assert shown["fingerprint"] == alice[1]
    assert shown["key_type"] == "sk-ssh-ed25519@openssh.com"
    assert shown["client_ip"] == "192.0.2.99"
    assert shown["amr"] == ["hwk", "pop", "user"]
    again = service.accept(challenge=opened["id"], code=opened["code"], fingerprint=alice[1])
    assert (again.status_code, again.json()["error"]) == (409, "already_used")


def test_person_is_told_how_a_login_ended(service: Service) -> None:
    """Finding U12: after a login was over, nobody said what had become of it."""
    [fingerprint] = service.add_user("carol", ed25519("carol"))
    service.store.keys.rename("carol", fingerprint, "laptop", service.clock())
    ended_at = rfc3339(service.clock())

    def ending(opened: dict[str, str]) -> Any:
        service.clock.now += timedelta(seconds=10)
        answer = service.accept("carol", code=opened["code"], fingerprint=fingerprint, attempt=opened["id"] + "2")
        service.clock.now -= timedelta(seconds=10)
        return answer.json()["error"], answer.json()["ending"]

    of_key = {"fingerprint": fingerprint, "key_name": "laptop"}
    passed = service.open("carol", "test")
    assert service.accept("carol", code=passed["code"], fingerprint=fingerprint, attempt="1").status_code == 200
    assert ending(passed) == ("already_used", {"at": ended_at, **of_key})
    denied = service.open("carol", "test")
    assert service.reject(user="carol", fingerprint=fingerprint).status_code == 200
    assert ending(denied) == ("rejected", {"at": ended_at, "reason": "denied", **of_key})
    older, newer = service.open("carol", "test"), service.open("carol", "test")
    assert ending(older) == ("cancelled", {"at": ended_at, "reason": "superseded"})
    service.call("POST", f"/api/v1/challenges/{newer['id']}/cancel", Scope.CHALLENGES)
    assert ending(newer) == ("cancelled", {"at": ended_at})
    late = service.open("carol", "test")
    service.clock.now += timedelta(seconds=301)
    assert ending(late) == ("expired", {"at": late["expires_at"]})


def test_stranger_is_not_told_how_a_login_ended(service: Service) -> None:
    [mine] = service.add_user("carol", ed25519("carol"))
    [strangers] = service.add_user("mallory", ed25519("mallory"))
    anonymous, named = service.open(None), service.open("carol")
    for opened in (anonymous, named):
        assert service.accept("carol", code=opened["code"], fingerprint=mine).status_code == 200
        for user, fingerprint in (("mallory", strangers), ("carol", strangers), ("carol", None), ("nobody", None)):
            answer = service.accept(user, code=opened["code"], fingerprint=fingerprint)
            assert answer.status_code in (403, 404, 409)
            assert "ending" not in answer.json(), (user, fingerprint)


def test_next_person_of_a_name_is_not_told_how_a_login_of_the_last_one_ended(service: Service) -> None:
    [fingerprint] = service.add_user("carol", ed25519("carol"))
    opened = service.open("carol")
    service.accept("carol", code=opened["code"], fingerprint=fingerprint)
    assert service.store.challenges.consume(opened["id"], service.clock(), "test")
    service.clock.now += timedelta(seconds=5)
    service.store.revocation.remove_user("carol", service.clock())
    [fingerprint] = service.add_user("carol", ed25519("another carol"))
    answer = service.accept("carol", fingerprint=fingerprint).json()
    assert "ending" not in answer, answer


def test_attempt_without_a_code_does_not_count(service: Service, alice: list[str]) -> None:
    opened = service.open()
    for _ in range(10):
        answer = service.accept(challenge=opened["id"], fingerprint=alice[0])
        assert (answer.status_code, answer.json()["error"]) == (403, "code_required")
    assert service.accept(code=opened["code"]).status_code == 200


def test_body_with_only_a_user_passes_no_challenge(service: Service, alice: list[str]) -> None:
    assert alice
    service.open()
    assert service.accept().json()["error"] == "code_required"


def test_fifth_wrong_code_rejects_the_challenge_for_every_later_code(service: Service, alice: list[str]) -> None:
    opened = service.open()
    left = []
    for by in range(1, 6):
        answer = service.accept(challenge=opened["id"], code=wrong(opened["code"], by), fingerprint=alice[0])
        assert (answer.status_code, answer.json()["error"]) == (403, "invalid_code")
        left.append(answer.json()["attempts_left"])
    assert left == [4, 3, 2, 1, 0]
    for named in (opened["id"], None):
        answer = service.accept(challenge=named, code=opened["code"])
        assert (answer.status_code, answer.json()["error"]) == (429, "too_many_attempts")
    assert service.show(opened["id"])["state"] == "rejected"


def test_fifth_attempt_may_still_pass(service: Service, alice: list[str]) -> None:
    assert alice
    opened = service.open()
    for by in range(1, 5):
        service.accept(challenge=opened["id"], code=wrong(opened["code"], by))
    assert service.accept(challenge=opened["id"], code=opened["code"]).status_code == 200


@pytest.mark.parametrize("code", ["1", "12345", "0123456789012345"])
def test_code_of_wrong_length_is_a_wrong_code(service: Service, alice: list[str], code: str) -> None:
    assert alice
    opened = service.open()
    assert service.accept(challenge=opened["id"], code=code).json()["error"] == "invalid_code"


def test_repeated_attempt_gets_the_same_answer_and_counts_once(service: Service, alice: list[str]) -> None:
    opened = service.open()
    body: dict[str, Any] = {"challenge": opened["id"], "code": wrong(opened["code"]), "fingerprint": alice[0]}
    answers = [service.accept(attempt="ticket-1", **body) for _ in range(3)]
    assert {(answer.status_code, answer.text) for answer in answers} == {(403, answers[0].text)}
    assert answers[0].json()["attempts_left"] == 4


def test_repeated_attempt_succeeds_again_and_a_new_attempt_does_not(service: Service, alice: list[str]) -> None:
    opened = service.open()
    body = {"challenge": opened["id"], "code": opened["code"], "fingerprint": alice[0]}
    for _ in range(3):
        answer = service.accept(attempt="ticket-1", **body)
        assert (answer.status_code, answer.json()) == (200, accepted(opened))
    assert service.accept(attempt="ticket-2", **body).json()["error"] == "already_used"
    service.call("POST", f"/api/v1/challenges/{opened['id']}/consume", Scope.CHALLENGES)
    assert service.accept(attempt="ticket-1", **body).status_code == 200


def test_every_new_code_counts_under_one_idempotency_key(service: Service, alice: list[str]) -> None:
    assert alice
    opened = service.open()
    for by in range(1, 6):
        service.accept(attempt="ticket-1", challenge=opened["id"], code=wrong(opened["code"], by))
    answer = service.accept(attempt="ticket-1", challenge=opened["id"], code=opened["code"])
    assert answer.json()["error"] == "too_many_attempts"


def test_repeated_fifth_wrong_attempt_gets_the_same_answer(service: Service, alice: list[str]) -> None:
    assert alice
    opened = service.open()
    for by in range(1, 6):
        service.accept(attempt="ticket-1", challenge=opened["id"], code=wrong(opened["code"], by))
    answer = service.accept(attempt="ticket-1", challenge=opened["id"], code=wrong(opened["code"], 5))
    assert answer.json()["error"] == "invalid_code"
    assert answer.json()["attempts_left"] == 0


def test_code_chooses_among_the_challenges_of_the_user(service: Service, alice: list[str]) -> None:
    first, second = service.open(), service.open(by="wiki")
    answer = service.accept(code=second["code"], fingerprint=alice[0], attempt="ticket-1")
    assert answer.json() == accepted(second)
    assert service.show(first["id"])["state"] == "pending"
    again = service.accept(code=second["code"], fingerprint=alice[0], attempt="ticket-1")
    assert again.json() == answer.json()
    assert service.accept(challenge=first["id"], code=first["code"]).status_code == 200


def test_wrong_code_counts_against_each_challenge_if_none_is_named(service: Service, alice: list[str]) -> None:
    assert alice
    opened = [service.open(), service.open(by="wiki")]
    code = next(f"{n:06}" for n in range(10) if f"{n:06}" not in {each["code"] for each in opened})
    for left in (4, 3, 2, 1, 0):
        assert service.accept(code=code).json()["attempts_left"] == left
    assert [service.show(each["id"], by=by)["state"] for each, by in zip(opened, ("test", "wiki"), strict=True)] == [
        "rejected",
        "rejected",
    ]


def test_unregistered_key_is_refused_and_does_not_count(service: Service, alice: list[str]) -> None:
    (bobs,) = service.add_user("bob", BOBS)
    opened = service.open()
    for fingerprint in (bobs, "SHA256:" + "A" * 43):
        for _ in range(5):
            answer = service.accept(challenge=opened["id"], code=opened["code"], fingerprint=fingerprint)
            assert (answer.status_code, answer.json()["error"]) == (403, "unknown_key")
    assert service.accept(challenge=opened["id"], code=opened["code"], fingerprint=alice[0]).status_code == 200


def test_user_cannot_pass_the_challenge_of_another_user(service: Service, alice: list[str]) -> None:
    assert alice
    (bobs,) = service.add_user("bob", BOBS)
    opened = service.open()
    answer = service.accept("bob", challenge=opened["id"], code=opened["code"], fingerprint=bobs)
    assert (answer.status_code, answer.json()["error"]) == (404, "no_challenge")
    assert service.accept("bob", code=opened["code"], fingerprint=bobs).json()["error"] == "no_challenge"


def test_challenge_of_an_unknown_user_cannot_be_passed(service: Service) -> None:
    opened = service.open("nobody")
    for named in (opened["id"], None):
        answer = service.accept("nobody", challenge=named, code=opened["code"])
        assert (answer.status_code, answer.json()["error"]) == (404, "no_challenge")


def test_removed_user_cannot_pass_a_challenge(service: Service, alice: list[str]) -> None:
    opened = service.open()
    service.store.revocation.remove_user("alice", service.clock())
    assert service.keys(alice[0]) == []
    answer = service.accept(challenge=opened["id"], code=opened["code"], fingerprint=alice[0])
    assert answer.json()["error"] == "unknown_key"


def test_accept_without_a_pending_challenge_finds_none(service: Service, alice: list[str]) -> None:
    assert alice
    answer = service.accept(code="123456")
    assert (answer.status_code, answer.json()["error"]) == (404, "no_challenge")
    answer = service.accept(challenge="0" * 32, code="123456")
    assert (answer.status_code, answer.json()["error"]) == (404, "no_challenge")


def test_challenge_expires_at_the_end_of_its_lifetime(service: Service, alice: list[str]) -> None:
    assert alice
    opened = service.open()
    service.clock.advance(300)
    answer = service.accept(challenge=opened["id"], code=opened["code"])
    assert (answer.status_code, answer.json()["error"]) == (410, "expired")


@pytest.mark.parametrize("named", [True, False])
def test_rejected_or_cancelled_challenge_cannot_be_accepted(service: Service, alice: list[str], named: bool) -> None:
    assert alice
    rejected = service.open()
    service.reject()
    answer = service.accept(challenge=rejected["id"] if named else None, code=rejected["code"])
    assert (answer.status_code, answer.json()["error"]) == (410, "rejected")
    service.clock.advance(1)
    cancelled = service.open()
    service.call("POST", f"/api/v1/challenges/{cancelled['id']}/cancel", Scope.CHALLENGES)
    answer = service.accept(challenge=cancelled["id"] if named else None, code=cancelled["code"])
    assert (answer.status_code, answer.json()["error"]) == (410, "cancelled")


# --- reject


def test_reject_ends_only_the_named_challenge(service: Service, alice: list[str]) -> None:
    first, second = service.open(), service.open(by="wiki")
    answer = service.reject(challenge=first["id"], fingerprint=alice[0], key_type="ssh-ed25519", client_ip="192.0.2.1")
    assert (answer.status_code, answer.json()) == (200, {"state": "rejected"})
    assert service.show(first["id"])["state"] == "rejected"
    assert service.show(second["id"], by="wiki")["state"] == "pending"
    assert service.events("challenge.rejected")[-1]["client_ip"] == "192.0.2.1"


def test_reject_of_a_named_challenge_may_arrive_twice(service: Service) -> None:
    opened = service.open()
    assert [service.reject(challenge=opened["id"]).status_code for _ in range(2)] == [200, 200]


def test_reject_without_a_challenge_ends_all_of_the_user(service: Service) -> None:
    opened = [service.open(), service.open(by="wiki")]
    assert service.reject().status_code == 200
    assert service.show(opened[0]["id"])["state"] == "rejected"
    assert service.show(opened[1]["id"], by="wiki")["state"] == "rejected"
    answer = service.reject()
    assert (answer.status_code, answer.json()["error"]) == (404, "no_challenge")


def test_accepted_challenge_cannot_be_rejected(service: Service, alice: list[str]) -> None:
    assert alice
    opened = service.open()
    service.accept(challenge=opened["id"], code=opened["code"])
    assert service.reject(challenge=opened["id"]).status_code == 404
    assert service.show(opened["id"])["state"] == "accepted"


# --- bodies


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"alice"',
        b"{}",
        b"{",
        b'{"user": null}',
        b'{"user": 1}',
        b'{"user": ""}',
        b'{"user": "-alice"}',
        b'{"user": "al ice"}',
        b'{"user": "alice\\n"}',
        b'{"user": "' + b"a" * 65 + b'"}',
        b'{"user": "alice", "code": 123456}',
        b'{"user": "alice", "code": "12 34"}',
        b'{"user": "alice", "code": "' + "٤٨٢٩١٣".encode() + b'"}',
        b'{"user": "alice", "fingerprint": "x"}',
        b'{"user": "alice", "challenge": {}}',
        b'{"user": "\\ud800"}',
        b'{"user": "alice", "x": ' + b"[" * 30000 + b"]" * 30000 + b"}",
        b"\xff\xfe",
        "{'user': 'alice'}".encode("utf-16"),
    ],
)
def test_malformed_body_is_an_invalid_request_whose_detail_repeats_no_input(service: Service, body: bytes) -> None:
    answer = service.call("POST", "/api/v1/mfa/ssh/accept", Scope.ACCEPT, data=body)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert len(answer.json()["detail"]) < 200


def test_unknown_members_are_ignored(service: Service, alice: list[str]) -> None:
    opened = service.open()
    answer = service.accept(code=opened["code"], fingerprint=alice[0], colour="green", deep={"er": [1]})
    assert answer.status_code == 200


@pytest.mark.parametrize("size", [64 * 1024 + 1, 300 * 1024])
@pytest.mark.parametrize(
    "path", ["/api/v1/mfa/ssh/accept", "/api/v1/mfa/ssh/reject", "/api/v1/challenges", "/oauth2/token"]
)
def test_body_above_64_kib_is_too_large(service: Service, path: str, size: int) -> None:
    scope = {"/oauth2/token": None, "/api/v1/challenges": Scope.CHALLENGES}.get(path, Scope.ACCEPT)
    answer = service.call("POST", path, scope, data=b" " * size)
    assert (answer.status_code, answer.json()["error"]) == (413, "too_large")


def test_body_of_exactly_64_kib_is_read(service: Service, alice: list[str]) -> None:
    assert alice
    body = json.dumps({"user": "alice"}).encode().ljust(64 * 1024)
    assert service.call("POST", "/api/v1/mfa/ssh/accept", Scope.ACCEPT, data=body).json()["error"] == "no_challenge"


def test_codes_never_reach_the_log(service: Service, alice: list[str]) -> None:
    opened = service.open()
    bad = wrong(opened["code"])
    service.accept(challenge=opened["id"], code=bad)
    service.accept(challenge=opened["id"], code=opened["code"], fingerprint=alice[0])
    assert service.events("challenge.wrong_code")[-1]["challenges"] == [opened["id"]]
    assert service.events("challenge.accepted")[-1]["fingerprint"] == alice[0]
    tokens = [token for token, _ in service.tokens.values()]
    for secret in (bad, opened["code"], opened["page_url"].rpartition("/")[2], *tokens):
        assert f'"{secret}"' not in service.log.getvalue()
        assert secret not in service.log.getvalue() or len(secret) == 6


def test_expired_key_is_neither_listed_nor_accepted(service: Service) -> None:
    service.add_user("alice")
    ends = service.clock() + timedelta(seconds=10)
    key = parse(ed25519("a"))
    service.store.keys.add("alice", [NewKey(key, expires_at=ends)], service.clock())
    opened = service.open()
    assert service.keys(key.fingerprint) != []
    assert service.keys() != []
    service.clock.advance(10)
    assert service.keys(key.fingerprint) == []
    assert service.keys() == []
    answer = service.accept(challenge=opened["id"], code=opened["code"], fingerprint=key.fingerprint)
    assert (answer.status_code, answer.json()["error"]) == (403, "unknown_key")
