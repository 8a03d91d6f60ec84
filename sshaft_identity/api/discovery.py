"""Publishes the metadata (OpenID Connect Discovery 1.0, RFC 8414) and the public keys (RFC 7517) of the service."""

from collections.abc import Callable, Collection
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sshaft_identity.settings import Settings
from sshaft_identity.signing.signing_keys import Algorithm
from sshaft_identity.web.oauth import ASSERTION_ALGORITHMS
from sshaft_identity.web.state import state_of

CACHE_SECONDS = 3600
"""Relying parties may cache metadata and keys for this time. `signing_keys.WAIT` is much longer."""
Part = Callable[[Settings], dict[str, Any]]


def discovery(grants: Collection[str], parts: Collection[Part]) -> Callable[[Request], Any]:
    """Returns the metadata endpoint. Each of `parts` adds the metadata of one face."""

    async def metadata(request: Request) -> Response:
        settings = state_of(request).settings
        base = settings.base_url
        members: dict[str, Any] = {
            "issuer": base,
            "token_endpoint": f"{base}/oauth2/token",
            "jwks_uri": f"{base}/.well-known/jwks.json",
            "grant_types_supported": list(grants),
            "ui_locales_supported": list(state_of(request).languages.all),
            "subject_types_supported": ["public", "pairwise"],
            "id_token_signing_alg_values_supported": [Algorithm.RS256],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "private_key_jwt"],
            "token_endpoint_auth_signing_alg_values_supported": list(ASSERTION_ALGORITHMS),
        }
        for part in parts:
            members |= part(settings)
        return JSONResponse(members, headers={"Cache-Control": f"public, max-age={CACHE_SECONDS}"})

    return metadata


async def jwks(request: Request) -> Response:
    state = state_of(request)
    keys = await run_in_threadpool(state.store.signing_keys.jwks, state.clock())
    return JSONResponse(keys, headers={"Cache-Control": f"public, max-age={CACHE_SECONDS}"})
