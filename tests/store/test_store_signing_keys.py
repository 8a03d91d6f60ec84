"""Signing keys: which one signs when, how long each is published, and that the database alone opens none."""

from datetime import timedelta
from typing import Any

import pytest
from joserfc import jwt
from joserfc.errors import BadSignatureError, InvalidKeyIdError
from joserfc.jwk import KeySet
from sqlalchemy import select, update
from unit.identity.running import Clock

from sshaft.errors import ConfigurationError
from sshaft_identity.errors import EnrolmentError
from sshaft_identity.signing_keys import KEPT, WAIT, Algorithm, SigningKey, SigningKeys
from sshaft_identity.store import Store
from sshaft_identity.tables import audit_events, signing_keys

ES256 = Algorithm.ES256


@pytest.fixture
def first(store: Store, clock: Clock) -> SigningKey:
    return store.signing_keys.rotate(clock(), algorithm=ES256)


def signer(store: Store, clock: Clock) -> str:
    """The kid of what is signed now; that the published set verifies it is checked by the way."""
    token = store.signing_keys.sign({"sub": "alice"}, clock(), "x+jwt")
    assert token
    verified = jwt.decode(token, keys(store, clock), algorithms=["RS256", "ES256"])
    assert verified.claims == {"sub": "alice"}
    assert verified.header["typ"] == "x+jwt"
    kid: str = verified.header["kid"]
    return kid


def keys(store: Store, clock: Clock) -> KeySet:
    published: Any = store.signing_keys.jwks(clock())
    return KeySet.import_key_set(published)


def kids(store: Store, clock: Clock) -> list[str]:
    return [key.kid for key in store.signing_keys.published(clock())]


def test_the_first_key_signs_at_once_and_is_made_once(store: Store, clock: Clock) -> None:
    assert store.signing_keys.sign({}, clock(), "x+jwt") is None
    assert not store.signing_keys.check(clock())
    store.signing_keys.ensure(clock())
    store.signing_keys.ensure(clock())
    assert store.signing_keys.check(clock())
    assert kids(store, clock) == [signer(store, clock)]
    assert store.signing_keys.published(clock())[0].algorithm == "ES256"


def test_a_new_key_is_published_first_and_signs_when_verifiers_know_it(
    store: Store, clock: Clock, first: SigningKey
) -> None:
    second = store.signing_keys.rotate(clock(), algorithm=ES256)
    assert kids(store, clock) == [second.kid, first.kid]
    clock.advance(WAIT.total_seconds() - 1)
    assert signer(store, clock) == first.kid
    last = store.signing_keys.sign({"sub": "alice"}, clock(), "x+jwt")
    clock.advance(1)
    assert signer(store, clock) == second.kid
    clock.advance(KEPT.total_seconds() - 1)
    assert last
    assert jwt.decode(last, keys(store, clock), algorithms=["ES256"]).claims == {"sub": "alice"}
    clock.advance(1)
    assert kids(store, clock) == [second.kid]
    with pytest.raises((BadSignatureError, InvalidKeyIdError)):
        jwt.decode(last, keys(store, clock), algorithms=["ES256"])


def test_one_key_at_a_time_waits_unless_there_is_an_emergency(store: Store, clock: Clock, first: SigningKey) -> None:
    waiting = store.signing_keys.rotate(clock(), algorithm=ES256)
    with pytest.raises(EnrolmentError, match=waiting.kid):
        store.signing_keys.rotate(clock(), algorithm=ES256)
    at_once = store.signing_keys.rotate(clock(), timedelta(), ES256)
    assert signer(store, clock) == at_once.kid
    assert set(kids(store, clock)) == {at_once.kid, first.kid}
    clock.advance(KEPT.total_seconds())
    assert kids(store, clock) == [at_once.kid]


def test_rotating_again_and_again_leaves_no_rows_behind(store: Store, clock: Clock, first: SigningKey) -> None:
    for _ in range(4):
        store.signing_keys.rotate(clock(), algorithm=ES256)
        clock.advance((WAIT + KEPT).total_seconds())
    with store.database.read() as connection:
        stored = list(connection.scalars(select(signing_keys.c.kid)))
    assert len(stored) == 2
    assert first.kid not in stored
    assert len(kids(store, clock)) == 1


def test_the_key_that_signs_is_not_retired_and_another_is_gone_at_once(
    store: Store, clock: Clock, first: SigningKey
) -> None:
    with pytest.raises(EnrolmentError, match="signs now"):
        store.signing_keys.retire(first.kid, clock())
    with pytest.raises(EnrolmentError, match="no such"):
        store.signing_keys.retire("x", clock())
    second = store.signing_keys.rotate(clock(), timedelta(), ES256)
    store.signing_keys.retire(first.kid, clock())
    assert kids(store, clock) == [second.kid]
    with store.database.read() as connection:
        assert list(connection.scalars(select(signing_keys.c.kid))) == [second.kid]
        events = list(connection.scalars(select(audit_events.c.event).order_by(audit_events.c.id)))
    assert events == ["signing_key.added", "signing_key.added", "signing_key.retired"]


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_what_is_published_is_public(store: Store, clock: Clock, algorithm: Algorithm) -> None:
    store.signing_keys.rotate(clock(), algorithm=algorithm)
    [jwk] = store.signing_keys.jwks(clock())["keys"]
    common = {"kty", "kid", "alg", "use"}
    assert set(jwk) == common | ({"n", "e"} if algorithm is Algorithm.RS256 else {"crv", "x", "y"})
    assert (jwk["alg"], jwk["use"]) == (algorithm, "sig")


def test_another_process_signs_with_the_same_key(store: Store, clock: Clock, first: SigningKey) -> None:
    other = SigningKeys(store.database, b"k" * 32)
    token = other.sign({}, clock(), "x+jwt")
    assert token
    assert jwt.decode(token, keys(store, clock), algorithms=["ES256"]).header["kid"] == first.kid


def test_without_hmac_key_the_database_signs_nothing(store: Store, clock: Clock, first: SigningKey) -> None:
    stranger = SigningKeys(store.database, b"x" * 32)
    with pytest.raises(ConfigurationError, match=f"{first.kid} cannot be opened: hmac.key"):
        stranger.sign({}, clock(), "x+jwt")


def test_a_private_key_under_another_name_is_not_opened(store: Store, clock: Clock, first: SigningKey) -> None:
    second = store.signing_keys.rotate(clock(), timedelta(), ES256)
    swapped = update(signing_keys).where(signing_keys.c.kid == second.kid).values(sealed_private=first.sealed)
    with store.database.write() as connection:
        connection.execute(swapped)
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        SigningKeys(store.database, b"k" * 32).sign({}, clock(), "x+jwt")


def test_after_hmac_key_is_lost_a_rotation_helps(store: Store, clock: Clock, first: SigningKey) -> None:
    anew = SigningKeys(store.database, b"x" * 32)
    with pytest.raises(ConfigurationError):
        anew.check(clock())
    anew.rotate(clock(), timedelta(), ES256)
    assert anew.check(clock())
    assert first.kid in kids(store, clock), "what it has signed is still good for a while"
