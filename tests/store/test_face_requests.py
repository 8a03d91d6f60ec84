"""Tests the handles of browsers' logins, and the ends of imported keys, on both databases."""

from datetime import timedelta
from typing import Any

import pytest
from fakes.public_keys import ed25519
from service.service import Clock
from sqlalchemy import select

from sshaft_identity.clients.clients import Client, Scope
from sshaft_identity.database.tables import face_requests
from sshaft_identity.face_support.face_requests import FaceRequests, Returns, face_of
from sshaft_identity.people.key_import import import_keys, read_records
from sshaft_identity.people.key_policy import KeyPolicy
from sshaft_identity.store import Store

LOGIN = "0123456789abcdef0123456789abcdef"
MINUTE = timedelta(minutes=1)


def begun(store: Store, clock: Clock) -> tuple[FaceRequests, Returns]:
    store.clients.add(Client("shop", frozenset([Scope.CHALLENGES])), clock())
    requests = FaceRequests(store.database, "openid")
    requests.add(LOGIN, "shop", {}, clock())
    return requests, Returns(store.database)


def test_handle_is_renewed_until_it_is_redeemed(store: Store, clock: Clock) -> None:
    """Case browser_reload: each renewal voids the handle before."""
    requests, returns = begun(store, clock)
    assert requests.renew_handle(LOGIN, clock()) is None, "the time has not begun"
    returns.begin(LOGIN, clock() + MINUTE)
    first, second = requests.renew_handle(LOGIN, clock()), requests.renew_handle(LOGIN, clock())
    assert first
    assert second
    assert len(second) == 43
    assert requests.of_handle(first) is None
    assert requests.of_handle(second) is not None
    assert returns.may_repeat(LOGIN, clock())
    assert requests.redeem_handle(LOGIN, second, clock())
    assert requests.renew_handle(LOGIN, clock()) is None
    assert not returns.may_repeat(LOGIN, clock())


def test_time_of_a_handle_is_not_made_longer(store: Store, clock: Clock) -> None:
    """Case browser_reload: reloads cannot keep a login open."""
    requests, returns = begun(store, clock)
    returns.begin(LOGIN, clock() + MINUTE)
    clock.advance(59)
    returns.begin(LOGIN, clock() + MINUTE)
    assert requests.renew_handle(LOGIN, clock()) is not None
    clock.advance(1)
    assert requests.renew_handle(LOGIN, clock()) is None
    assert not returns.may_repeat(LOGIN, clock())


NEIGHBOUR, OTHER_FACE = "1" * 32, "2" * 32


def rows(store: Store) -> dict[str, dict[str, Any]]:
    with store.database.read() as connection:
        return {row.id: dict(row._mapping) for row in connection.execute(select(face_requests))}  # noqa: SLF001


def with_neighbours(store: Store, clock: Clock) -> tuple[FaceRequests, Returns]:
    """Begins a login beside one of the same face and one of another face. No change of the login may change these."""
    requests, returns = begun(store, clock)
    requests.add(NEIGHBOUR, "shop", {"of": "a neighbour"}, clock())
    FaceRequests(store.database, "ciba").add(OTHER_FACE, "shop", {"of": "another face"}, clock())
    for each in (NEIGHBOUR, OTHER_FACE):
        returns.begin(each, clock() + MINUTE)
    return requests, returns


@pytest.mark.parametrize("change", ["issue", "renew", "redeem", "poll", "early poll", "begin"])
def test_change_of_one_login_leaves_its_neighbours(store: Store, clock: Clock, change: str) -> None:
    requests, returns = with_neighbours(store, clock)
    if change == "renew":
        returns.begin(LOGIN, clock() + MINUTE)
    handle = requests.issue_handle(LOGIN, clock() + MINUTE) if change == "redeem" else None
    if change == "early poll":
        requests.record_poll(LOGIN, clock(), MINUTE)
        clock.advance(1)
    before = rows(store)
    changes = {
        "issue": lambda: requests.issue_handle(LOGIN, clock() + MINUTE),
        "renew": lambda: requests.renew_handle(LOGIN, clock()),
        "redeem": lambda: requests.redeem_handle(LOGIN, handle or "", clock()),
        "poll": lambda: requests.record_poll(LOGIN, clock(), MINUTE),
        "early poll": lambda: requests.record_poll(LOGIN, clock(), MINUTE),
        "begin": lambda: returns.begin(LOGIN, clock() + MINUTE),
    }
    changes[change]()
    after = rows(store)
    assert after.pop(LOGIN) != before.pop(LOGIN)
    assert after == before


def test_requests_of_another_face_are_invisible(store: Store, clock: Clock) -> None:
    requests, returns = with_neighbours(store, clock)
    other = FaceRequests(store.database, "ciba")
    handle = other.renew_handle(OTHER_FACE, clock())
    assert handle
    before = rows(store)
    assert requests.get(OTHER_FACE) is None
    assert requests.of_handle(handle) is None
    assert requests.issue_handle(OTHER_FACE, clock()) is None
    assert requests.renew_handle(OTHER_FACE, clock()) is None
    assert not requests.redeem_handle(OTHER_FACE, handle, clock())
    assert not requests.record_poll(OTHER_FACE, clock(), MINUTE)
    assert rows(store) == before
    assert [face_of(store.database, each) for each in (LOGIN, NEIGHBOUR, OTHER_FACE, "3" * 32)] == [
        "openid", "openid", "ciba", None,
    ]  # fmt: skip
    found = other.of_handle(handle)
    assert found
    assert (found.id, found.client_id, found.details) == (OTHER_FACE, "shop", {"of": "another face"})
    assert (found.handle_until, found.used_at, found.polled_at) == (clock() + MINUTE, None, None)
    assert returns.may_repeat(OTHER_FACE, clock())
    assert not returns.may_repeat(LOGIN, clock()), "its time has not begun"


def test_handle_is_issued_and_redeemed_once(store: Store, clock: Clock) -> None:
    requests, _ = with_neighbours(store, clock)
    handle = requests.issue_handle(LOGIN, clock() + MINUTE)
    assert handle
    assert len(handle) == 43
    assert requests.issue_handle(LOGIN, clock() + 2 * MINUTE) is None
    found = requests.of_handle(handle)
    assert found
    assert (found.id, found.handle_until) == (LOGIN, clock() + MINUTE)
    assert [requests.redeem_handle(LOGIN, handle, clock() + each * MINUTE) for each in range(2)] == [True, False]
    found = requests.get(LOGIN)
    assert found
    assert found.used_at == clock(), "the second use changes nothing"


def test_poll_counts_from_the_poll_before_even_if_that_was_early(store: Store, clock: Clock) -> None:
    requests, _ = with_neighbours(store, clock)
    interval = timedelta(seconds=5)
    on_time = []
    for pause in (0, 5, 4.9, 4.9, 5, -3600, 0, 5):
        clock.advance(pause)
        on_time.append(requests.record_poll(LOGIN, clock(), interval))
    assert on_time == [True, True, False, False, True, True, False, True], "a clock that is set back delays nobody"


def test_request_is_kept_for_a_day(store: Store, clock: Clock) -> None:
    begun(store, clock)
    assert rows(store)[LOGIN]["expires_at"] == clock() + timedelta(days=1)


def test_import_changes_the_end_of_a_key(store: Store, clock: Clock) -> None:
    """Case end_of_a_key."""
    for end in ("2031-01-01T00:00:00Z", "2030-01-01T00:00:00Z", "2032-01-01T00:00:00Z"):
        records = read_records(f"user,authorized_key,expires_at\nalice,{ed25519()},{end}\n", "csv", "x")
        import_keys(store.database, records, clock(), KeyPolicy(), create_users=True)
        (key,) = store.keys.all("alice")
        assert key.expires_at == records[0].new.expires_at
