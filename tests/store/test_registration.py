"""Tests which key may become whose key, and what a renewed key keeps."""

from datetime import timedelta
from typing import Any

import pytest
from fakes.public_keys import ed25519
from service.service import START, Clock
from sqlalchemy import insert

from sshaft.public_key import parse
from sshaft_identity.common.errors import RegistryError
from sshaft_identity.database.tables import ssh_keys
from sshaft_identity.people.key_policy import KeyPolicy, KeyRefusal
from sshaft_identity.people.registration import NewKey, add_key, lock_user, owner_of, refusal_of, register
from sshaft_identity.store import Store

KEY = parse(ed25519("key"))
SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)


@pytest.fixture
def store(on_sqlite: Store, clock: Clock) -> Store:
    """Returns a store in which alice has two usable keys and two that have expired, and bob has three usable keys."""
    for user, times in {"alice": (None, SECOND, 0 * SECOND, -SECOND), "bob": (None, None, None)}.items():
        on_sqlite.users.add(user, clock())
        for number, left in enumerate(times):
            add(on_sqlite, ed25519(f"{user} {number}"), user, None if left is None else clock() + left)
    return on_sqlite


def add(store: Store, text: str, user: str, expires_at: Any) -> None:
    key = parse(text)
    values = {"type": key.type, "blob": key.blob, "name": "old", "source": "import", "created_at": START - DAY}
    with store.database.write() as connection:
        where = {"fingerprint": key.fingerprint, "user_name": user, "expires_at": expires_at}
        connection.execute(insert(ssh_keys).values(**where, **values))


REFUSALS = [
    (None, None, None, None),
    ("alice", None, KeyRefusal.OWN, None),
    ("alice", SECOND, KeyRefusal.OWN, None),
    ("alice", 0 * SECOND, None, None),
    ("alice", -SECOND, None, None),
    ("bob", None, KeyRefusal.TAKEN, None),
    ("bob", SECOND, KeyRefusal.TAKEN, None),
    ("bob", -SECOND, KeyRefusal.TAKEN, None),
    (None, None, None, 3),  # two keys of alice are usable
    (None, None, KeyRefusal.TOO_MANY, 2),
    ("alice", -SECOND, KeyRefusal.TOO_MANY, 2),
]


@pytest.mark.parametrize(("owner", "ends", "refusal", "most"), REFUSALS)
def test_key_becomes_the_key_of_a_user_unless_somebody_has_it(
    store: Store, clock: Clock, owner: str | None, ends: timedelta | None, refusal: KeyRefusal | None, most: int | None
) -> None:
    """Only an own key that has expired may be registered again, and only usable own keys count."""
    if owner is not None:
        add(store, ed25519("key"), owner, None if ends is None else clock() + ends)
    policy = KeyPolicy(most_per_user=most)
    with store.database.write() as connection:
        assert refusal_of(connection, "alice", KEY, policy, clock(), attested=False) == refusal
        assert register(connection, "alice", NewKey(KEY, "new"), policy, clock()) == refusal
        assert owner_of(connection, KEY.fingerprint) == (owner if refusal else "alice")
    found = [each for each in store.keys.all() if each.key == KEY]
    assert [each.name for each in found] == (["old"] * bool(owner) if refusal else ["new"])


@pytest.mark.parametrize(
    ("own", "days", "expires"), [(None, None, None), (DAY, None, DAY), (None, 2, 2 * DAY), (DAY, 2, DAY),
                                 (3 * DAY, 2, 2 * DAY)],
)  # fmt: skip
def test_key_expires_at_the_earlier_of_two_times(
    store: Store, clock: Clock, own: timedelta | None, days: int | None, expires: timedelta | None
) -> None:
    new = NewKey(KEY, expires_at=None if own is None else clock() + own)
    assert store.keys.add("alice", [new], clock(), KeyPolicy(lifetime_days=days)) == [KEY]
    (found,) = (each for each in store.keys.all() if each.key == KEY)
    assert found.expires_at == (None if expires is None else clock() + expires)


def test_renewed_key_has_the_facts_of_its_renewal(store: Store, clock: Clock) -> None:
    add(store, ed25519("key"), "alice", clock() - SECOND)
    new = NewKey(KEY, "new", "ssh", "a device", clock() + DAY, "e1", "SHA256:other")
    assert store.keys.add("alice", [new], clock()) == [KEY]
    (found,) = (each for each in store.keys.all("alice") if each.key == KEY)
    facts = (found.name, found.source, found.attested, found.created_at, found.expires_at, found.added_with)
    assert facts == ("new", "ssh", "a device", clock(), clock() + DAY, "SHA256:other")


def test_operator_learns_the_owner_of_a_key(store: Store, clock: Clock) -> None:
    assert store.keys.add("alice", [(parse(ed25519("alice 0")), "")], clock()) == []
    with pytest.raises(RegistryError, match=r"^the key SHA256:\S+ is bob's: one key has one owner, nothing was added$"):
        store.keys.add("alice", [(parse(ed25519("bob 2")), "")], clock())
    with pytest.raises(RegistryError, match=r"^the key SHA256:\S+: Not more than 2 keys .*\. Nothing was added\.$"):
        store.keys.add("alice", [(KEY, "")], clock(), KeyPolicy(most_per_user=2))
    with pytest.raises(RegistryError, match="there is no user carol"):
        store.keys.add("carol", [(KEY, "")], clock())


def test_key_that_the_user_has_is_not_added_again(store: Store, clock: Clock) -> None:
    with store.database.write() as connection:
        added = [
            add_key(connection, "alice", NewKey(key), KeyPolicy(), clock()) for key in (parse(ed25519("alice 0")), KEY)
        ]
    assert added == [False, True]


def test_only_a_user_who_exists_is_locked(store: Store) -> None:
    with store.database.write() as connection:
        assert [lock_user(connection, name) for name in ("alice", "carol")] == [True, False]
        assert owner_of(connection, KEY.fingerprint) is None
