"""Simulates Microsoft's part of the external MFA of Entra ID on loopback, written from its documentation.

The simulator has the metadata, the signing keys, the hint and the form, and checks the answer.
"""

import functools
import json
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl

from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

APP_ID = "3f6a9a3c-6c1a-4a7e-9a0c-8f3d1c2b4a5e"
TENANT = "7d2f4c1e-0b9a-4f63-8e5d-2a1b3c4d5e6f"
OBJECT_ID = "b1f0c0de-1111-2222-3333-444455556666"
ACR = ["possessionorinherence"]
AMR = ["face", "fido", "fpt", "hwk", "iris", "otp", "pop", "retina", "sc", "sms", "swk", "tel", "vbm"]


@functools.cache
def key(name: str) -> RSAKey:
    """One of a name for a whole test run: making RSA keys takes longer than most tests."""
    return RSAKey.generate_key(2048, {"kid": name, "use": "sig"})


@dataclass
class Entra:
    clock: Callable[[], datetime]
    client_id: str = "entra"
    published: list[str] = field(default_factory=lambda: ["first"])
    broken: bool = False
    asked: list[str] = field(default_factory=list)
    answers: list[dict[str, str]] = field(default_factory=list)
    """The forms that browsers have posted to the redirect_uri."""
    page: str = ""
    authority: str = field(init=False)

    def __enter__(self) -> Self:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                fake.asked.append(self.path)
                documents = {
                    "/common/v2.0/.well-known/openid-configuration": {
                        "issuer": f"{fake.authority}/{{tenantid}}/v2.0",
                        "jwks_uri": f"{fake.authority}/common/discovery/v2.0/keys",
                    },
                    "/common/discovery/v2.0/keys": {
                        "keys": [key(name).as_dict(private=False) for name in fake.published]
                    },
                }
                found = None if fake.broken else documents.get(self.path)
                if self.path == "/start":
                    self._answer(200, fake.page.encode(), "text/html")
                else:
                    self._answer(500 if found is None else 200, json.dumps(found).encode(), "application/json")

            def do_POST(self) -> None:
                fake.asked.append(self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                fake.answers.append(dict(parse_qsl(body.decode())))
                self._answer(200, b"<title>Stay signed in?</title>", "text/html")

            def _answer(self, status: int, body: bytes, kind: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.authority = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def redirect_uri(self) -> str:
        return f"{self.authority}/common/federation/externalauthprovider"

    def options(self, **more: Any) -> dict[str, Any]:
        """Returns the options with which the client is registered here."""
        return {"app_id": APP_ID, "tenants": [TENANT], "authority": self.authority, "domain": "contoso.com"} | more

    def hint(self, *, by: str = "first", header: dict[str, Any] | None = None, **bent: Any) -> str:
        """Returns a hint that has expired, like the hints of Entra."""
        now = int(self.clock().timestamp())
        claims = {
            "ver": "2.0",
            "iss": f"{self.authority}/{TENANT}/v2.0",
            "aud": APP_ID,
            "iat": now - 5,
            "exp": now - 5,
            "tid": TENANT,
            "oid": OBJECT_ID,
            "sub": "mBfcvuhSHkDWVgV72x2ruIYdSsPSvcj2R0qfc6mGEAA",
            "preferred_username": "alice@contoso.com",
            "name": "Alice",
            "uti": uuid.uuid4().hex,
        } | bent
        return jwt.encode({"alg": "RS256", "kid": by, "typ": "JWT"} | (header or {}), claims, key(by))

    def form(self, hint: str | None = None, acr: list[str] = ACR, amr: list[str] = AMR, **more: str) -> dict[str, str]:
        wanted = {"acr": {"essential": True, "values": acr}, "amr": {"essential": True, "values": amr}}
        return {
            "scope": "openid",
            "response_type": "id_token",
            "response_mode": "form_post",
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "nonce": "AwABEgEAAAADAOz_",
            "state": "the state of Entra",
            "id_token_hint": self.hint() if hint is None else hint,
            "claims": json.dumps({"id_token": wanted}),
            "client-request-id": str(uuid.uuid4()),
        } | more

    def sends(self, endpoint: str, form: dict[str, str]) -> str:
        """Returns the address of a page that posts the form to us, like the page of Entra after the password."""
        fields = "".join(f'<input type="hidden" name="{name}" value="{escape(value)}">' for name, value in form.items())
        script = "<script>document.forms[0].submit()</script>"
        self.page = f'<form method="post" action="{escape(endpoint)}">{fields}</form>{script}'
        return f"{self.authority}/start"

    def accepts(
        self, issuer: str, jwks: dict[str, Any], form: dict[str, str], answer: dict[str, str]
    ) -> dict[str, Any]:
        """Checks the ID token against the request as the documentation of Entra says. Returns its claims."""
        assert answer["state"] == form["state"]
        assert all(each["x5c"] for each in jwks["keys"])
        token = jwt.decode(answer["id_token"], KeySet.import_key_set(jwks), algorithms=["RS256"])  # type: ignore[arg-type]
        claims, wanted = token.claims, json.loads(form["claims"])["id_token"]
        now = self.clock().timestamp()
        assert claims["iss"] == issuer
        assert claims["aud"] == self.client_id
        assert claims["nonce"] == form["nonce"]
        assert claims["sub"] == "mBfcvuhSHkDWVgV72x2ruIYdSsPSvcj2R0qfc6mGEAA"
        assert claims["iat"] <= now + 1 < claims["exp"]
        assert isinstance(claims["acr"], str)
        assert claims["acr"] in wanted["acr"]["values"]
        assert isinstance(claims["amr"], list)
        assert len(claims["amr"]) == 1
        assert claims["amr"][0] in wanted["amr"]["values"]
        return dict(claims)
