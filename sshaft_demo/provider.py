"""Serves a throwaway OpenID Provider for the demos: the device grant, the code flow, and pages without a password.

    python -m sshaft_demo.provider [--back-channel CLIENT_ID=URL] PORT USER...

Whoever reaches the page may approve as one of the users, so it listens on loopback only.
"""

import argparse
import html
import json
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from sshaft_demo.code_flow import CodeFlow

CLIENT_ID = "demo-host"
_LIFETIME = 300
_INTERVAL = 1
_PAGE = """<!doctype html><html lang="en"><title>Approve a login</title>
<body style="font: 1.2rem/1.6 system-ui; margin: 4rem auto; max-width: 30rem">
<h1>Approve a login</h1><p>{said}</p>
<form method="post"><p><label>Code <input name="user_code" value="{code}" autofocus></label></p>
<p><label>Sign in as <select name="user">{users}</select></label></p>
<p><button name="answer" value="approve">Approve</button> <button name="answer" value="deny">Deny</button></p></form>"""


@dataclass
class _Device:
    """A login, and what the person has answered."""

    client_id: str
    scope: str
    resource: str
    """For whom the access token is (RFC 8707). Empty: the token is opaque."""
    ends_at: float = field(default_factory=lambda: time.monotonic() + _LIFETIME)
    user: str | None = None
    """The person who has approved it. None: nobody has answered yet. An empty text: somebody has denied it."""
    claims: dict[str, Any] = field(default_factory=dict)
    """More claims of that person."""


class Provider:
    """The provider. `back_channel` has the address of each client that hears when a person signs out."""

    def __init__(self, issuer: str, users: list[str], back_channel: dict[str, str] | None = None) -> None:
        self._issuer = issuer
        self._users = users
        self._key = RSAKey.generate_key(2048, {"kid": "demo", "use": "sig"})
        self._devices: dict[str, _Device] = {}
        self._codes: dict[str, str] = {}
        self._access_tokens: dict[str, dict[str, Any]] = {}
        self._refresh_tokens: dict[str, _Device] = {}
        self._gone: set[str] = set()
        self._code_flow = CodeFlow(issuer, users, self._key, back_channel or {})

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._metadata),
                Route("/jwks", self._jwks),
                Route("/device_authorization", self._begin, methods=["POST"]),
                Route("/token", self._token, methods=["POST"]),
                Route("/introspect", self._introspect, methods=["POST"]),
                Route("/userinfo", self._userinfo),
                Route("/device", self._page, methods=["GET", "POST"]),
                Route("/people/{user}", self._remove, methods=["DELETE"]),
                *self._code_flow.routes(self._revoke),
            ]
        )

    async def _metadata(self, _request: Request) -> Response:
        paths = {
            "device_authorization_endpoint": "/device_authorization",
            "token_endpoint": "/token",
            "introspection_endpoint": "/introspect",
            "userinfo_endpoint": "/userinfo",
            "jwks_uri": "/jwks",
        }
        endpoints = {name: self._issuer + path for name, path in paths.items()}
        about = {"issuer": self._issuer, "code_challenge_methods_supported": ["S256"], **self._code_flow.metadata()}
        return JSONResponse(about | endpoints)

    async def _jwks(self, _request: Request) -> Response:
        return JSONResponse({"keys": [self._key.as_dict(private=False)]})

    async def _begin(self, request: Request) -> Response:
        form = await request.form()
        device_code = secrets.token_urlsafe(32)
        user_code = "".join(secrets.choice("BCDFGHJKLMNPQRSTVWXZ") for _ in range(8))
        self._devices[device_code] = _Device(
            str(form.get("client_id")), str(form.get("scope")), str(form.get("resource", ""))
        )
        self._codes[user_code] = device_code
        return JSONResponse(
            {
                "device_code": device_code,
                "user_code": f"{user_code[:4]}-{user_code[4:]}",
                "verification_uri": f"{self._issuer}/device",
                "verification_uri_complete": f"{self._issuer}/device?user_code={user_code}",
                "expires_in": _LIFETIME,
                "interval": _INTERVAL,
            }
        )

    async def _token(self, request: Request) -> Response:
        form = {name: str(value) for name, value in (await request.form()).items()}
        grants = {"refresh_token": self._refreshed, "authorization_code": self._signed_in}
        return grants.get(form.get("grant_type", ""), self._approved)(form)

    def _refreshed(self, form: dict[str, str]) -> Response:
        before = self._refresh_tokens.pop(form.get("refresh_token", ""), None)
        if before is None or before.user in self._gone:
            return JSONResponse({"error": "invalid_grant"}, 400)
        return self._tokens(before)

    def _signed_in(self, form: dict[str, str]) -> Response:
        found = self._code_flow.redeem(*(form.get(name, "") for name in ("code", "redirect_uri", "code_verifier")))
        if found is None:
            return JSONResponse({"error": "invalid_grant"}, 400)
        self._gone.discard(found.user)
        claims = {"sid": secrets.token_urlsafe(8)} | ({"nonce": found.nonce} if found.nonce else {})
        return self._tokens(_Device(found.client_id, found.scope, found.resource, user=found.user, claims=claims))

    def _approved(self, form: dict[str, str]) -> Response:
        device = self._devices.get(form.get("device_code", ""))
        if device is None or time.monotonic() > device.ends_at:
            return JSONResponse({"error": "expired_token"}, 400)
        if device.user is None:
            return JSONResponse({"error": "authorization_pending"}, 400)
        if not device.user:
            return JSONResponse({"error": "access_denied"}, 400)
        del self._devices[form["device_code"]]
        return self._tokens(device)

    def _tokens(self, device: _Device) -> Response:
        """Returns the tokens of a person who has approved. A refresh token counts once."""
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": self._issuer, "aud": device.client_id, "sub": f"id-of-{device.user}",
            "preferred_username": device.user, "iat": now, "exp": now + _LIFETIME, **device.claims,
        }  # fmt: skip
        token = jwt.encode({"alg": "RS256", "kid": "demo"}, claims, self._key)
        access_token = self._new_access_token(device, claims)
        self._access_tokens[access_token] = {
            "active": True, "sub": claims["sub"], "username": device.user, "scope": device.scope,
            "client_id": device.client_id, "exp": claims["exp"],
        }  # fmt: skip
        answer: dict[str, Any] = {
            "access_token": access_token, "token_type": "Bearer", "id_token": token, "expires_in": _LIFETIME,
        }  # fmt: skip
        if "offline_access" in device.scope.split():
            answer["refresh_token"] = secrets.token_urlsafe(16)
            self._refresh_tokens[answer["refresh_token"]] = device
        return JSONResponse(answer)

    def _revoke(self, token: str) -> None:
        self._access_tokens.pop(token, None)
        self._refresh_tokens.pop(token, None)

    async def _remove(self, request: Request) -> Response:
        """Lets a person leave the organisation, until the next approval."""
        self._gone.add(request.path_params["user"])
        return Response(status_code=204)

    def _new_access_token(self, device: _Device, claims: dict[str, Any]) -> str:
        """Returns an access token. It is a JWT (RFC 9068) for a resource that the client has named."""
        if not device.resource:
            return secrets.token_urlsafe(16)
        more = {"aud": device.resource, "client_id": device.client_id, "scope": device.scope,
                "jti": secrets.token_urlsafe(16)}  # fmt: skip
        return jwt.encode({"alg": "RS256", "kid": "demo", "typ": "at+jwt"}, claims | more, self._key)

    async def _introspect(self, request: Request) -> Response:
        """Answers a client with a secret, whichever it is (RFC 7662 §2)."""
        if not request.headers.get("Authorization", "").startswith("Basic "):
            return JSONResponse({"error": "invalid_client"}, 401)
        form = await request.form()
        return JSONResponse(self._access_tokens.get(str(form.get("token")), {"active": False}))

    async def _userinfo(self, request: Request) -> Response:
        found = self._access_tokens.get(request.headers.get("Authorization", "").removeprefix("Bearer "))
        if found is None:
            return JSONResponse({"error": "invalid_token"}, 401)
        user = found["username"]
        return JSONResponse({"sub": found["sub"], "preferred_username": user, "name": user})

    async def _page(self, request: Request) -> Response:
        """Shows the form, and takes the answer of the person."""
        said = "Somebody wants to log in to a host by ssh. If it is not you, close this page."
        code = request.query_params.get("user_code", "")
        if request.method == "POST":
            form = await request.form()
            code = str(form.get("user_code", "")).replace("-", "").strip().upper()
            device = self._devices.get(self._codes.get(code, ""))
            if device is None:
                said = "This code is not known, or it has been used."
            else:
                device.claims = json.loads(str(form.get("claims") or "{}"))
                device.user = str(form.get("user")) if form.get("answer") == "approve" else ""
                self._gone.discard(device.user)
                said = "Done. Press Enter in ssh."
        users = "".join(f"<option>{html.escape(user)}</option>" for user in self._users)
        return HTMLResponse(_PAGE.format(said=said, code=html.escape(code), users=users))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--back-channel", action="append", default=[], metavar="CLIENT_ID=URL")
    parser.add_argument("port", type=int)
    parser.add_argument("users", nargs="+")
    options = parser.parse_args()
    back_channel = dict(each.split("=", 1) for each in options.back_channel)
    provider = Provider(f"http://127.0.0.1:{options.port}", options.users, back_channel)
    uvicorn.run(provider.app(), host="127.0.0.1", port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
