"""Tests the steps of a login that every face shares: what each step logs, and whose pages get news."""

from datetime import timedelta
from typing import Any

import pytest
from fakes.public_keys import ed25519
from service.service import START, Service
from service.typing_provider import printed
from starlette.requests import Request

from sshaft_identity.challenges.challenge import Binding, Challenge, Context, State, Verdict
from sshaft_identity.challenges.challenges import Opened, Wish
from sshaft_identity.web import logins
from sshaft_identity.web.call import Call


@pytest.fixture(autouse=True)
def alice(service: Service) -> str:
    """The fingerprint of her key."""
    return service.add_user("alice", ed25519("alice"))[0]


@pytest.fixture
def call(service: Service) -> Call:
    return Call(Request({"type": "http", "app": service.app, "headers": [], "client": None}))


def open_login(call: Call, user: str | None = "alice", **more: Any) -> Opened:
    wish: dict[str, Any] = {"client": "test", "context": Context("The shop", "192.0.2.7")} | more
    return logins.open_login(call, Wish(user, timedelta(minutes=5), **wish))


def ids(call: Call) -> list[str]:
    return [each.id for each in call.changed]


def facts(service: Service, event: str) -> list[dict[str, Any]]:
    usual = ("event", "level", "timestamp")
    return [{name: value for name, value in each.items() if name not in usual} for each in service.events(event)]


def test_new_login_is_logged_and_gives_news_to_the_logins_that_it_replaces(service: Service, call: Call) -> None:
    """A person has one open login of a client at one address."""
    first = open_login(call).challenge.id
    assert ids(call) == []
    second = open_login(call).challenge.id
    assert ids(call) == [first]
    same = {"user": "alice", "client": "test", "app": "The shop", "ip": "192.0.2.7"}
    assert facts(service, "challenge.created") == [{"challenge": each, **same} for each in (first, second)]


@pytest.mark.parametrize(("user", "noted"), [("alice", []), (None, []), ("nobody", ["nobody"])])
def test_only_a_name_that_nobody_has_is_noted_for_the_operator(
    service: Service, call: Call, user: str | None, noted: list[str]
) -> None:
    assert open_login(call, user).challenge.user == user
    call.state.unknown_users.report(service.store.users)
    assert [(each["user"], each["client"]) for each in service.events("user.unknown")] == [
        (name, "test") for name in noted
    ]


def passed(service: Service, call: Call, alice: str) -> Challenge:
    opened = open_login(call)
    assert service.accept("alice", code=opened.code, fingerprint=alice).status_code == 200
    call.changed = ()
    return opened.challenge


def test_accepted_login_is_consumed_once_and_gives_news_to_its_page(service: Service, call: Call, alice: str) -> None:
    challenge = passed(service, call, alice)
    after = logins.consume(call, challenge.id, "test")
    assert after
    assert (after.id, after.state) == (challenge.id, State.CONSUMED)
    assert call.changed == [after]
    call.changed = ()
    assert logins.consume(call, challenge.id, "test") is None
    assert ids(call) == []
    assert facts(service, "challenge.consumed") == [{"challenge": challenge.id, "user": "alice", "client": "test"}]


def test_result_is_consumed_by_its_own_client_in_its_own_time_only(service: Service, call: Call, alice: str) -> None:
    challenge = passed(service, call, alice)
    assert logins.consume(call, challenge.id, "shop") is None
    service.clock.now = challenge.expires_at + timedelta(minutes=1)
    assert logins.consume(call, challenge.id, "test") is None
    assert (ids(call), facts(service, "challenge.consumed")) == ([], [])
    service.clock.now = START
    assert logins.consume(call, challenge.id, "test")


def test_typed_code_is_logged_and_gives_news_to_the_page_that_it_passes(
    service: Service, call: Call, alice: str
) -> None:
    challenge = open_login(call, binding=Binding.CODE_BACK).challenge
    answer = logins.verify(call, [challenge], printed(service, alice))
    assert answer.verdict is Verdict.ACCEPTED
    assert ids(call) == [challenge.id]
    assert facts(service, "challenge.verified") == [
        {"verdict": "accepted", "challenges": [challenge.id], "user": "alice", "client": "test"}
    ]


def test_code_for_no_login_is_logged_without_a_user(service: Service, call: Call) -> None:
    assert logins.verify(call, [], "123456").verdict is Verdict.NO_CHALLENGE
    assert facts(service, "challenge.verified") == [
        {"verdict": "no_challenge", "challenges": [], "user": None, "client": None}
    ]
    assert ids(call) == []


def test_repeated_attempt_counts_once(service: Service, call: Call, alice: str) -> None:
    challenge = open_login(call, binding=Binding.CODE_BACK).challenge
    code = printed(service, alice)
    wrong = f"{(int(code) + 1) % 10**6:06}"
    left = [logins.verify(call, [challenge], wrong, attempt).attempts_left for attempt in ("a", "a", "b", None, None)]
    assert left == [4, 4, 3, 2, 1]
