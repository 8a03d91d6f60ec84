"""Serves a throwaway OpenID Provider for the demo of host login: the device grant, and a page without a password.

    python -m sshaft_demo.provider PORT USER...

Whoever reaches the page may approve as one of the users, so it listens on loopback only.
"""

import html
import secrets
import sys
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
    """A device login. `user` is who has approved it; an empty text: somebody has denied it."""

    client_id: str
    ends_at: float = field(default_factory=lambda: time.monotonic() + _LIFETIME)
    user: str | None = None


class Provider:
    def __init__(self, issuer: str, users: list[str]) -> None:
        self._issuer = issuer
        self._users = users
        self._key = RSAKey.generate_key(2048, {"kid": "demo", "use": "sig"})
        self._devices: dict[str, _Device] = {}
        self._codes: dict[str, str] = {}

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._metadata),
                Route("/jwks", self._jwks),
                Route("/device_authorization", self._begin, methods=["POST"]),
                Route("/token", self._token, methods=["POST"]),
                Route("/device", self._page, methods=["GET", "POST"]),
            ]
        )

    async def _metadata(self, _request: Request) -> Response:
        paths = {
            "device_authorization_endpoint": "/device_authorization",
            "token_endpoint": "/token",
            "jwks_uri": "/jwks",
        }
        endpoints = {name: self._issuer + path for name, path in paths.items()}
        return JSONResponse({"issuer": self._issuer, "code_challenge_methods_supported": ["S256"], **endpoints})

    async def _jwks(self, _request: Request) -> Response:
        return JSONResponse({"keys": [self._key.as_dict(private=False)]})

    async def _begin(self, request: Request) -> Response:
        form = await request.form()
        device_code = secrets.token_urlsafe(32)
        user_code = "".join(secrets.choice("BCDFGHJKLMNPQRSTVWXZ") for _ in range(8))
        self._devices[device_code] = _Device(str(form.get("client_id")))
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
        form = await request.form()
        device = self._devices.get(str(form.get("device_code")))
        if device is None or time.monotonic() > device.ends_at:
            return JSONResponse({"error": "expired_token"}, 400)
        if device.user is None:
            return JSONResponse({"error": "authorization_pending"}, 400)
        if not device.user:
            return JSONResponse({"error": "access_denied"}, 400)
        del self._devices[str(form["device_code"])]
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": self._issuer, "aud": device.client_id, "sub": f"id-of-{device.user}",
            "preferred_username": device.user, "iat": now, "exp": now + 300,
        }  # fmt: skip
        token = jwt.encode({"alg": "RS256", "kid": "demo"}, claims, self._key)
        return JSONResponse({"access_token": secrets.token_urlsafe(16), "token_type": "Bearer", "id_token": token})

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
                device.user = str(form.get("user")) if form.get("answer") == "approve" else ""
                said = "Done. Press Enter in ssh."
        users = "".join(f"<option>{html.escape(user)}</option>" for user in self._users)
        return HTMLResponse(_PAGE.format(said=said, code=html.escape(code), users=users))


def main() -> None:
    port, *users = sys.argv[1:]
    provider = Provider(f"http://127.0.0.1:{port}", users)
    uvicorn.run(provider.app(), host="127.0.0.1", port=int(port), log_level="warning")


if __name__ == "__main__":
    main()
