"""Adds the code flow with PKCE to the throwaway OpenID Provider, for programs that send the person's browser there.

A sign-in needs one click and no password. The provider can revoke tokens and sign a person out at the programs.
"""

import base64
import hashlib
import html
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import requests
from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

_LIFETIME = 60
_LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
_PAGE = """<!doctype html><html lang="en"><title>Sign in</title>
<body style="font: 1.2rem/1.6 system-ui; margin: 4rem auto; max-width: 30rem">
<h1>Sign in</h1><p>This is the throwaway OpenID Provider of the demo. It wants no password.</p>
<form method="post"><p><label>Sign in as <select name="user">{users}</select></label></p>
<p><button autofocus>Sign in</button></p></form>"""


@dataclass(frozen=True)
class SignedIn:
    """A person who has signed in, and what the program asked for."""

    client_id: str
    scope: str
    resource: str
    user: str
    nonce: str


@dataclass(frozen=True)
class _Code:
    signed_in: SignedIn
    redirect_uri: str
    challenge: str
    ends_at: float


class CodeFlow:
    """The endpoints of the code flow. `back_channel` has the address of each client that hears of sign-outs."""

    def __init__(self, issuer: str, users: list[str], key: RSAKey, back_channel: dict[str, str]) -> None:
        self._issuer = issuer
        self._users = users
        self._key = key
        self._back_channel = back_channel
        self._codes: dict[str, _Code] = {}

    def routes(self, revoke: Callable[[str], None]) -> list[BaseRoute]:
        """Returns the routes. `revoke` ends an access token or a refresh token."""

        async def revoked(request: Request) -> Response:
            revoke(str((await request.form()).get("token")))
            return Response()

        return [
            Route("/authorize", self._authorize, methods=["GET", "POST"]),
            Route("/revoke", revoked, methods=["POST"]),
            Route("/people/{user}/sign-out", self._sign_out, methods=["POST"]),
        ]

    def metadata(self) -> dict[str, Any]:
        return {
            "authorization_endpoint": f"{self._issuer}/authorize",
            "revocation_endpoint": f"{self._issuer}/revoke",
            "authorization_response_iss_parameter_supported": True,
            "backchannel_logout_supported": True,
            "response_types_supported": ["code"],
            "scopes_supported": ["openid", "profile", "offline_access"],
        }

    def redeem(self, code: str, redirect_uri: str, verifier: str) -> SignedIn | None:
        """Returns the person of a code. None: the code is over or used, or belongs to another request."""
        found = self._codes.pop(code, None)
        digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
        if found is None or time.monotonic() > found.ends_at:
            return None
        return found.signed_in if (found.redirect_uri, found.challenge) == (redirect_uri, digest) else None

    async def _authorize(self, request: Request) -> Response:
        """Shows the page, and sends the browser back with a code after the click."""
        asked = request.query_params
        if asked.get("prompt") == "none":  # nobody is signed in here without a click (OpenID Connect Core §3.1.2.6)
            return self._back(asked, error="login_required")
        if request.method == "GET":
            users = "".join(f"<option>{html.escape(user)}</option>" for user in self._users)
            return HTMLResponse(_PAGE.format(users=users))
        user = str((await request.form()).get("user"))
        if user not in self._users or asked.get("code_challenge_method") != "S256":
            return JSONResponse({"error": "invalid_request"}, 400)
        names = ("client_id", "scope", "resource", "nonce")
        client_id, scope, resource, nonce = (asked.get(name, "") for name in names)
        code = secrets.token_urlsafe(32)
        self._codes[code] = _Code(
            SignedIn(client_id, scope, resource, user, nonce),
            asked.get("redirect_uri", ""),
            asked.get("code_challenge", ""),
            time.monotonic() + _LIFETIME,
        )
        return self._back(asked, code=code)

    def _back(self, asked: Mapping[str, str], **answer: str) -> Response:
        query = urlencode({**answer, "state": asked.get("state", ""), "iss": self._issuer})
        return RedirectResponse(f"{asked.get('redirect_uri', '')}?{query}", 303)

    async def _sign_out(self, request: Request) -> Response:
        """Tells the programs that a person has signed out here (OpenID Connect Back-Channel Logout 1.0 §2.5)."""
        user, answers = request.path_params["user"], {}
        for client_id, url in self._back_channel.items():
            claims = {
                "iss": self._issuer, "aud": client_id, "sub": f"id-of-{user}", "iat": int(time.time()),
                "exp": int(time.time()) + 120, "jti": secrets.token_urlsafe(16), "events": {_LOGOUT_EVENT: {}},
            }  # fmt: skip
            header = {"alg": "RS256", "kid": self._key.kid, "typ": "logout+jwt"}
            form = {"logout_token": jwt.encode(header, claims, self._key)}
            answer = await run_in_threadpool(requests.post, url, data=form, timeout=10)
            answers[client_id] = answer.status_code
        return JSONResponse(answers)
