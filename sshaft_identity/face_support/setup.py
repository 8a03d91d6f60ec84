"""The identity providers that sshaft is a second step of: which client each needs, and what to type on its side.

`recipes/NAME.txt` is what `sshaft identity client add --for NAME` prints; `docs/providers/NAME.md` tells
more.
"""

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from pydantic import ValidationError

from sshaft.errors import ConfigurationError
from sshaft.validation import first_fault
from sshaft_identity.clients.clients import Scope
from sshaft_identity.clients.return_urls import checked
from sshaft_identity.face_support.options import (
    CLOUDS,
    KEY,
    Auth0Client,
    CibaClient,
    EntraClient,
    KeycloakCibaClient,
    OpenIdClient,
)

Faces = dict[str, Any]
Given = Mapping[str, tuple[str, ...]]
"""The options of the command line, by name; each may have been given several times."""


@dataclass(frozen=True, slots=True)
class Provider:
    """`needs`: the options without which there is no client. `faces`: its faces, made from what was given."""

    needs: tuple[str, ...]
    faces: Callable[[Given], Faces]
    scopes: tuple[Scope, ...] = ()
    """Of the JSON API; a face needs none."""


def _entra(given: Given) -> Faces:
    cloud = given.get("cloud") or ("public",)
    options: dict[str, Any] = {
        "app_id": given["app_id"][0].lower(),
        "tenants": [tenant.lower() for tenant in given["tenant"]],
        "authority": CLOUDS[cloud[0]],
    }
    options |= {"domain": given["domain"][0]} if given.get("domain") else {}
    return {"entra": EntraClient.model_validate(options).model_dump(mode="json")}


def _openid(given: Given, *, pkce: bool = True) -> Faces:
    faces: Faces = {"openid": {"redirect_uris": [checked_redirect(uri) for uri in given["redirect_uri"]], "pkce": pkce}}
    faces["openid"] |= {"app": given["app"][0]} if given.get("app") else {}
    OpenIdClient.model_validate(faces["openid"])
    return faces | _of_any(given)


def _ciba(given: Given) -> Faces:
    options: dict[str, Any] = {"app": given["app"][0]} if given.get("app") else {}
    options |= {"notification_endpoint": given["notify"][0]} if given.get("notify") else {}
    return {"ciba": CibaClient.model_validate(options).model_dump(exclude_none=True)} | _of_any(given)


def _of_any(given: Given) -> Faces:
    """How the client proves itself, and by which names it knows people."""
    faces: Faces = {}
    if given.get("pairwise"):
        faces["subject"] = {"type": "pairwise", "sector": given["pairwise"][0]}
    if given.get("jwks"):
        faces[KEY] = {"jwks": public_keys(Path(given["jwks"][0]))}
    return faces


def checked_redirect(uri: str) -> str:
    """Raises `ConfigurationError`."""
    try:
        checked(uri)
    except ValueError as error:
        raise ConfigurationError(f"the redirect URI {error}") from None
    if "#" in uri:
        raise ConfigurationError("the redirect URI must have no fragment")
    return uri


def public_keys(path: Path) -> dict[str, Any]:
    """A JWKS file (RFC 7517 §5) of public keys. Raises `ConfigurationError`."""
    try:
        keys = KeySet.import_key_set(json.loads(path.read_text())).keys
        public = [{**key.as_dict(private=False)} for key in keys if key.key_type != "oct" and not key.is_private]
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    except (JoseError, ValueError, KeyError, TypeError, AttributeError):
        raise ConfigurationError(f"{path} is no set of keys (JWKS)") from None
    if not public or len(public) != len(keys):
        raise ConfigurationError(f"{path} must hold public keys, and nothing else")
    return {"keys": public}


def _typed_back(given: Given, *, face: str) -> Faces:
    return {face: {"app": given["app"][0]} if given.get("app") else {}}


def _auth0(given: Given) -> Faces:
    options = {"domain": given["domain"][0].lower(), "salt": secrets.token_urlsafe(16)}
    options |= {"app": given["app"][0]} if given.get("app") else {}
    return {"auth0": Auth0Client.model_validate(options).model_dump(exclude_none=True)}


def _keycloak_ciba(given: Given) -> Faces:
    options = {"notification_endpoint": given["notify"][0]}
    options |= {"app": given["app"][0]} if given.get("app") else {}
    return {"keycloak_ciba": KeycloakCibaClient.model_validate(options).model_dump(exclude_none=True)}


def _validate(given: Given, *, mode: str) -> Faces:
    return {"validate": {"mode": mode} | ({"app": given["app"][0]} if given.get("app") else {})}


PROVIDERS: dict[str, Provider] = {
    "keycloak": Provider((), partial(_validate, mode="poll")),
    "freeradius": Provider((), partial(_validate, mode="interactive")),
    "privacyidea": Provider((), partial(_validate, mode="interactive")),
    "lemonldap": Provider((), partial(_typed_back, face="code_back")),
    "cas": Provider((), partial(_typed_back, face="cas")),
    "ibm-verify": Provider((), partial(_typed_back, face="ibm_verify")),
    "auth0": Provider(("domain",), _auth0),
    "keycloak-ciba": Provider(("notify",), _keycloak_ciba),
    **{name: Provider(("redirect_uri",), _openid) for name in ("generic-oidc", "okta", "authentik", "kratos")},
    "glewlwyd": Provider(("redirect_uri",), partial(_openid, pkce=False)),
    "generic-ciba": Provider((), _ciba),
    "entra": Provider(("app_id", "tenant"), _entra),
}


def faces_of(name: str, given: Given) -> Faces:
    """Raises `ConfigurationError` where something is missing or odd."""
    provider = PROVIDERS[name]
    for need in provider.needs:
        if not given.get(need):
            raise ConfigurationError(f"--for {name} needs --{need.replace('_', '-')}")
    try:
        return provider.faces(given)
    except ValidationError as error:
        raise ConfigurationError(f"--for {name}: {first_fault(error)}") from None


def told(name: str, values: Mapping[str, Any]) -> str:
    """What to type on the provider's side."""
    recipes = Environment(
        loader=FileSystemLoader(Path(__file__).parents[1] / "faces/recipes"),
        autoescape=False,  # noqa: S701 - plain text for a terminal
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return recipes.get_template(f"{name}.txt").render(values)
