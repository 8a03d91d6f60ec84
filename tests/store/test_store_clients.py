from datetime import timedelta

import pytest
from sqlalchemy import select
from unit.identity.running import Clock

from sshaft_identity.clients import Client, Scope
from sshaft_identity.errors import EnrolmentError
from sshaft_identity.store import Store
from sshaft_identity.tables import access_tokens, clients


@pytest.fixture
def web(store: Store, clock: Clock) -> Client:
    store.clients.add("web", [Scope.CHALLENGES], clock())
    return store.clients.all()[0]


def test_a_client_is_known_by_its_own_secret_only(store: Store, clock: Clock) -> None:
    one, other = (store.clients.add(name, [Scope.LIST], clock()) for name in ("one", "other"))
    assert store.clients.authenticate("one", one) == Client("one", frozenset({"mfa:list"}))
    for name, secret in (("one", other), ("nobody", one), ("one", ""), ("", one), ("one", one + " ")):
        assert store.clients.authenticate(name, secret) is None


def test_neither_secrets_nor_tokens_are_stored(store: Store, web: Client, clock: Clock) -> None:
    secret = store.clients.add("other", [Scope.LIST], clock())
    token = store.clients.issue_token(web, web.scopes, clock())
    with store.database.read() as connection:
        stored = [
            str(value)
            for table in (clients, access_tokens)
            for row in connection.execute(select(table))
            for value in row
        ]
    assert secret not in stored
    assert token not in stored


def test_a_token_is_good_for_what_it_was_given_for(store: Store, clock: Clock) -> None:
    store.clients.add("both", [Scope.LIST, Scope.ACCEPT], clock())
    client = store.clients.all()[0]
    token = store.clients.issue_token(client, [Scope.LIST], clock())
    assert token
    assert store.clients.of_token(token, clock()) == Client("both", frozenset({"mfa:list"}))
    assert store.clients.of_token(token, clock() + timedelta(seconds=300)) is None


@pytest.mark.parametrize("how", ["remove", "revoke_tokens"])
def test_tokens_end_with_their_client_or_when_revoked(store: Store, web: Client, clock: Clock, how: str) -> None:
    token = store.clients.issue_token(web, web.scopes, clock())
    assert token
    getattr(store.clients, how)("web")
    assert store.clients.of_token(token, clock()) is None


def test_a_removed_client_gets_no_token_any_more(store: Store, web: Client, clock: Clock) -> None:
    store.clients.remove("web")
    assert store.clients.issue_token(web, web.scopes, clock()) is None


@pytest.mark.parametrize("name", ["", "-x", "a b", "a:b", "a" * 65, "ä"])
def test_a_clients_name_is_plain(store: Store, clock: Clock, name: str) -> None:
    with pytest.raises(EnrolmentError, match="1 to 64"):
        store.clients.add(name, [Scope.LIST], clock())
