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
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, unquote_plus, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

CLIENT_ID, CLIENT_SECRET = "sshaft", "s3cret:+/&"
AUDIENCE = "https://web1.example.org"
"""For whom the access tokens of `OpenIdProvider.access_token` are."""


@functools.cache
def _first_key() -> Key:
    """One for a whole test run: making RSA keys takes longer than most tests."""
    return RSAKey.generate_key(2048, {"kid": "first", "use": "sig"})


def encode(part: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


def _without_none(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


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
    bend_introspection: dict[str, Any] | None = None
    """None: there is no introspection endpoint."""
    bend_device: dict[str, Any] = field(default_factory=dict)
    bend_tokens: dict[str, Any] = field(default_factory=dict)
    gives_refresh_tokens: bool = False
    """Whether a login that asks for offline_access gets a refresh token."""
    bend_refresh: dict[str, Any] = field(default_factory=dict)
    """Changes the answers to refresh tokens."""
    keeps_refresh_tokens: bool = False
    """Whether a refresh token stays good after its use. If not, a second use ends its successors (RFC 9700 §4.14.2)."""
    ends_all: bool = False
    """Whether the end of one refresh token ends all of them, as at some providers."""
    member_groups: Any = None
    """The answer of `checkMemberGroups`, as Microsoft Graph has it at the same host."""
    asked_groups: list[list[str]] = field(default_factory=list)
    """The groups of each such question."""
    errors: list[str] = field(default_factory=list)
    """What the token endpoint answers to the next requests of a device, before it looks for an approval."""
    is_approved: bool = False
    """Whether the person has approved all device logins."""
    may_answer: threading.Event = field(default_factory=threading.Event)
    """The token endpoint answers the requests of a device while it is set, as it is at first."""
    good_tokens: set[str] = field(default_factory=lambda: {"access"})
    """The access tokens that introspection and UserInfo know."""
    make_token: Callable[[dict[str, Any], dict[str, Any]], str] | None = None
    demands_pkce: bool = False
    """Whether a device must send PKCE."""
    other_paths: dict[str, str] = field(default_factory=dict)
    """Further paths, and the paths above that they stand for."""
    status: dict[str, int] = field(default_factory=dict)
    """By path: another status than the usual one."""
    on_call: dict[str, Callable[[], object]] = field(default_factory=dict)
    """By path: what is called before the answer."""
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    """By path: more headers."""
    raw: dict[str, bytes] = field(default_factory=dict)
    """By path: another body than the usual one."""
    dripping: set[str] = field(default_factory=set)
    """Paths whose answers come byte by byte and never end."""
    connections: int = 0
    """Connections that are open."""
    calls: list[str] = field(default_factory=list)
    forms: list[dict[str, str]] = field(default_factory=list)
    assertions: list[str] = field(default_factory=list)
    """The `jti` of each assertion that came."""

    def __post_init__(self) -> None:
        self.may_answer.set()
        self.codes: dict[str, dict[str, str]] = {}
        self.devices: dict[str, dict[str, str]] = {}
        self.refresh_tokens: dict[str, int] = {}
        """Those that are good, each with the number of its login."""
        self._used_refresh_tokens: dict[str, int] = {}
        self._grants = {
            "urn:ietf:params:oauth:grant-type:device_code": self._device_token,
            "refresh_token": self._refresh,
        }
        self.key: Key = _first_key()
        self.published = [self.key]
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def handle(self) -> None:
                outer.connections += 1
                super().handle()
                outer.connections -= 1

            def do_GET(self) -> None:
                outer._handle(self)

            do_POST = do_GET  # noqa: N815 - http.server's name

            def log_message(self, *_: object) -> None:
                pass

        self._closed = threading.Event()
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
        self._closed.set()
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
        path = urlsplit(handler.path).path.removeprefix(urlsplit(self.issuer).path.rstrip("/")).replace("//", "/")
        path = self.other_paths.get(path, path)
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        self.calls.append(path)
        self.on_call.get(path, lambda: None)()
        if path == "/authorize":
            handler.send_response(302)
            handler.send_header("Location", f"{self.redirect_uri}?{self.answer(handler.path)}")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        status, answer = self._answer(path, handler.headers.get("Authorization", ""), body)
        text = self.raw.get(path, json.dumps(answer).encode())
        status = self.status.get(path, status)
        handler.send_response(status)
        if 300 <= status < 400:
            handler.send_header("Location", f"{self.issuer}/elsewhere")
        for name, value in self.headers.get(path, {}).items():
            handler.send_header(name, value)
        handler.send_header("Content-Type", "application/json")
        if path in self.dripping:
            self._drip(handler)
            return
        handler.send_header("Content-Length", str(len(text)))
        handler.end_headers()
        handler.wfile.write(text)

    def _drip(self, handler: BaseHTTPRequestHandler) -> None:
        """Sends a byte after the other until the client has enough."""
        handler.end_headers()
        with suppress(OSError):
            while not self._closed.wait(0.02):
                handler.wfile.write(b" ")

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
                return self._grants.get(form.get("grant_type", ""), self._token)(authorization, form)
            case "/revoke":
                return self._revoke(dict(parse_qsl(body.decode())))
            case "/introspect":
                form = dict(parse_qsl(body.decode()))
                self.forms.append(form)
                if not self._knows(authorization, form):
                    return 401, {"error": "invalid_client"}
                return 200, _without_none(
                    {"active": form["token"] in self.good_tokens} | (self.bend_introspection or {})
                )
            case "/v1.0/me/checkMemberGroups" if authorization == "Bearer access":
                self.asked_groups.append(json.loads(body)["groupIds"])
                return 200, self.member_groups
            case "/userinfo":
                is_good = authorization.removeprefix("Bearer ") in self.good_tokens
                return (200, self.bend_userinfo) if is_good else (401, {"error": "invalid_token"})
        return 404, {}

    def _metadata(self) -> dict[str, Any]:
        userinfo = {} if self.bend_userinfo is None else {"userinfo_endpoint": f"{self.issuer}/userinfo"}
        has_introspection = self.bend_introspection is not None
        introspection = {"introspection_endpoint": f"{self.issuer}/introspect"} if has_introspection else {}
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "device_authorization_endpoint": f"{self.issuer}/device_authorization",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "authorization_response_iss_parameter_supported": True,
        } | userinfo | introspection  # fmt: skip

    def _token(self, authorization: str, form: dict[str, str]) -> tuple[int, Any]:
        self.forms.append(form)
        asked = self.codes.pop(form.get("code", ""), None)
        if not self._knows(authorization, form):
            return 401, {"error": "invalid_client"}
        challenge = _challenge_of(form.get("code_verifier", ""))
        if asked is None or challenge != asked["code_challenge"] or form.get("redirect_uri") != self.redirect_uri:
            return 400, {"error": "invalid_grant"}
        return 200, _without_none(self._tokens(asked) | self._refresh_token(asked["scope"]) | self.bend_tokens)

    def _begin_device(self, authorization: str, form: dict[str, str]) -> tuple[int, Any]:
        self.forms.append(form)
        if not self._knows(authorization, form):
            return 401, {"error": "invalid_client"}
        if self.demands_pkce and form.get("code_challenge_method") != "S256":
            return 400, {"error": "invalid_request"}
        device_code = secrets.token_urlsafe(16)
        self.devices[device_code] = form
        answer = {
            "device_code": device_code, "user_code": "WDJB-MJHT", "verification_uri": f"{self.issuer}/device",
            "expires_in": 600, "interval": 0.01,
        }  # fmt: skip
        return 200, _without_none(answer | self.bend_device)

    def _device_token(self, authorization: str, form: dict[str, str]) -> tuple[int, Any]:
        self.forms.append(form)
        self.may_answer.wait(30)
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
        return 200, _without_none(self._tokens({}) | self._refresh_token(asked["scope"]) | self.bend_tokens)

    def _refresh_token(self, scope: str) -> dict[str, str]:
        """Returns the refresh token of a new login, if it gets one."""
        if not self.gives_refresh_tokens or "offline_access" not in scope.split():
            return {}
        return {"refresh_token": self.new_refresh_token(secrets.randbits(32))}

    def _revoke(self, form: dict[str, str]) -> tuple[int, Any]:
        self.forms.append(form)
        if self.refresh_tokens.pop(form["token"], None) and self.ends_all:
            self.refresh_tokens.clear()
        return 200, {}

    def new_refresh_token(self, login: int) -> str:
        token = secrets.token_urlsafe(16)
        self.refresh_tokens[token] = login
        return token

    def _refresh(self, authorization: str, form: dict[str, str]) -> tuple[int, Any]:
        self.forms.append(form)
        if not self._knows(authorization, form):
            return 401, {"error": "invalid_client"}
        if self.errors:
            return 400, {"error": self.errors.pop(0)}
        token = form["refresh_token"]
        login = self.refresh_tokens.get(token)
        if login is None:
            login = self._used_refresh_tokens.get(token)
            self.refresh_tokens = {each: of for each, of in self.refresh_tokens.items() if of != login}
            return 400, {"error": "invalid_grant"}
        answer = self._tokens({})
        if not self.keeps_refresh_tokens:
            self._used_refresh_tokens[token] = self.refresh_tokens.pop(token)
            answer["refresh_token"] = self.new_refresh_token(login)
        return 200, _without_none(answer | self.bend_refresh)

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

    def access_token(self, header: Mapping[str, Any] = {}, **changes: Any) -> str:
        """Returns an access token of `user` (RFC 9068). What changes to None is left out."""
        now = int(self.clock().timestamp())
        claims = {"iss": self.issuer, "aud": AUDIENCE, "exp": now + 300, "iat": now, "scope": "openid profile",
                  "client_id": "oidc-agent", "jti": secrets.token_hex(8)} | self.user | changes  # fmt: skip
        return self._signed({"typ": "at+jwt", **header}, _without_none(claims))

    def _tokens(self, asked: Mapping[str, str | None]) -> dict[str, Any]:
        """Returns the answer of the token endpoint. `asked` is what came to the authorization endpoint, if anything."""
        return {"access_token": "access", "token_type": "Bearer", "id_token": self._id_token(asked)}

    def _id_token(self, asked: Mapping[str, str | None]) -> str:
        now = int(self.clock().timestamp())
        claims = {"iss": self.issuer, "aud": CLIENT_ID, "exp": now + 300, "iat": now, "nonce": asked.get("nonce")}
        if "max_age" in asked:
            claims["auth_time"] = now
        claims |= self.user | self.bend_claims
        return self._signed({}, _without_none(claims))

    def _signed(self, header: Mapping[str, Any], claims: dict[str, Any]) -> str:
        header = _without_none({"alg": self.algorithm, "kid": self.key.kid, **header} | self.bend_header)
        if self.make_token is not None:
            return self.make_token(header, claims)
        return jwt.encode(header, claims, self.key, algorithms=[self.algorithm])
