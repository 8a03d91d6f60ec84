"""Makes ID tokens that carry no signature of the provider."""

import base64
import hmac
import json
from collections.abc import Callable
from typing import Any

from fakes.openid_provider import OpenIdProvider, encode
from joserfc import jws, jwt
from joserfc.jwk import RSAKey

Maker = Callable[[dict[str, Any], dict[str, Any]], str]
"""Makes a token from a header and claims."""


def stolen(provider: OpenIdProvider) -> Maker:
    """Returns a function that makes tokens with the signature of another key."""
    key = RSAKey.generate_key(2048, {"kid": provider.key.kid})
    return lambda header, claims: jwt.encode(header, claims, key)


def unsigned(_: OpenIdProvider) -> Maker:
    return lambda _header, claims: f"{encode({'alg': 'none'})}.{encode(claims)}."


def with_public_key_as_secret(provider: OpenIdProvider) -> Maker:
    def make(header: dict[str, Any], claims: dict[str, Any]) -> str:
        signed = f"{encode(header | {'alg': 'HS256'})}.{encode(claims)}"
        pem = provider.key.as_pem(private=False)
        return f"{signed}.{base64.urlsafe_b64encode(hmac.digest(pem, signed.encode(), 'sha256')).decode().rstrip('=')}"

    return make


def with_the_signature_of_another(provider: OpenIdProvider) -> Maker:
    def make(header: dict[str, Any], claims: dict[str, Any]) -> str:
        first = jwt.encode(header, claims, provider.key)
        second = jwt.encode(header, claims | {"preferred_username": "root"}, provider.key)
        return ".".join([*second.split(".")[:2], first.split(".")[2]])

    return make


def with_a_key_in_the_header(_: OpenIdProvider) -> Maker:
    key = RSAKey.generate_key(2048, {"kid": "own"})
    header = {"alg": "RS256", "kid": "own", "jwk": key.as_dict(private=False)}
    return lambda _header, claims: jwt.encode(header, claims, key)


def of_text(payload: str) -> Callable[[OpenIdProvider], Maker]:
    """Returns what signs this text with the provider's own key. `GOOD` in it stands for good claims."""

    def of(provider: OpenIdProvider) -> Maker:
        def make(header: dict[str, Any], claims: dict[str, Any]) -> str:
            text = payload.replace("GOOD", json.dumps(claims)[1:-1])
            return jws.serialize_compact(header, text.encode(), provider.key)

        return make

    return of


FORGERIES: dict[str, Callable[[OpenIdProvider], Maker]] = {
    "another key": stolen,
    "none": unsigned,
    "HS256 with the public key": with_public_key_as_secret,
    "a moved signature": with_the_signature_of_another,
    "a key in the header": with_a_key_in_the_header,
    "a claim that is there twice": of_text('{"sub": "root", GOOD}'),
    "claims that are nested too deep": of_text('{GOOD, "x": ' + "[" * 5_000 + "]" * 5_000 + "}"),
    "claims in a list": of_text("[{GOOD}]"),
    "claims that are no JSON": of_text("{GOOD"),
    "no token": lambda _: lambda *_: "not a token",
    "three dots": lambda _: lambda *_: "a.b.c",
}
