"""Defines the face `entra`, and serves the documents that Microsoft reads about us.

GET  /entra/.well-known/openid-configuration    OpenID Connect Discovery 1.0 §3
GET  /entra/jwks.json                           RFC 7517 §5
POST /entra/authorize                           see `login`
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import click
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sshaft_identity.api.discovery import CACHE_SECONDS
from sshaft_identity.common.times import Clock
from sshaft_identity.face_support.assurance import POSSESSION_ACRS
from sshaft_identity.face_support.face import Face
from sshaft_identity.face_support.reach import Finding, Reach
from sshaft_identity.face_support.setup import DOMAIN, GivenOptions, Provider, Registration
from sshaft_identity.faces.entra import login
from sshaft_identity.faces.entra.hints import EntraHints
from sshaft_identity.faces.entra.options import CLOUDS, NAME, EntraClient
from sshaft_identity.signing.signing_keys import Algorithm
from sshaft_identity.web.state import state_of

_OPTIONS = (
    click.Option(["--app-id"], multiple=True, metavar="ID", help="With --for entra: the application id at Microsoft."),
    click.Option(
        ["--tenant"],
        multiple=True,
        metavar="ID",
        help="With --for entra: a tenant whose people may log in. May be given several times.",
    ),
    click.Option(
        ["--cloud"],
        multiple=True,
        type=click.Choice(sorted(CLOUDS)),
        help="With --for entra: the cloud of the tenant.  [default: public]",
    ),
    DOMAIN,
)


async def discovery(request: Request) -> Response:
    """Returns our discovery document; the administrator enters its address at Entra. Entra needs a Content-Length."""
    issuer = login.issuer(state_of(request).settings)
    document = {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/authorize",
        "jwks_uri": f"{issuer}/jwks.json",
        "scopes_supported": ["openid"],
        "response_types_supported": ["id_token"],
        "response_modes_supported": ["form_post"],
        "grant_types_supported": ["implicit"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [Algorithm.RS256],
        "claim_types_supported": ["normal"],
        "acr_values_supported": list(POSSESSION_ACRS),
        "ui_locales_supported": list(state_of(request).languages.all),
    }
    return JSONResponse(document)


async def jwks(request: Request) -> Response:
    """Returns the RSA keys, each with its certificate. Entra caches them for a day."""
    state = state_of(request)
    published = await run_in_threadpool(state.store.signing_keys.jwks, state.clock())
    keys = [key for key in published["keys"] if key["alg"] == Algorithm.RS256]
    return JSONResponse({"keys": keys}, headers={"Cache-Control": f"public, max-age={CACHE_SECONDS}"})


def _routes(clock: Clock) -> list[Route]:
    return [
        Route("/entra/.well-known/openid-configuration", discovery, methods=["GET"]),
        Route("/entra/jwks.json", jwks, methods=["GET"]),
        Route("/entra/authorize", partial(login.authorize, EntraHints(clock)), methods=["POST"]),
    ]


def _register(given: GivenOptions) -> Registration:
    cloud = given.get("cloud") or ("public",)
    options: dict[str, Any] = {
        "app_id": given["app_id"][0].lower(),
        "tenants": [tenant.lower() for tenant in given["tenant"]],
        "authority": CLOUDS[cloud[0]],
    }
    options |= {"domain": given["domain"][0]} if given.get("domain") else {}
    return Registration(EntraClient.model_validate(options).model_dump(mode="json", exclude_none=True))


def _checks(client: EntraClient, reach: Reach) -> Iterator[Finding]:
    yield from reach.check_issuer("/entra")
    yield reach.check_answer(client.metadata_url, "Microsoft's keys can be fetched", "this host must reach it by https")


FACE = Face(
    name=NAME,
    options=EntraClient,
    routes=_routes,
    finish=login.finish,
    providers={"entra": Provider(_register, _OPTIONS, needs=("app_id", "tenant"))},
    checks=_checks,
)
