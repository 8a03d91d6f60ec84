"""Tests client authentication at the token endpoint with servers that really check it."""

import json
import re
from base64 import b64decode
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from fakes.identity_server import Call, IdentityServer, Reply, reply_json
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jwt import JWTClaimsRegistry

from sshaft.config import Config
from sshaft.deadline import Deadline
from sshaft.errors import ConfigurationError, IdentityServiceError
from sshaft.identity_client import IdentityClient

CONTRACT = json.loads((Path(__file__).parents[3] / "contract" / "token.json").read_text())
NOW = 1_800_000_000.0
REQUEST_ID = "0" * 32


def private_key(kind: str) -> Any:
    match kind:
        case "P-256":
            return ec.generate_private_key(ec.SECP256R1())
        case "P-384":
            return ec.generate_private_key(ec.SECP384R1())
        case "RSA":
            return rsa.generate_private_key(65537, 2048)
        case "Ed448":
            return ed448.Ed448PrivateKey.generate()
        case _:
            return ed25519.Ed25519PrivateKey.generate()


def pem(key: Any, directory: Path) -> Path:
    file = directory / "client.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    file.chmod(0o600)
    return file


def public_pem(key: Any) -> bytes:
    return key.public_key().public_bytes(  # type: ignore[no-any-return]
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def config(**more: Any) -> Config:
    base = {
        "token_endpoint": "https://id.example.org/token",
        "client_id": CONTRACT["client_id"],
        "client_secret": CONTRACT["client_secret"],
        "token_scope": CONTRACT["token_scope"],
        "mfa_list_endpoint": "https://id.example.org/keys",
        "mfa_accept_endpoint": "https://id.example.org/accept",
        "login_path": "/sshaft/login",
    }
    return Config.model_validate(base | more)


@pytest.mark.parametrize("example", CONTRACT["requests"], ids=lambda example: example["token_endpoint_auth_method"])
def test_token_requests_are_those_of_the_contract(example: dict[str, Any], authority: Any, tmp_path: Path) -> None:
    certificate, key = authority.client("factor", tmp_path)
    with IdentityServer(tls=authority.server()) as server:
        server.replies["/token"] = lambda _: server.new_token()
        client = IdentityClient(
            config(
                token_endpoint=f"{server.url}/token",
                mfa_list_endpoint=f"{server.url}/keys",
                token_endpoint_auth_method=example["token_endpoint_auth_method"],
                private_key_file=pem(private_key("P-256"), tmp_path),
                client_certificate_file=certificate,
                client_certificate_key_file=key,
                ca_file=authority.file,
            )
        )
        client.list_keys([], Deadline.after(5), REQUEST_ID)
        client.close()
        call = server.calls[0]
    assert call.method == "POST"
    for name, value in example["headers"].items():
        assert call.headers[name.lower()] == value
    assert ("authorization" in call.headers) == ("Authorization" in example["headers"])
    assert set(call.form) == set(example["form"])
    assert all(value in ("*", call.form[name]) for name, value in example["form"].items())


GRANT = {"grant_type": "client_credentials"}


def test_request_without_a_configured_scope_has_no_scope(identity: IdentityServer) -> None:
    identity.replies["/token"] = lambda _: identity.new_token()
    client = IdentityClient(Config.model_validate(identity.config(token_scope="")))
    client.list_keys([], Deadline.after(5), REQUEST_ID)
    client.close()
    assert "scope" not in identity.calls[0].form
    assert identity.calls[0].form["grant_type"] == "client_credentials"


@given(
    st.text(min_size=1).filter(str.isprintable),
    st.text(st.characters(codec="utf-8"), min_size=1),
)
def test_basic_credentials_with_any_signs_arrive_as_they_are(client_id: str, secret: str) -> None:
    with_secret = config(token_endpoint_auth_method="client_secret_basic", client_id=client_id, client_secret=secret)
    request = with_secret.credentials.token_request(GRANT, with_secret.token_endpoint)
    assert request["data"] == GRANT
    pair = b64decode(request["headers"]["Authorization"].removeprefix("Basic ")).decode("ascii")
    user, colon, password = pair.partition(":")
    assert colon
    assert (unquote_plus(user), unquote_plus(password)) == (client_id, secret)


@pytest.mark.parametrize("method", ["client_secret_post", "client_secret_basic"])
@pytest.mark.parametrize("secret", ["a:b", "a&b=c", "a+b c", "100%", "ü€", '"\\', "a;b"])
def test_secrets_with_reserved_signs_arrive_as_they_are(method: str, secret: str, identity: IdentityServer) -> None:
    def check(call: Call) -> Reply:
        if method == "client_secret_basic":
            user, _, got = b64decode(call.headers["authorization"].split(" ")[1]).decode().partition(":")
            right = (unquote_plus(user), unquote_plus(got)) == ("a:b", secret)
        else:
            right = (call.form["client_id"], call.form["client_secret"]) == ("a:b", secret)
        return identity.new_token() if right else reply_json({"error": "invalid_client"}, 401)

    identity.replies["/token"] = check
    client = IdentityClient(
        Config.model_validate(identity.config(token_endpoint_auth_method=method, client_id="a:b", client_secret=secret))
    )
    client.list_keys([], Deadline.after(5), REQUEST_ID)
    client.close()


ALGORITHMS = {
    "ES256": "P-256",
    "ES384": "P-384",
    "RS256": "RSA",
    "PS256": "RSA",
    "EdDSA": "Ed25519",
    "Ed25519": "Ed25519",
}


class AssertionServer:
    """A token endpoint that accepts only assertions (RFC 7523), and each of them once."""

    def __init__(self, server: IdentityServer, public: bytes, algorithm: str, key_id: str | None) -> None:
        self._server = server
        kind = {"E": OKPKey if algorithm.startswith("Ed") else ECKey}.get(algorithm[0], RSAKey)
        self._key: Any = kind.import_key(public)
        self._algorithm = algorithm
        self._key_id = key_id
        self._seen: set[str] = set()
        self.claims: dict[str, Any] = {}

    def __call__(self, call: Call) -> Reply:
        form = call.form
        assert form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        assert "client_secret" not in form
        assert "authorization" not in call.headers
        token = jwt.decode(form["client_assertion"], self._key, algorithms=[self._algorithm])
        assert token.header["alg"] == self._algorithm
        assert token.header.get("kid") == self._key_id
        JWTClaimsRegistry(
            iss={"essential": True, "value": "factor"},
            sub={"essential": True, "value": "factor"},
            aud={"essential": True, "value": f"{self._server.url}/token"},
            exp={"essential": True},
            iat={"essential": True},
        ).validate(token.claims)
        assert token.claims["exp"] - token.claims["iat"] <= 60
        assert token.claims["jti"] not in self._seen
        assert len(token.claims["jti"]) >= 16
        self._seen.add(token.claims["jti"])
        self.claims = token.claims
        return self._server.new_token()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("key_id", [None, "key-1"])
def test_assertion_is_verified_by_a_server_with_every_algorithm(
    algorithm: str, key_id: str | None, identity: IdentityServer, tmp_path: Path
) -> None:
    key = private_key(ALGORITHMS[algorithm])
    checking = AssertionServer(identity, public_pem(key), algorithm, key_id)
    identity.replies["/token"] = checking
    identity.expires_in = 0  # a new token, and a new assertion, for each list
    data = identity.config(
        token_endpoint_auth_method="private_key_jwt",
        private_key_file=pem(key, tmp_path),
        private_key_algorithm=algorithm,
        private_key_id=key_id,
    )
    del data["client_secret"]
    client = IdentityClient(Config.model_validate(data))
    for _ in range(3):
        client.list_keys([], Deadline.after(5), REQUEST_ID)
    client.close()
    assert identity.count("/token") == 3
    assert checking.claims["aud"] == f"{identity.url}/token"


def test_assertion_lives_for_a_minute_from_now(tmp_path: Path) -> None:
    key = private_key("P-256")
    with_key = config(token_endpoint_auth_method="private_key_jwt", private_key_file=pem(key, tmp_path))
    request = with_key.credentials.token_request(GRANT, with_key.token_endpoint, NOW)
    claims = jwt.decode(
        request["data"]["client_assertion"], ECKey.import_key(public_pem(key)), algorithms=["ES256"]
    ).claims
    assert (claims["iat"], claims["exp"]) == (int(NOW), int(NOW) + 60)


@pytest.mark.parametrize(
    ("kind", "algorithm"),
    [
        ("P-256", "RS256"),
        ("P-256", "ES384"),
        ("P-384", "ES256"),
        ("RSA", "ES256"),
        ("RSA", "EdDSA"),
        ("P-256", "EdDSA"),
        ("Ed25519", "PS256"),
        ("Ed25519", "ES256"),
        ("Ed448", "Ed25519"),
    ],
)
def test_key_that_cannot_sign_with_the_algorithm_stops_the_start(kind: str, algorithm: str, tmp_path: Path) -> None:
    settings = config(
        token_endpoint_auth_method="private_key_jwt",
        private_key_file=(file := pem(private_key(kind), tmp_path)),
        private_key_algorithm=algorithm,
    )
    with pytest.raises(ConfigurationError) as error:
        IdentityClient(settings)
    assert str(error.value).startswith(f"{file}: can't sign with {algorithm}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content", ["", "no PEM", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", None]
)
def test_file_without_a_private_key_stops_the_start(content: str | None, tmp_path: Path) -> None:
    file = tmp_path / "client.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigurationError) as error:
        config(
            token_endpoint_auth_method="private_key_jwt", private_key_file=file, private_key_algorithm="ES256"
        ).credentials.check()
    assert str(error.value).startswith(str(file))
    assert "\n" not in str(error.value)


def test_public_key_cannot_sign(tmp_path: Path) -> None:
    (file := tmp_path / "client.pem").write_bytes(public_pem(private_key("P-256")))
    with pytest.raises(ConfigurationError):
        config(token_endpoint_auth_method="private_key_jwt", private_key_file=file).credentials.check()


def test_server_checks_the_certificate_of_the_handshake(authority: Any, tmp_path: Path) -> None:
    with IdentityServer(tls=authority.server(demands_certificate=True)) as server:

        def check(call: Call) -> Reply:
            subject = dict(name for part in call.certificate["subject"] for name in part)
            right = subject["commonName"] == "factor" == call.form["client_id"] and "client_secret" not in call.form
            return server.new_token() if right else reply_json({"error": "invalid_client"}, 401)

        server.replies["/token"] = check
        for name, accepted in (("factor", True), ("mallory", False)):
            certificate, key = authority.client(name, tmp_path)
            data = server.config(
                token_endpoint_auth_method="tls_client_auth",
                client_certificate_file=certificate,
                client_certificate_key_file=key,
                ca_file=authority.file,
            )
            del data["client_secret"]
            client = IdentityClient(Config.model_validate(data))
            if accepted:
                client.list_keys([], Deadline.after(5), REQUEST_ID)
                assert server.calls[-1].path == "/keys"
                assert server.calls[-1].certificate  # RFC 8705 §3: on every call
            else:
                with pytest.raises(IdentityServiceError, match="invalid_client"):
                    client.list_keys([], Deadline.after(5), REQUEST_ID)
            client.close()


def test_secret_is_in_no_message(identity: IdentityServer) -> None:
    identity.replies["/token"] = reply_json({"error": "invalid_client", "error_description": "s3cret+/&"}, 401)
    client = IdentityClient(Config.model_validate(identity.config()))
    with pytest.raises(IdentityServiceError) as error:
        client.list_keys([], Deadline.after(5), REQUEST_ID)
    client.close()
    assert re.fullmatch(
        r"http://\S+/token: gives no access token \(401, invalid_client\): check the client", str(error.value)
    )
