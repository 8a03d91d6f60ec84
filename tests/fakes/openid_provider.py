"""A small OpenID Provider on loopback, strict about its requests: code flow and device grant, PKCE S256, client
authentication, exact redirect URI, codes that count once. It asks nobody for a password: `user` is signed in there, and
approves a device login when a test says so. A test bends its answers.
"""

import base64
import functools
import hashlib
import json
import secrets
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, unquote_plus, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

CLIENT_ID, CLIENT_SECRET = "sshaft", "s3cret:+/&"


@functools.cache
def _first_key() -> Key:
    """One for a whole test run: making RSA keys takes longer than most tests."""
    return RSAKey.generate_key(2048, {"kid": "first", "use": "sig"})


def encode(part: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


def _challenge_of(verifier: str) -> str:
    """Returns the PKCE challenge (RFC 7636 §4.2), or an empty text for no verifier."""
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=") if verifier else ""


@dataclass
class OpenIdProvider:
    """`bend_*` change what is answered, just before it is sent."""

    clock: Callable[[], datetime]
    redirect_uri: str
    user: dict[str, Any] = field(default_factory=lambda: {"sub": "subject-1", "preferred_username": "alice"})
    algorithm: str = "RS256"
    public: bool = False
    """Whether the client has no secret."""
    client_key: Key | None = None
    """The public key of a client that authenticates with private_key_jwt, and in no other way."""
    bend_metadata: dict[str, Any] = field(default_factory=dict)
    bend_claims: dict[str, Any] = field(default_factory=dict)
    bend_header: dict[str, Any] = field(default_factory=dict)
    bend_answer: dict[str, Any] = field(default_factory=dict)
    bend_userinfo: dict[str, Any] | None = None
    """None: there is no userinfo endpoint."""
    bend_device: dict[str, Any] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    """What the token endpoint answers to the next requests of a device, before it looks for an approval."""
    is_approved: bool = False
    """Whether the person has approved all device logins."""
    make_token: Callable[[dict[str, Any], dict[str, Any]], str] | None = None
    status: dict[str, int] = field(default_factory=dict)
    """By path: another status than the usual one."""
    calls: list[str] = field(default_factory=list)
    forms: list[dict[str, str]] = field(default_factory=list)
    assertions: list[str] = field(default_factory=list)
    """The `jti` of each assertion that came."""

    def __post_init__(self) -> None:
        self.codes: dict[str, dict[str, str]] = {}
        self.devices: dict[str, dict[str, str]] = {}
        self.key: Key = _first_key()
        self.published = [self.key]
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer._handle(self)

            do_POST = do_GET  # noqa: N815 - http.server's name

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.005,), daemon=True)
        self._thread.start()

    def use_tls(self, context: ssl.SSLContext) -> None:
        """Speaks TLS from now on. The certificate must be for localhost."""
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.issuer = f"https://localhost:{self._server.server_address[1]}"

    def new_key(self) -> None:
        kid = {"kid": secrets.token_hex(4), "use": "sig"}
        kinds: dict[str, Callable[[], Key]] = {
            "RS256": lambda: RSAKey.generate_key(2048, kid),
            "ES256": lambda: ECKey.generate_key("P-256", kid),
            "Ed25519": lambda: OKPKey.generate_key("Ed25519", kid),
        }
        self.key = kinds[self.algorithm]()
        self.published = [self.key]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def answer(self, address: str) -> str:
        """What the browser is sent back with for the authorization request at `address`."""
        asked = dict(parse_qsl(urlsplit(address).query))
        expected = {"client_id": CLIENT_ID, "redirect_uri": self.redirect_uri, "response_type": "code",
                    "code_challenge_method": "S256"}  # fmt: skip
        assert expected.items() <= asked.items(), asked
        assert "openid" in asked["scope"].split()
        assert len(asked["state"]) >= 43
        code = secrets.token_urlsafe(16)
        self.codes[code] = asked
        given = {"code": code, "state": asked["state"], "iss": self.issuer} | self.bend_answer
        return urlencode({name: value for name, value in given.items() if value is not None})

    # --- answers

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        self.calls.append(parts.path)
        if parts.path == "/authorize":
            handler.send_response(302)
            handler.send_header("Location", f"{self.redirect_uri}?{self.answer(handler.path)}")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        status, answer = self._answer(parts.path, handler.headers.get("Authorization", ""), body)
        text = json.dumps(answer).encode()
        handler.send_response(self.status.get(parts.path, status))
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(text)))
        handler.end_headers()
        handler.wfile.write(text)

    def _answer(self, path: str, authorization: str, body: bytes) -> tuple[int, Any]:  # noqa: PLR0911 - one for each path
        match path:
            case "/.well-known/openid-configuration":
                return 200, self._metadata() | self.bend_metadata
            case "/jwks":
                return 200, {"keys": [each.as_dict(private=False) for each in self.published]}
            case "/device_authorization":
                return self._begin_device(authorization, dict(parse_qsl(body.decode())))
            case "/token":
                form = dict(parse_qsl(body.decode()))
                is_device = form.get("grant_type", "").endswith(":device_code")
                return self._device_token(authorization, form) if is_device else self._token(authorization, form)
            case "/revoke":
                self.forms.append(dict(parse_qsl(body.decode())))
                return 200, {}
            case "/userinfo" if authorization == "Bearer access":
                return 200, self.bend_userinfo
        return 404, {}

    def _metadata(self) -> dict[str, Any]:
        userinfo = {} if self.bend_userinfo is None else {"userinfo_endpoint": f"{self.issuer}/userinfo"}
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "device_authorization_endpoint": f"{self.issuer}/device_authorization",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "authorization_response_iss_parameter_supported": True,
        } | userinfo

    def _token(self, authorization: str, form: dict[str, str]) -> tuple[int, Any]:
        self.forms.append(form)
        asked = self.codes.pop(form.get("code", ""), None)
        if not self._knows(authorization, form):
            return 401, {"error": "invalid_client"}
        challenge = _challenge_of(form.get("code_verifier", ""))
        if asked is None or challenge != asked["code_challenge"] or form.get("redirect_uri") != self.redirect_uri:
            return 400, {"error": "invalid_grant"}
        return 200, {"access_token": "access", "token_type": "Bearer", "id_token": self._id_token(asked)}

    def _begin_device(self, authorization: str, form: dict[str, str]) -> tuple[int, Any]:
        self.forms.append(form)
        if not self._knows(authorization, form):
            return 401, {"error": "invalid_client"}
        device_code = secrets.token_urlsafe(16)
        self.devices[device_code] = form
        answer = {
            "device_code": device_code, "user_code": "WDJB-MJHT", "verification_uri": f"{self.issuer}/device",
            "expires_in": 600, "interval": 0.01,
        }  # fmt: skip
        return 200, {name: value for name, value in (answer | self.bend_device).items() if value is not None}

    def _device_token(self, authorization: str, form: dict[str, str]) -> tuple[int, Any]:
        self.forms.append(form)
        if not self._knows(authorization, form):
            return 401, {"error": "invalid_client"}
        if self.errors:
            return 400, {"error": self.errors.pop(0)}
        asked = self.devices.get(form["device_code"])
        if asked is None:
            return 400, {"error": "invalid_grant"}
        if not self.is_approved:
            return 400, {"error": "authorization_pending"}
        if asked.get("code_challenge", "") != _challenge_of(form.get("code_verifier", "")):
            return 400, {"error": "invalid_grant"}
        del self.devices[form["device_code"]]
        return 200, {"access_token": "access", "token_type": "Bearer", "id_token": self._id_token({"nonce": None})}

    def _knows(self, authorization: str, form: dict[str, str]) -> bool:
        if self.client_key is not None:
            return not authorization and "client_secret" not in form and self._is_assertion_good(self.client_key, form)
        if self.public:
            return form.get("client_id") == CLIENT_ID and not authorization
        if authorization:
            pair = base64.b64decode(authorization.removeprefix("Basic ")).decode().split(":")
            return [unquote_plus(each) for each in pair] == [CLIENT_ID, CLIENT_SECRET]
        return (form.get("client_id"), form.get("client_secret")) == (CLIENT_ID, CLIENT_SECRET)

    def _is_assertion_good(self, key: Key, form: dict[str, str]) -> bool:
        """Whether the assertion is good by RFC 7523 §3, and is here for the first time."""
        assert form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        token = jwt.decode(form["client_assertion"], key, algorithms=["ES256", "RS256"])
        now, claims = self.clock().timestamp(), token.claims
        is_ours = claims["iss"] == claims["sub"] == CLIENT_ID and claims["aud"] == f"{self.issuer}/token"
        is_first = claims["jti"] not in self.assertions
        self.assertions.append(claims["jti"])
        return is_ours and is_first and token.header.get("kid") == key.kid and now - 1 <= claims["iat"] < claims["exp"]

    def _id_token(self, asked: Mapping[str, str | None]) -> str:
        now = int(self.clock().timestamp())
        claims = {"iss": self.issuer, "aud": CLIENT_ID, "exp": now + 300, "iat": now, "nonce": asked["nonce"]}
        if "max_age" in asked:
            claims["auth_time"] = now
        claims |= self.user | self.bend_claims
        claims = {name: value for name, value in claims.items() if value is not None}
        header = {"alg": self.algorithm, "kid": self.key.kid} | self.bend_header
        header = {name: value for name, value in header.items() if value is not None}
        if self.make_token is not None:
            return self.make_token(header, claims)
        return jwt.encode(header, claims, self.key, algorithms=[self.algorithm])
