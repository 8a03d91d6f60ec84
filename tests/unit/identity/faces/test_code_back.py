"""Tests the face `code_back`: a provider asks whether a code is right."""

from typing import Any

import pytest
from fakes.public_keys import ed25519
from service.service import Service
from service.typing_provider import Provider, audited, printed

from sshaft_identity.clients.clients import Client, Scope


@pytest.fixture
def alice(service: Service) -> str:
    """The fingerprint of her key."""
    return service.add_user("alice", ed25519("alice"))[0]


class Portal(Provider):
    def __init__(self, service: Service, name: str = "portal", networks: tuple[str, ...] = (), **options: Any) -> None:
        super().__init__(service, "code_back", "/code-back/", name, options, networks)

    def init(self, user: str = "alice", ip: str = "192.0.2.7") -> Any:
        answer = self.call("init", {"user": user, "ip": ip})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def verify(self, code: str, user: str = "alice") -> Any:
        answer = self.call("verify", {"code": code, "user": user, "sid": None})
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture
def portal(service: Service) -> Portal:
    return Portal(service)


def test_code_that_ssh_printed_passes_once(service: Service, portal: Portal, alice: str) -> None:
    assert portal.init() == {"result": True}
    code = printed(service, alice)
    assert portal.verify(f" {code[:3]} {code[3:]} ") == {"result": True}
    assert portal.verify(code) == {"result": False}
    (challenge,) = service.store.challenges.recent()
    assert (challenge.state, challenge.context.ip, challenge.context.app) == ("consumed", "192.0.2.7", "portal")


def test_wrong_codes_are_counted_and_end_the_login(service: Service, portal: Portal, alice: str) -> None:
    portal.init()
    code = printed(service, alice)
    wrong = f"{(int(code) + 1) % 10**6:06}"
    assert [portal.verify(wrong) for _ in range(5)] == [{"result": False}] * 5
    assert portal.verify(code) == {"result": False}
    events = audited(service)
    assert events.count(("challenge.wrong_code", None)) == 5
    assert ("request.refused", None) not in events


def test_no_code_passes_before_the_ssh_login(service: Service, portal: Portal, alice: str) -> None:
    portal.init()
    challenge = service.store.challenges.recent()[0]
    assert portal.verify(service.store.codes.given_back(challenge.id)) == {"result": False}, alice


def test_code_passes_for_its_user_and_its_client_only(service: Service, portal: Portal, alice: str) -> None:
    (bob,) = service.add_user("bob", ed25519("bob"))
    other = Portal(service, "other")
    portal.init()
    code = printed(service, alice)
    other.init("bob")
    assert other.verify(code, "bob") == {"result": False}
    assert other.verify(code, "alice") == {"result": False}
    assert portal.verify(printed(service, bob, "bob"), "alice") == {"result": False}
    assert portal.verify(code) == {"result": True}


def test_code_of_a_challenge_of_the_api_is_refused(service: Service, portal: Portal, alice: str) -> None:
    opened = service.open(by="portal2", binding="code_back")
    code = printed(service, alice)
    assert portal.verify(code) == {"result": False}
    assert service.store.challenges.get(opened["id"])


def test_expired_login_does_not_pass(service: Service, portal: Portal, alice: str) -> None:
    portal.init()
    code = printed(service, alice)
    service.clock.advance(301)
    assert portal.verify(code) == {"result": False}
    assert audited(service)[-1] == ("request.refused", "no_challenge")


def test_a_new_init_does_not_end_the_one_before(service: Service, portal: Portal, alice: str) -> None:
    """Finding S4: a stranger can make a portal begin logins for a name. The login of its owner still waits."""
    portal.init()
    code = printed(service, alice)
    portal.init(ip="203.0.113.9")
    portal.init(ip="")
    assert portal.verify(code) == {"result": True}


def test_a_new_init_from_the_same_address_takes_the_place_of_the_one_before(
    service: Service, portal: Portal, alice: str
) -> None:
    portal.init()
    old = printed(service, alice)
    portal.init()
    assert portal.verify(old) == {"result": False}
    assert portal.verify(printed(service, alice)) == {"result": True}


def test_unknown_user_gets_the_same_answer_as_a_known_user(portal: Portal) -> None:
    assert portal.init("nobody-here") == {"result": True}
    assert portal.verify("123456", "nobody-here") == {"result": False}


@pytest.mark.parametrize("user", ["", "-oProxyCommand=x", "a b", "\u202e", "x" * 65, None, 7, ["alice"]])
def test_odd_user_names_are_refused(service: Service, portal: Portal, user: Any) -> None:
    assert portal.call("init", {"user": user}).json() == {"result": False}
    assert portal.call("verify", {"user": user, "code": "1"}).json() == {"result": False}
    assert service.store.challenges.recent() == []
    assert [each for each in audited(service) if each[0] == "request.refused"] == [
        ("request.refused", "invalid_request")
    ] * 2


@pytest.mark.parametrize("code", ["", "abc", "1" * 17, "\u0661\u0662\u0663", None, 123456, "12\n34\x00"])
def test_odd_codes_do_not_count_as_tries(service: Service, portal: Portal, code: Any) -> None:
    portal.init()
    assert portal.call("verify", {"user": "alice", "code": code}).json() == {"result": False}
    assert service.store.challenges.recent()[0].tries == 0


@pytest.mark.parametrize("body", ["", "[]", "x", "[" * 100_000, '"text"', "\ud800".encode("utf-8", "surrogatepass")])
def test_odd_bodies_are_refused(service: Service, portal: Portal, body: Any) -> None:
    answer = service.call("POST", "/code-back/init", data=body, auth=(portal.name, portal.secret))
    assert answer.status_code in (400, 413)
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_unauthenticated_client_is_refused(service: Service, portal: Portal) -> None:
    api = service.store.clients.add(Client("api", frozenset([Scope.CHALLENGES])), service.clock())
    for auth, status in (
        (None, 401),
        (("portal", "wrong"), 401),
        (("nobody", portal.secret), 401),
        (("api", api), 403),
    ):
        for step in ("init", "verify"):
            answer = portal.call(step, {"user": "alice", "code": "1"}, auth=auth)
            assert answer.status_code == status
    assert len([each for each in audited(service) if each[0] == "request.refused"]) == 8


def test_client_may_call_from_its_networks_only(service: Service) -> None:
    assert Portal(service, "near", networks=("127.0.0.0/8",)).init() == {"result": True}
    far = Portal(service, "far", networks=("192.0.2.0/24",))
    assert far.call("init", {"user": "alice"}).status_code == 401
    forged = far.call("init", {"user": "alice"}, headers={"X-Forwarded-For": "192.0.2.1"})
    assert forged.status_code == 401


def test_options_rename_the_members(service: Service, alice: str) -> None:
    webhook = Portal(service, "webhook", user="attributes.username", code="attributes.passvalue", result="data.valid")
    told = {"capability": "x", "attributes": {"username": "alice", "passvalue": "1"}}
    assert webhook.call("init", told).json() == {"data": {"valid": True}}
    told["attributes"]["passvalue"] = printed(service, alice)  # type: ignore[index]
    assert webhook.call("verify", told).json() == {"data": {"valid": True}}


def test_neither_code_nor_secret_reaches_the_log(service: Service, portal: Portal, alice: str) -> None:
    portal.init()
    code = printed(service, alice)
    portal.verify(code)
    assert code not in service.log.getvalue()
    assert portal.secret not in service.log.getvalue()
