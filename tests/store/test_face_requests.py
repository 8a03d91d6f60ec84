"""Tests the handles of browsers' logins, and the ends of imported keys, on both databases."""

from datetime import timedelta

from fakes.public_keys import ed25519
from service.service import Clock

from sshaft_identity.clients.clients import Client, Scope
from sshaft_identity.face_support.face_requests import FaceRequests, Returns
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
    assert first is not None
    assert second is not None
    assert requests.of_handle(first) is None
    assert requests.of_handle(second) is not None
    assert returns.may_repeat(LOGIN, clock())
    assert requests.redeem_handle(LOGIN, clock())
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


def test_import_changes_the_end_of_a_key(store: Store, clock: Clock) -> None:
    """Case end_of_a_key."""
    for end in ("2031-01-01T00:00:00Z", "2030-01-01T00:00:00Z", "2032-01-01T00:00:00Z"):
        records = read_records(f"user,authorized_key,expires_at\nalice,{ed25519()},{end}\n", "csv", "x")
        import_keys(store.database, records, clock(), KeyPolicy(), create_users=True)
        (key,) = store.keys.all("alice")
        assert key.expires_at == records[0].new.expires_at
