"""Serves the throwaway OpenID Provider with TLS, which motley_cue needs, and gives out many access tokens at once.

python token_provider.py PORT CERTIFICATE KEY USER AUDIENCE
"""

import json
import sys

import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sshaft_demo.provider import CLIENT_ID, Provider, _Device


def main() -> None:
    port, certificate, key, user, audience = sys.argv[1:]
    provider = Provider(f"https://localhost:{port}", [user])

    async def many(request: Request) -> Response:
        """Returns access tokens of the user."""
        count, padding = (request.path_params[name] for name in ("count", "padding"))
        claims = {"padding": "x" * padding}
        device = _Device(CLIENT_ID, "openid profile", audience, user=user, claims=claims)
        answers = (provider._tokens(device) for _ in range(count))  # noqa: SLF001
        return JSONResponse([json.loads(bytes(each.body))["access_token"] for each in answers])

    app = provider.app()
    app.add_route("/many/{count:int}/{padding:int}", many)
    uvicorn.run(app, host="127.0.0.1", port=int(port), ssl_certfile=certificate, ssl_keyfile=key, log_level="warning")


if __name__ == "__main__":
    main()
