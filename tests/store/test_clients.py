import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from service.service import Clock
from sqlalchemy import event, select

from sshaft_identity.clients.access_tokens import TOKEN_LIFETIME
from sshaft_identity.clients.clients import Client, Clients, Scope
from sshaft_identity.common.errors import RegistryError
from sshaft_identity.database.tables import access_tokens, audit_events, clients
from sshaft_identity.store import Store

PLAIN = Client("plain", frozenset([Scope.LIST]))
FULL = Client(
    "full",
    frozenset([Scope.LIST, Scope.ACCEPT]),
    allows_unbound=True,
    return_urls=("https://a.example/", "https://b.example/"),
    networks=("192.0.2.0/24", "2001:db8::/32"),
    faces={"cas": {"service": "https://a.example/"}},
    jwks={"keys": [{"kty": "EC"}]},
    pairwise_sector="a.example",
)


@pytest.fixture
def web(store: Store, clock: Clock) -> Client:
    store.clients.add(Client("web", frozenset([Scope.CHALLENGES])), clock())
    return store.clients.all()[0]


def test_a_client_authenticates_only_with_its_own_secret(store: Store, clock: Clock) -> None:
    one, other = (store.clients.add(Client(name, frozenset([Scope.LIST])), clock()) for name in ("one", "other"))
    assert store.clients.authenticate("one", one, clock()) == Client("one", frozenset({"mfa:list"}))
    for name, secret in (("one", other), ("nobody", one), ("one", ""), ("", one), ("one", one + " ")):
        assert store.clients.authenticate(name, secret, clock()) is None


def test_neither_secrets_nor_tokens_are_stored(store: Store, web: Client, clock: Clock) -> None:
    secret = store.clients.add(Client("other", frozenset([Scope.LIST])), clock())
    token = store.access_tokens.issue(web, web.scopes, clock())
    with store.database.read() as connection:
        stored = [
            str(value)
            for table in (clients, access_tokens)
            for row in connection.execute(select(table))
            for value in row
        ]
    assert secret not in stored
    assert token not in stored


def test_a_token_has_the_scopes_that_it_was_issued_with(store: Store, clock: Clock) -> None:
    store.clients.add(Client("both", frozenset([Scope.LIST, Scope.ACCEPT])), clock())
    client = store.clients.all()[0]
    token = store.access_tokens.issue(client, [Scope.LIST], clock())
    assert token
    assert store.access_tokens.client_of(token, clock()) == Client("both", frozenset({"mfa:list"}))
    assert store.access_tokens.client_of(token, clock() + timedelta(seconds=300)) is None


@pytest.mark.parametrize(
    "end", [lambda store: store.revocation.remove_client, lambda store: store.access_tokens.revoke_all]
)
def test_tokens_end_with_their_client_or_when_revoked(
    store: Store, web: Client, clock: Clock, end: Callable[[Store], Callable[[str, datetime], object]]
) -> None:
    token = store.access_tokens.issue(web, web.scopes, clock())
    assert token
    end(store)("web", clock())
    assert store.access_tokens.client_of(token, clock()) is None


def test_a_removed_client_gets_no_token(store: Store, web: Client, clock: Clock) -> None:
    store.revocation.remove_client("web", clock())
    assert store.access_tokens.issue(web, web.scopes, clock()) is None


@pytest.mark.parametrize("name", ["", "-x", "a b", "a:b", "a" * 65, "ä"])
def test_a_client_name_with_special_characters_is_refused(store: Store, clock: Clock, name: str) -> None:
    with pytest.raises(RegistryError, match=r"^a client's name is 1 to 64 .* starts with a letter or digit$"):
        store.clients.add(Client(name, frozenset([Scope.LIST])), clock())
    assert store.clients.all() == []


@pytest.mark.parametrize("client", [FULL, PLAIN])
def test_client_is_found_as_it_was_registered(store: Store, web: Client, clock: Clock, client: Client) -> None:
    store.clients.add(client, clock())
    assert store.clients.get(client.client_id) == client
    assert store.clients.all() == sorted([client, web], key=lambda each: each.client_id)
    assert store.clients.get("nobody") is None
    with store.database.read() as connection:
        keys = connection.scalar(select(clients.c.jwks).where(clients.c.client_id == client.client_id))
    assert (keys is None) is (client.jwks is None)


def test_client_has_no_right_that_was_not_given(store: Store, web: Client) -> None:
    found = store.clients.get(web.client_id)
    assert found
    assert (found.allows_unbound, found.return_urls, found.faces) == (False, (), {})


def test_name_of_a_client_is_taken_once(store: Store, web: Client, clock: Clock) -> None:
    with pytest.raises(RegistryError, match=r"^there is already a client web$"):
        store.clients.add(Client("web", frozenset([Scope.LIST])), clock())
    assert store.clients.all() == [web]


@pytest.mark.parametrize(
    "change",
    [
        lambda of, now: of.set_face("nobody", "cas", {}, now),
        lambda of, now: of.set_return_urls("nobody", ["https://a.example/"], now),
        lambda of, now: of.rotate_secret("nobody", now, timedelta()),
    ],
)
@pytest.mark.usefixtures("web")
def test_unknown_client_cannot_be_changed(
    store: Store, clock: Clock, change: Callable[[Clients, datetime], object]
) -> None:
    with pytest.raises(RegistryError, match=r"^there is no client nobody$"):
        change(store.clients, clock())


@pytest.mark.usefixtures("web")
def test_change_of_a_face_leaves_the_other_faces(store: Store, clock: Clock) -> None:
    def faces() -> object:
        client = store.clients.get("web")
        return client and client.faces

    store.clients.set_face("web", "cas", {"a": 1}, clock())
    store.clients.set_face("web", "openid", {}, clock())
    assert faces() == {"cas": {"a": 1}, "openid": {}}
    store.clients.set_face("web", "cas", {"b": 2}, clock())
    assert faces() == {"cas": {"b": 2}, "openid": {}}
    store.clients.set_face("web", "cas", None, clock())
    assert faces() == {"openid": {}}
    with store.database.read() as connection:
        facts = connection.scalars(select(audit_events.c.facts).where(audit_events.c.event == "client.face_set"))
        assert [json.loads(each)["on"] for each in facts] == [True, True, True, False]


def test_return_urls_are_replaced(store: Store, clock: Clock) -> None:
    store.clients.add(FULL, clock())
    store.clients.set_return_urls("full", ["https://c.example/", "https://d.example/"], clock())
    client = store.clients.get("full")
    assert client == replace(FULL, return_urls=("https://c.example/", "https://d.example/"))


@pytest.mark.parametrize(
    ("networks", "address", "may"),
    [
        ((), "192.0.2.1", True),
        ((), None, True),
        (("192.0.2.0/24", "2001:db8::/32"), "192.0.2.1", True),
        (("192.0.2.0/24", "2001:db8::/32"), "198.51.100.1", False),
        (("192.0.2.0/24",), None, False),
    ],
)
def test_client_calls_from_its_networks_only(networks: tuple[str, ...], address: str | None, *, may: bool) -> None:
    assert replace(PLAIN, networks=networks).may_call_from(address) is may


# --- rotation


def test_the_old_secret_is_valid_until_the_overlap_ends(store: Store, clock: Clock) -> None:
    old = store.clients.add(Client("web", frozenset([Scope.CHALLENGES])), clock())
    new = store.clients.rotate_secret("web", clock(), timedelta(hours=24))
    assert old != new
    clock.advance(24 * 3600 - 1)
    assert [store.clients.authenticate("web", each, clock()) is not None for each in (old, new)] == [True, True]
    clock.advance(1)
    assert [store.clients.authenticate("web", each, clock()) is not None for each in (old, new)] == [False, True]


def test_a_second_rotation_within_the_overlap_ends_the_oldest_secret(store: Store, clock: Clock) -> None:
    secrets = [store.clients.add(Client("web", frozenset([Scope.CHALLENGES])), clock())]
    secrets += [store.clients.rotate_secret("web", clock(), timedelta(hours=24)) for _ in range(2)]
    known = [store.clients.authenticate("web", each, clock()) is not None for each in secrets]
    assert known == [False, True, True]


def test_a_rotation_without_overlap_ends_the_old_secret_and_the_access_tokens(store: Store, clock: Clock) -> None:
    old = store.clients.add(Client("web", frozenset([Scope.CHALLENGES])), clock())
    store.clients.rotate_secret("web", clock(), timedelta(hours=1))
    client = store.clients.all()[0]
    token = store.access_tokens.issue(client, client.scopes, clock())
    assert token
    new = store.clients.rotate_secret("web", clock(), timedelta())
    assert store.clients.authenticate("web", old, clock()) is None
    assert store.clients.authenticate("web", new, clock()) is not None
    with store.database.read() as connection:
        previous = select(clients.c.previous_secret_hash, clients.c.previous_secret_until)
        assert connection.execute(previous).one() == (None, None)
    assert store.access_tokens.client_of(token, clock()) is None


def test_a_rotation_with_overlap_leaves_the_access_tokens(store: Store, web: Client, clock: Clock) -> None:
    token = store.access_tokens.issue(web, web.scopes, clock())
    assert token
    store.clients.rotate_secret("web", clock(), timedelta(hours=1))
    assert store.access_tokens.client_of(token, clock()) is not None


def test_a_secret_that_cannot_be_delivered_is_not_rotated(store: Store, clock: Clock) -> None:
    old = store.clients.add(Client("web", frozenset([Scope.CHALLENGES])), clock())

    def fail(secret: str) -> None:
        raise OSError(secret and "disk full")

    with pytest.raises(OSError, match="disk full"):
        store.clients.rotate_secret("web", clock(), timedelta(), fail)
    assert store.clients.authenticate("web", old, clock()) is not None


@pytest.mark.parametrize("secret", ["", "nobody"])
def test_no_previous_secret_authenticates_before_a_rotation(store: Store, clock: Clock, secret: str) -> None:
    store.clients.add(Client("web", frozenset([Scope.CHALLENGES])), clock())
    store.clients.rotate_secret("web", clock(), timedelta())
    for name in ("web", "nobody", ""):
        assert store.clients.authenticate(name, secret, clock()) is None


def test_changes_of_a_client_are_in_the_audit_log(store: Store, clock: Clock) -> None:
    secret = store.clients.add(Client("web", frozenset([Scope.CHALLENGES])), clock())
    new = store.clients.rotate_secret("web", clock(), timedelta(hours=1))
    store.access_tokens.revoke_all("web", clock())
    store.revocation.remove_client("web", clock())
    with store.database.read() as connection:
        rows = connection.execute(select(audit_events).order_by(audit_events.c.id)).all()
    assert [row.event for row in rows] == ["client.added", "client.secret_rotated", "client.revoked", "client.removed"]
    assert all(json.loads(row.facts)["client"] == "web" for row in rows)
    assert not any(each in row.facts for row in rows for each in (secret, new))


def test_a_token_is_looked_up_once_for_all_requests_of_a_batch_and_again_for_the_next(
    store: Store, web: Client, clock: Clock
) -> None:
    token = store.access_tokens.issue(web, web.scopes, clock())
    assert token
    asked: list[str] = []

    @event.listens_for(store.database.engine, "before_cursor_execute")
    def note(*about: object) -> None:
        asked.append(str(about[2]))

    with store.together():
        assert [store.access_tokens.client_of(token, clock()) for _ in range(3)] == [web] * 3
        assert store.access_tokens.client_of(token, clock() + TOKEN_LIFETIME) is None
        assert store.access_tokens.client_of("another", clock()) is None
    event.remove(store.database.engine, "before_cursor_execute", note)
    assert len([each for each in asked if "FROM access_tokens" in each]) == 2
    store.access_tokens.revoke_all("web", clock())
    with store.together():
        assert store.access_tokens.client_of(token, clock()) is None
