"""Defines the face `openid`.

GET, POST /oauth2/authorize     see `authorize`
POST      /oauth2/token         see `tokens`
GET, POST /oauth2/userinfo      see `tokens`
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

from starlette.routing import Route

from sshaft_identity.face_support.face import Face
from sshaft_identity.face_support.reach import Finding, Reach
from sshaft_identity.face_support.setup import (
    APP,
    JWKS,
    PAIRWISE,
    REDIRECT_URI,
    GivenOptions,
    Provider,
    Registration,
    app_option,
    checked_redirect_uri,
    oauth_registration,
)
from sshaft_identity.faces.openid_provider import authorize, tokens
from sshaft_identity.faces.openid_provider.options import NAME, OpenIdClient
from sshaft_identity.web.call import in_thread


def _register(given: GivenOptions, *, pkce: bool) -> Registration:
    uris = [checked_redirect_uri(uri) for uri in given["redirect_uri"]]
    options: dict[str, Any] = {"redirect_uris": uris, "pkce": pkce} | app_option(given)
    OpenIdClient.model_validate(options)
    return oauth_registration(given, options)


def _provider(*, pkce: bool = True) -> Provider:
    return Provider(partial(_register, pkce=pkce), (REDIRECT_URI, APP, PAIRWISE, JWKS), needs=("redirect_uri",))


def _checks(client: OpenIdClient, reach: Reach) -> Iterator[Finding]:
    yield from reach.check_issuer()
    for uri in client.redirect_uris:
        yield reach.check_host(uri)


FACE = Face(
    name=NAME,
    options=OpenIdClient,
    routes=lambda _clock: [
        Route("/oauth2/authorize", in_thread(authorize.authorize), methods=["GET", "POST"]),
        Route("/oauth2/userinfo", in_thread(tokens.userinfo), methods=["GET", "POST"]),
    ],
    finish=authorize.finish,
    grants={"authorization_code": tokens.authorization_code},
    metadata=authorize.metadata,
    providers={
        **dict.fromkeys(("generic-oidc", "okta", "authentik", "kratos"), _provider()),
        "glewlwyd": _provider(pkce=False),
    },
    checks=_checks,
)
