"""Tests signing keys: which key signs, how long a key is published, and that the database alone opens none."""

from base64 import b64decode, urlsafe_b64encode
from datetime import timedelta
from hashlib import sha1
from typing import Any

import pytest
from cryptography import x509
from joserfc import jwt
from joserfc.errors import BadSignatureError, InvalidKeyIdError
from joserfc.jwk import KeySet, RSAKey
from service.service import Clock
from sqlalchemy import select, update

from sshaft.errors import ConfigurationError
from sshaft_identity.common.errors import RegistryError
from sshaft_identity.database.tables import audit_events, signing_keys
from sshaft_identity.signing.signing_keys import KEPT, WAIT, Algorithm, SigningKey, SigningKeys
from sshaft_identity.store import Store

ES256 = Algorithm.ES256
RS256 = Algorithm.RS256


@pytest.fixture
def first(store: Store, clock: Clock) -> SigningKey:
    [key] = store.signing_keys.rotate(clock(), ES256)
    return key


def signer(store: Store, clock: Clock, algorithm: Algorithm = ES256) -> str:
    """Returns the kid of the key that signs now. Also checks its signature with the published keys."""
    token = store.signing_keys.sign({"sub": "alice"}, clock(), "x+jwt", algorithm)
    assert token
    verified = jwt.decode(token, keys(store, clock), algorithms=[algorithm])
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
    assert store.signing_keys.sign({}, clock(), "x+jwt", ES256) is None
    assert not store.signing_keys.check(clock())
    store.signing_keys.ensure(clock())
    store.signing_keys.ensure(clock())
    assert store.signing_keys.check(clock())
    assert sorted(kids(store, clock)) == sorted(signer(store, clock, each) for each in Algorithm)


def test_an_installation_with_one_key_gets_a_second_key_that_signs_at_once(
    store: Store, clock: Clock, first: SigningKey
) -> None:
    assert not store.signing_keys.check(clock())
    store.signing_keys.ensure(clock.advance(3600))
    assert store.signing_keys.check(clock())
    assert signer(store, clock) == first.kid
    assert signer(store, clock, RS256) != first.kid


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_a_rotation_of_one_algorithm_leaves_the_other(store: Store, clock: Clock, algorithm: Algorithm) -> None:
    store.signing_keys.ensure(clock())
    before = {each: signer(store, clock, each) for each in Algorithm}
    [made] = store.signing_keys.rotate(clock(), algorithm)
    clock.advance((WAIT + KEPT).total_seconds())
    after = {each: signer(store, clock, each) for each in Algorithm}
    assert after == before | {algorithm: made.kid}
    assert set(kids(store, clock)) == set(after.values())


def test_all_signing_keys_are_rotated_or_none(store: Store, clock: Clock) -> None:
    store.signing_keys.ensure(clock())
    [waiting] = store.signing_keys.rotate(clock(), ES256)
    before = kids(store, clock)
    with pytest.raises(RegistryError, match=f"the ES256 key {waiting.kid} waits already"):
        store.signing_keys.rotate(clock())
    assert kids(store, clock) == before
    made = {key.algorithm: key.kid for key in store.signing_keys.rotate(clock(), wait=timedelta())}
    assert made == {each: signer(store, clock, each) for each in Algorithm}


def test_an_rsa_key_has_a_certificate_of_its_own(store: Store, clock: Clock) -> None:
    store.signing_keys.ensure(clock())
    [jwk] = [key for key in store.signing_keys.jwks(clock())["keys"] if key["kty"] == "RSA"]
    [encoded] = jwk["x5c"]
    der = b64decode(encoded, validate=True)
    certificate = x509.load_der_x509_certificate(der)
    certificate.verify_directly_issued_by(certificate)
    own = RSAKey.import_key({name: str(jwk[name]) for name in ("kty", "n", "e")})
    assert certificate.public_key() == own.public_key
    assert jwk["kid"] == own.thumbprint()
    assert jwk["x5t"] == urlsafe_b64encode(sha1(der, usedforsecurity=False).digest()).decode().rstrip("=")
    assert certificate.subject.rfc4514_string() == "CN=sshaft-identity"
    assert (
        certificate.not_valid_before_utc < clock() < clock() + timedelta(days=36000) < certificate.not_valid_after_utc
    )


def test_a_new_key_is_published_before_it_signs(store: Store, clock: Clock, first: SigningKey) -> None:
    [second] = store.signing_keys.rotate(clock(), ES256)
    assert kids(store, clock) == [second.kid, first.kid]
    clock.advance(WAIT.total_seconds() - 1)
    assert signer(store, clock) == first.kid
    last = store.signing_keys.sign({"sub": "alice"}, clock(), "x+jwt", ES256)
    clock.advance(1)
    assert signer(store, clock) == second.kid
    clock.advance(KEPT.total_seconds() - 1)
    assert last
    assert jwt.decode(last, keys(store, clock), algorithms=["ES256"]).claims == {"sub": "alice"}
    clock.advance(1)
    assert kids(store, clock) == [second.kid]
    with pytest.raises((BadSignatureError, InvalidKeyIdError)):
        jwt.decode(last, keys(store, clock), algorithms=["ES256"])


def test_only_an_emergency_rotation_replaces_a_waiting_key(store: Store, clock: Clock, first: SigningKey) -> None:
    [waiting] = store.signing_keys.rotate(clock(), ES256)
    with pytest.raises(RegistryError, match=waiting.kid):
        store.signing_keys.rotate(clock(), ES256)
    [at_once] = store.signing_keys.rotate(clock(), ES256, timedelta())
    assert signer(store, clock) == at_once.kid
    assert set(kids(store, clock)) == {at_once.kid, first.kid}
    clock.advance(KEPT.total_seconds())
    assert kids(store, clock) == [at_once.kid]


def test_repeated_rotations_leave_no_old_rows(store: Store, clock: Clock, first: SigningKey) -> None:
    for _ in range(4):
        store.signing_keys.rotate(clock(), ES256)
        clock.advance((WAIT + KEPT).total_seconds())
    with store.database.read() as connection:
        stored = list(connection.scalars(select(signing_keys.c.kid)))
    assert len(stored) == 2
    assert first.kid not in stored
    assert len(kids(store, clock)) == 1


def test_a_retired_key_is_gone_at_once_and_the_signing_key_cannot_be_retired(
    store: Store, clock: Clock, first: SigningKey
) -> None:
    with pytest.raises(RegistryError, match="signs now"):
        store.signing_keys.retire(first.kid, clock())
    with pytest.raises(RegistryError, match="no such"):
        store.signing_keys.retire("x", clock())
    [second] = store.signing_keys.rotate(clock(), ES256, timedelta())
    store.signing_keys.retire(first.kid, clock())
    assert kids(store, clock) == [second.kid]
    with store.database.read() as connection:
        assert list(connection.scalars(select(signing_keys.c.kid))) == [second.kid]
        events = list(connection.scalars(select(audit_events.c.event).order_by(audit_events.c.id)))
    assert events == ["signing_key.added", "signing_key.added", "signing_key.retired"]


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_only_the_public_part_is_published(store: Store, clock: Clock, algorithm: Algorithm) -> None:
    store.signing_keys.rotate(clock(), algorithm)
    [jwk] = store.signing_keys.jwks(clock())["keys"]
    common = {"kty", "kid", "alg", "use"}
    assert set(jwk) == common | ({"n", "e", "x5c", "x5t"} if algorithm is Algorithm.RS256 else {"crv", "x", "y"})
    assert (jwk["alg"], jwk["use"]) == (algorithm, "sig")


def test_another_process_signs_with_the_same_key(store: Store, clock: Clock, first: SigningKey) -> None:
    other = SigningKeys(store.database, b"k" * 32)
    token = other.sign({}, clock(), "x+jwt", ES256)
    assert token
    assert jwt.decode(token, keys(store, clock), algorithms=["ES256"]).header["kid"] == first.kid


def test_the_database_signs_nothing_without_hmac_key(store: Store, clock: Clock, first: SigningKey) -> None:
    stranger = SigningKeys(store.database, b"x" * 32)
    with pytest.raises(ConfigurationError, match=f"{first.kid} cannot be opened: hmac.key"):
        stranger.sign({}, clock(), "x+jwt", ES256)


def test_a_private_key_under_another_name_is_not_opened(store: Store, clock: Clock, first: SigningKey) -> None:
    [second] = store.signing_keys.rotate(clock(), ES256, timedelta())
    swapped = update(signing_keys).where(signing_keys.c.kid == second.kid).values(sealed_private=first.encrypted)
    with store.database.write() as connection:
        connection.execute(swapped)
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        SigningKeys(store.database, b"k" * 32).sign({}, clock(), "x+jwt", ES256)


def test_a_rotation_replaces_keys_whose_hmac_key_is_lost(store: Store, clock: Clock, first: SigningKey) -> None:
    store.signing_keys.ensure(clock())
    anew = SigningKeys(store.database, b"x" * 32)
    with pytest.raises(ConfigurationError):
        anew.check(clock())
    anew.rotate(clock(), wait=timedelta())
    assert anew.check(clock())
    assert first.kid in kids(store, clock), "what it has signed is still good for a while"
