"""Serves an OpenID Provider that costs little CPU: it approves each device login at once, or it lets each one wait.

    python device_provider.py PORT USER SECONDS

It waits SECONDS before each answer, as if it were far away. `POST /approving` with the body `yes` or `no` says whether
it approves. `GET /late` returns how late each poll of a waiting login was since the last call: the seconds since the
poll before, or since the beginning of the login, less the interval.
"""

import asyncio
import json
import secrets
import sys
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

from joserfc import jwt
from joserfc.jwk import RSAKey

WAITING_INTERVAL = 5.0
APPROVED_INTERVAL = 0.02
"""Seconds. A person would not approve before the first poll; a shorter interval keeps the wait out of the figures."""
_LIFETIME = 3600
_TOKEN_LIFETIME = 60.0
_ANSWER = "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"


class Provider:
    def __init__(self, issuer: str, user: str, delay: float) -> None:
        self._issuer = issuer
        self._user = user
        self._delay = delay
        self._key = RSAKey.generate_key(2048, {"kid": "bench", "use": "sig"})
        self._token = ""
        self._token_until = 0.0
        self._approving = True
        self._polled_at: dict[str, float] = {}
        self._late: list[float] = []
        self._paths: dict[str, Callable[[str], Any]] = {
            "/.well-known/openid-configuration": self._metadata,
            "/jwks": lambda _: {"keys": [self._key.as_dict(private=False)]},
            "/device_authorization": self._begin,
            "/token": self._tokens,
            "/revoke": lambda _: {},
            "/approving": self._change,
            "/late": self._take_late,
        }

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers the requests of one connection, one after the other."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = head.lower().partition("content-length:")[2].partition("\r\n")[0]
                body = await reader.readexactly(int(length or 0))
                await asyncio.sleep(self._delay)
                answer = self._paths[head.split(" ", 2)[1]](body.decode())
                text = json.dumps(answer)
                status = 400 if "error" in answer else 200
                writer.write((_ANSWER.format(status=status, length=len(text)) + text).encode())
        except (OSError, asyncio.IncompleteReadError):
            writer.close()

    def _metadata(self, _body: str) -> dict[str, Any]:
        paths = {"device_authorization_endpoint": "/device_authorization", "token_endpoint": "/token",
                 "jwks_uri": "/jwks", "revocation_endpoint": "/revoke"}  # fmt: skip
        endpoints = {name: self._issuer + path for name, path in paths.items()}
        return {"issuer": self._issuer, "code_challenge_methods_supported": ["S256"], **endpoints}

    def _begin(self, _body: str) -> dict[str, Any]:
        device_code = secrets.token_urlsafe(32)
        if not self._approving:
            self._polled_at[device_code] = time.monotonic()
        return {
            "device_code": device_code,
            "user_code": "BCDF-GHJK",
            "verification_uri": f"{self._issuer}/device",
            "verification_uri_complete": f"{self._issuer}/device?user_code=BCDF-GHJK",
            "expires_in": _LIFETIME,
            "interval": APPROVED_INTERVAL if self._approving else WAITING_INTERVAL,
        }

    def _tokens(self, body: str) -> dict[str, Any]:
        now, (device_code,) = time.monotonic(), parse_qs(body)["device_code"]
        if device_code not in self._polled_at:
            return {"access_token": device_code, "token_type": "Bearer", "id_token": self._id_token(now)}
        self._late.append(now - self._polled_at[device_code] - WAITING_INTERVAL)
        self._polled_at[device_code] = now
        return {"error": "authorization_pending"}

    def _id_token(self, now: float) -> str:
        """Returns the ID token of `user`. It is signed anew once a minute: the signature would cost the most here."""
        if now > self._token_until:
            issued = int(time.time())
            claims = {"iss": self._issuer, "aud": "bench", "sub": "1", "preferred_username": self._user,
                      "iat": issued, "exp": issued + 600}  # fmt: skip
            self._token = jwt.encode({"alg": "RS256", "kid": "bench"}, claims, self._key)
            self._token_until = now + _TOKEN_LIFETIME
        return self._token

    def _change(self, body: str) -> dict[str, Any]:
        self._approving = body == "yes"
        return {}

    def _take_late(self, _body: str) -> dict[str, Any]:
        late, self._late = self._late, []
        return {"late": late}


async def main(port: int, user: str, delay: float) -> None:
    provider = Provider(f"http://127.0.0.1:{port}", user, delay)
    async with await asyncio.start_server(provider.serve, "127.0.0.1", port, backlog=1000) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], float(sys.argv[3])))
