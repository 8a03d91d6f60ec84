"""What the service says of itself to those who log people in by it (OpenID Connect Discovery 1.0, RFC 8414)."""

from collections.abc import Callable, Collection
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sshaft_identity.settings import Settings
from sshaft_identity.signing.signing_keys import Algorithm
from sshaft_identity.web.oauth import ASSERTION_ALGORITHMS
from sshaft_identity.web.state import state_of

SECONDS = 3600
"""How long it may be kept."""
Part = Callable[[Settings], dict[str, Any]]


def discovery(grants: Collection[str], parts: Collection[Part]) -> Callable[[Request], Any]:
    """The endpoint, from what each face says of its own."""

    async def metadata(request: Request) -> Response:
        settings = state_of(request).settings
        base = settings.base_url
        whole: dict[str, Any] = {
            "issuer": base,
            "token_endpoint": f"{base}/oauth2/token",
            "jwks_uri": f"{base}/.well-known/jwks.json",
            "grant_types_supported": list(grants),
            "subject_types_supported": ["public", "pairwise"],
            "id_token_signing_alg_values_supported": [Algorithm.RS256],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "private_key_jwt"],
            "token_endpoint_auth_signing_alg_values_supported": list(ASSERTION_ALGORITHMS),
        }
        for part in parts:
            whole |= part(settings)
        return JSONResponse(whole, headers={"Cache-Control": f"public, max-age={SECONDS}"})

    return metadata


JWKS_SECONDS = 3600
"""How long a verifier keeps the set; `signing_keys.ROTATION_WAIT` is much longer."""


async def jwks(request: Request) -> Response:
    state = state_of(request)
    keys = await run_in_threadpool(state.store.signing_keys.jwks, state.clock())
    return JSONResponse(keys, headers={"Cache-Control": f"public, max-age={JWKS_SECONDS}"})
