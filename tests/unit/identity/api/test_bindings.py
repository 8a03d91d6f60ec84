"""Tests how a web login and an SSH login are tied together: the bindings, and challenges without a user."""

from typing import Any

import pytest
from fakes.public_keys import ed25519, sk_ed25519
from service.service import Service, wrong
from sqlalchemy import select

from sshaft_identity.challenges.attempts import Rules
from sshaft_identity.challenges.challenge import AddressCheck
from sshaft_identity.challenges.limits import WINDOW
from sshaft_identity.clients.clients import Scope
from sshaft_identity.database.tables import audit_events


@pytest.fixture
def alice(service: Service) -> str:
    return service.add_user("alice", ed25519("alice"))[0]


def verify(service: Service, opened: dict[str, str], code: str, attempt: str | None = None) -> Any:
    headers = {} if attempt is None else {"Idempotency-Key": attempt}
    path = f"/api/v1/challenges/{opened['id']}/verify"
    answer = service.call("POST", path, Scope.CHALLENGES, json={"code": code}, headers=headers)
    return answer.json() | {"status": answer.status_code}


# --- code_back


def test_code_back_gives_ssh_a_code_that_passes_in_the_browser(service: Service, alice: str) -> None:
    opened = service.open(binding="code_back", app="Wiki")
    assert "code" not in opened
    assert opened["ssh_command"] == "ssh mfa@login.example.org"
    answer = service.accept(challenge=opened["id"], fingerprint=alice, client_ip="192.0.2.9").json()
    assert answer["state"] == "presented"
    assert service.show(opened["id"])["state"] == "pending"
    passed = verify(service, opened, answer["code"])
    assert (passed["status"], passed["state"], passed["amr"]) == (200, "accepted", ["swk", "pop"])
    assert (passed["fingerprint"], passed["client_ip"]) == (alice, "192.0.2.9")
    assert verify(service, opened, answer["code"])["error"] == "already_used"


def test_repeated_ssh_logins_get_the_same_code(service: Service, alice: str) -> None:
    opened = service.open(binding="code_back")
    codes = {service.accept(challenge=opened["id"], fingerprint=alice).json()["code"] for _ in range(3)}
    assert len(codes) == 1


def test_code_before_the_ssh_login_is_not_checked_and_takes_no_try(service: Service, alice: str) -> None:
    """Finding S4: somebody who knows only a name can type codes, and none of them can pass."""
    opened = service.open(binding="code_back")
    code = service.store.codes.given_back(opened["id"])
    for typed in (code, *(wrong(code, by) for by in range(1, 20))):
        early = verify(service, opened, typed)
        assert (early["status"], early["error"]) == (409, "not_presented")
    service.accept(challenge=opened["id"], fingerprint=alice)
    assert verify(service, opened, code)["state"] == "accepted"


def test_five_wrong_codes_in_the_browser_reject_the_challenge(service: Service, alice: str) -> None:
    opened = service.open(binding="code_back")
    code = service.accept(challenge=opened["id"], fingerprint=alice).json()["code"]
    left = [verify(service, opened, wrong(code, by))["attempts_left"] for by in range(1, 6)]
    assert left == [4, 3, 2, 1, 0]
    assert verify(service, opened, code)["error"] == "too_many_attempts"
    assert service.show(opened["id"])["state"] == "rejected"


def test_same_verification_may_arrive_twice(service: Service, alice: str) -> None:
    opened = service.open(binding="code_back")
    code = service.accept(challenge=opened["id"], fingerprint=alice).json()["code"]
    assert [verify(service, opened, wrong(code), "a")["attempts_left"] for _ in range(2)] == [4, 4]
    assert [verify(service, opened, code, "b")["state"] for _ in range(2)] == ["accepted", "accepted"]


def test_code_in_challenge_cannot_be_passed_in_the_browser(service: Service, alice: str) -> None:
    assert alice
    opened = service.open()
    assert verify(service, opened, opened["code"])["error"] == "no_challenge"


def test_client_cannot_verify_the_challenge_of_another_client(service: Service, alice: str) -> None:
    opened = service.open(binding="code_back", by="wiki")
    code = service.accept(challenge=opened["id"], fingerprint=alice).json()["code"]
    assert verify(service, opened, code)["error"] == "no_challenge"
    assert service.show(opened["id"], by="wiki")["state"] == "pending"


def test_person_chooses_where_several_logins_wait(service: Service, alice: str) -> None:
    """Finding S4: ssh does not print the code of a login that a stranger may have begun, unless the person chooses it.

    A code passes its login without a choice.
    """
    shown, given = service.open(), service.open(binding="code_back", by="wiki", app="Wiki")
    answer = service.accept(fingerprint=alice)
    assert (answer.status_code, answer.json()["error"]) == (409, "choice_required")
    (choice,) = answer.json()["choices"]
    assert (choice["challenge"], choice["context"]["app"]) == (given["id"], "Wiki")
    assert service.accept(fingerprint=alice, code=shown["code"]).json()["state"] == "accepted"
    assert service.accept(fingerprint=alice).json()["state"] == "presented"
    other = service.open(binding="code_back", by="mail")
    choices = service.accept(fingerprint=alice).json()["choices"]
    assert [each["challenge"] for each in choices] == [other["id"], given["id"]], "the newest is first"
    assert service.accept(fingerprint=alice, challenge=given["id"]).json()["challenge"] == given["id"]


# --- none


def test_only_a_permitted_client_can_open_without_a_binding(service: Service, alice: str) -> None:
    assert alice
    body = {"user": "alice", "binding": "none"}
    refused = service.call("POST", "/api/v1/challenges", Scope.CHALLENGES, json=body)
    assert (refused.status_code, refused.json()["error"]) == (403, "binding_not_allowed")
    opened = service.open(binding="none", by="old")
    assert service.accept().json()["challenge"] == opened["id"]
    shown = service.show(opened["id"], by="old")
    assert (shown["state"], shown["acr"]) == ("accepted", None)


def test_attempt_with_a_code_does_not_pass_a_challenge_without_a_binding(service: Service, alice: str) -> None:
    assert alice
    service.open(binding="none", by="old")
    assert service.accept(code="123456").json()["error"] == "invalid_code"


def test_two_challenges_without_a_binding_do_not_pass(service: Service, alice: str) -> None:
    assert alice
    for client in ("old", "older"):
        service.open(binding="none", by=client)
    assert service.accept().json()["error"] == "no_challenge"


# --- no user named


@pytest.mark.parametrize("body", [{"binding": "code_back"}, {"binding": "none"}, {"verify_required": True}], ids=str)
def test_challenge_without_a_user_allows_only_code_in(service: Service, body: dict[str, Any]) -> None:
    headers = service.bearer(Scope.CHALLENGES, "may-do-all")
    refused = service.call("POST", "/api/v1/challenges", json=body, headers=headers)
    assert (refused.status_code, refused.json()["error"]) == (403, "binding_not_allowed")


def test_owner_of_the_key_becomes_the_user_of_the_challenge(service: Service, alice: str) -> None:
    opened = service.open(user=None, app="My keys")
    assert (opened["user"], len(opened["code"])) == (None, 8)
    (entry,) = service.keys(alice)
    assert "challenge" not in entry
    assert (entry["user"], entry["binding"]) == ("alice", "code_in")
    answer = service.accept(fingerprint=alice, code=opened["code"])
    assert (answer.status_code, answer.json()["challenge"]) == (200, opened["id"])
    shown = service.show(opened["id"])
    assert (shown["state"], shown["user"], shown["fingerprint"]) == ("accepted", "alice", alice)


def test_challenge_without_a_user_is_passed_once(service: Service, alice: str) -> None:
    (bob,) = service.add_user("bob", ed25519("bob"))
    opened = service.open(user=None)
    for _ in range(2):
        answer = service.accept(fingerprint=alice, code=opened["code"], attempt="ticket-1")
        assert (answer.status_code, answer.json()["challenge"]) == (200, opened["id"])
    assert service.accept("bob", fingerprint=bob, code=opened["code"]).json()["error"] == "other_user"


def test_key_with_its_own_challenge_is_listed_for_both_challenges(service: Service, alice: str) -> None:
    own, anybodys = service.open(), service.open(user=None, by="door")
    listed = service.keys(alice)
    assert [each.get("challenge") for each in listed] == [own["id"], None]
    assert service.accept(fingerprint=alice, code=anybodys["code"]).json()["challenge"] == anybodys["id"]
    assert service.accept(fingerprint=alice, code=own["code"]).json()["challenge"] == own["id"]


def test_unowned_key_is_not_listed_for_a_challenge_without_a_user(service: Service, alice: str) -> None:
    assert alice
    service.open(user=None)
    assert service.keys("SHA256:" + "A" * 43) == []
    assert service.keys() == []


def test_wrong_long_codes_count_even_if_they_match_no_challenge(service: Service, alice: str) -> None:
    opened = service.open(user=None)
    for by in range(1, 10):
        code = f"{(int(opened['code']) + by) % 10**8:08}"
        answer = service.accept(fingerprint=alice, code=code, client_ip="192.0.2.9")
        assert (answer.status_code, answer.json()["error"]) == (403, "invalid_code")
        assert "attempts_left" not in answer.json()
    for code in ("00000000", opened["code"]):
        answer = service.accept(fingerprint=alice, code=code, client_ip="192.0.2.9")
        assert (answer.status_code, answer.json()["error"]) == (429, "too_many_attempts")
    assert 0 < int(answer.headers["Retry-After"]) <= WINDOW.total_seconds()
    service.clock.now += WINDOW


def test_wrong_code_counts_even_after_the_login_is_over(service: Service, alice: str) -> None:
    own = service.open(expires_in=600)
    service.accept(code=own["code"], fingerprint=alice)
    opened = service.open(user=None)
    for by in range(1, 11):
        service.accept(fingerprint=alice, code=f"{(int(opened['code']) + by) % 10**8:08}")
    assert service.accept(fingerprint=alice, code=opened["code"]).json()["error"] == "too_many_attempts"


# --- one pending for a user and client


def test_new_challenge_replaces_the_last_one_of_this_client_and_user(service: Service, alice: str) -> None:
    first, other, second = service.open(), service.open(by="wiki"), service.open()
    assert service.show(first["id"])["state"] == "cancelled"
    assert service.show(other["id"], by="wiki")["state"] == "pending"
    assert service.accept(challenge=first["id"], code=first["code"]).json()["error"] == "cancelled"
    assert service.accept(fingerprint=alice, code=second["code"]).status_code == 200
    assert service.audited("challenge.cancelled")[0]["reason"] == "superseded"


def test_long_poll_for_the_replaced_challenge_ends_at_once(service: Service, alice: str) -> None:
    assert alice
    first = service.open()
    service.open()
    assert service.show(first["id"], wait=20)["state"] == "cancelled"


# --- limits


def test_new_challenge_does_not_reset_the_count_of_wrong_codes(service: Service, alice: str) -> None:
    errors = []
    for _ in range(2):
        opened = service.open()
        codes = [wrong(opened["code"], by) for by in range(1, 6)]
        errors += [service.accept(code=code, fingerprint=alice).json()["error"] for code in codes]
    assert errors == ["invalid_code"] * 9 + ["too_many_attempts"]
    opened = service.open()
    answer = service.accept(code=opened["code"], fingerprint=alice)
    assert (answer.status_code, answer.json()["error"]) == (429, "too_many_attempts")
    assert service.show(opened["id"])["state"] == "pending"
    assert service.store.challenges.unlock("alice", service.clock())
    assert service.accept(code=wrong(opened["code"]), fingerprint=alice).json()["error"] == "invalid_code"
    for by in range(1, 10):
        opened = opened if by % 5 else service.open()
        service.accept(code=wrong(opened["code"], by), fingerprint=alice)
    assert service.accept(code=opened["code"], fingerprint=alice).json()["error"] == "too_many_attempts"
    service.clock.now += WINDOW
    opened = service.open()
    assert service.accept(code=opened["code"], fingerprint=alice).status_code == 200


def test_wrong_codes_in_the_browser_end_their_login_and_nothing_else(service: Service, alice: str) -> None:
    """Finding S4: codes are typed by somebody who has not proven a key. So they do not count against the user."""
    for _ in range(4):
        opened = service.open(binding="code_back")
        code = service.accept(challenge=opened["id"], fingerprint=alice).json()["code"]
        left = [verify(service, opened, wrong(code, by))["attempts_left"] for by in range(1, 6)]
        assert left == [4, 3, 2, 1, 0]
        assert verify(service, opened, code)["error"] == "too_many_attempts"
    assert service.accept(code=service.open()["code"], fingerprint=alice).status_code == 200


def test_user_without_a_wrong_code_passes_at_an_address_with_many(service: Service) -> None:
    """Finding S16: wrong codes of colleagues at the same address do not stop a person who made no mistake.

    Somebody who tries the codes of many users gets one try for each user.
    """
    for number in range(6):
        service.add_user(f"u{number}", ed25519(f"u{number}"))
        opened = service.open(f"u{number}")
        for by in range(1, 6):
            service.accept(f"u{number}", code=wrong(opened["code"], by), client_ip="192.0.2.66")
    service.add_user("alice", ed25519("alice"))
    opened = service.open()
    assert service.accept(code=wrong(opened["code"]), client_ip="192.0.2.66").json()["error"] == "invalid_code"
    assert service.accept(code=opened["code"], client_ip="192.0.2.66").json()["error"] == "too_many_attempts"
    assert service.accept(code=opened["code"], client_ip="192.0.2.1").status_code == 200
    service.add_user("bob", ed25519("bob"))
    assert service.accept("bob", code=service.open("bob")["code"], client_ip="192.0.2.66").status_code == 200


# --- verify_required


def test_challenge_with_verify_required_needs_a_verified_key_line(service: Service, alice: str) -> None:
    (hard,) = service.add_user("bob", sk_ed25519("bob"))
    assert alice
    opened = service.open("bob", verify_required=True)
    assert service.keys(hard)[0]["verify_required"] is True
    refused = service.accept("bob", code=opened["code"], fingerprint=hard)
    assert (refused.status_code, refused.json()["error"]) == (403, "verification_required")
    assert service.accept("bob", code=opened["code"], fingerprint=hard, verified=True).status_code == 200
    shown = service.show(opened["id"])
    assert shown["amr"] == ["hwk", "pop", "user", "mfa"]
    assert shown["acr"] == "urn:sshaft:acr:verified-code"


def test_key_that_cannot_verify_is_listed_without_a_challenge(service: Service, alice: str) -> None:
    service.open(verify_required=True)
    assert service.keys() == []
    assert [entry["challenge"] for entry in service.keys(alice)] == [None]


# --- addresses


def with_check(service: Service, check: str) -> None:
    service.store.challenges.rules = Rules(address_check=AddressCheck(check))


@pytest.mark.parametrize(
    ("check", "browser", "ssh", "confirmed", "error"),
    [
        ("warn", "192.0.2.7", "192.0.2.7", False, None),
        ("warn", "192.0.2.7", "198.51.100.1", False, "confirm_required"),
        ("warn", "192.0.2.7", "198.51.100.1", True, None),
        ("warn", None, "198.51.100.1", False, None),
        ("off", "192.0.2.7", "198.51.100.1", False, None),
        ("require", "192.0.2.7", "198.51.100.1", True, "address_mismatch"),
        ("require", None, "198.51.100.1", True, "address_mismatch"),
        ("require", "2001:db8::1", "2001:db8::ffff", False, None),
        ("require", "2001:db8:0:1::1", "2001:db8:0:2::1", False, "address_mismatch"),
        ("require", "::ffff:192.0.2.7", "192.0.2.7", False, None),
        ("require", "192.0.2.7:50123", "192.0.2.7", False, None),
        ("require", "[2001:db8::1]:50123", "2001:db8::2", False, None),
        ("require", "", "192.0.2.7", False, "address_mismatch"),
    ],
)
def test_setting_decides_about_different_addresses(
    service: Service, alice: str, check: str, browser: str | None, ssh: str, confirmed: bool, error: str | None
) -> None:
    """Case address_with_port: a port is no part of the address, wherever the address comes from."""
    with_check(service, check)
    opened = service.open(app="Wiki", context={} if browser is None else {"ip": browser})
    answer = service.accept(code=opened["code"], fingerprint=alice, client_ip=ssh, confirmed=confirmed or None)
    assert answer.json().get("error") == error
    if error == "confirm_required":
        assert answer.json()["context"] == {"app": "Wiki", "ip": browser, "started_at": opened["created_at"]}
    if error:
        assert service.show(opened["id"])["state"] == "pending"


@pytest.mark.parametrize("ip", ["192.0.2.7, 10.0.0.1", "unknown", "192.0.2", "<b>"])
def test_address_that_cannot_be_read_is_an_invalid_request(service: Service, alice: str, ip: str) -> None:
    """Case address_with_port: such an address fits no ssh, so each login would fail or ask for ever."""
    assert alice
    answer = service.call("POST", "/api/v1/challenges", Scope.CHALLENGES, json={"user": "alice", "context": {"ip": ip}})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert "context.ip" in answer.json()["detail"]
    assert "must be an IP address" in answer.json()["detail"]


def test_wrong_code_is_refused_before_the_person_is_asked(service: Service, alice: str) -> None:
    opened = service.open(context={"ip": "192.0.2.7"})
    answer = service.accept(code=wrong(opened["code"]), fingerprint=alice, client_ip="198.51.100.1")
    assert answer.json()["error"] == "invalid_code"


# --- audit


def test_audit_log_holds_each_step_and_no_code(service: Service, alice: str) -> None:
    opened = service.open(app="Wiki", context={"ip": "192.0.2.7"})
    facts = {"fingerprint": alice, "client_ip": "192.0.2.7"}
    service.accept(challenge=opened["id"], code=wrong(opened["code"]), **facts)
    service.accept(challenge=opened["id"], code=opened["code"], **facts)
    service.call("POST", f"/api/v1/challenges/{opened['id']}/consume", Scope.CHALLENGES)
    second = service.open()
    service.reject(challenge=second["id"], **facts)
    for event in ("created", "wrong_code", "accepted", "consumed", "rejected"):
        (first, *_) = service.audited(f"challenge.{event}")
        assert (first["user"], first["client"]) == ("alice", "test")
    (accepted,) = service.audited("challenge.accepted")
    expected = {"fingerprint": alice, "key_type": "ssh-ed25519", "ssh_address": "192.0.2.7", "app": "Wiki"}
    assert accepted.items() >= (expected | {"browser_address": "192.0.2.7"}).items()
    with service.store.database.read() as connection:
        text = str(connection.execute(select(audit_events)).all())
    assert opened["code"] not in text
    assert wrong(opened["code"]) not in text
