"""Sets up a client for an identity provider: the options of `client add --for`, and the text that is printed."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import click
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from sshaft.errors import ConfigurationError
from sshaft_identity.clients.return_urls import checked

GivenOptions = Mapping[str, tuple[str, ...]]
"""The options of the command line by name. Each may have been given several times."""

_option = partial(click.Option, multiple=True)
APP = _option(["--app"], metavar="NAME", help="With --for: what people are told they log in to.")
REDIRECT_URI = _option(["--redirect-uri"], metavar="URI", help="With --for: where its logins lead back to.")
PAIRWISE = _option(
    ["--pairwise"],
    metavar="SECTOR",
    help="With --for: give it names for people that only clients of this SECTOR (a host, as a rule) know.",
)
JWKS = _option(
    ["--jwks"],
    type=click.Path(dir_okay=False),
    help="With --for: the file of the public keys by which it proves itself (private_key_jwt). Then it has no secret.",
)
NOTIFY = _option(
    ["--notify"],
    metavar="URL",
    help="With --for generic-ciba: tell it there when a login has ended (ping).  [default: it asks (poll)] "
    "With --for keycloak-ciba: where the realm is called back.",
)
DOMAIN = _option(
    ["--domain"],
    help="With --for entra: alice@DOMAIN there is alice here.  [default: is alice@DOMAIN] "
    "With --for auth0: of the tenant, as browsers see it.",
)


@dataclass(frozen=True, slots=True)
class Registration:
    """How a client is registered: its options for the face, its public keys (a JWKS, RFC 7517 §5) if it has no secret,
    and the sector of its pairwise names (OpenID Connect Core 1.0 §8.1).
    """

    options: dict[str, Any] = field(default_factory=dict)
    jwks: dict[str, Any] | None = None
    pairwise_sector: str | None = None


@dataclass(frozen=True, slots=True)
class Provider:
    """An identity provider. `register` makes the registration from the given `options`; those in `needs` must be given.

    `faces/recipes/NAME.txt` is printed for the operator, and `docs/providers/NAME.md` tells more.
    """

    register: Callable[[GivenOptions], Registration]
    options: tuple[click.Option, ...] = (APP,)
    needs: tuple[str, ...] = ()


def app_option(given: GivenOptions) -> dict[str, Any]:
    """Returns the option `app`, if it was given."""
    return {"app": given["app"][0]} if given.get("app") else {}


def register_with_app(given: GivenOptions) -> Registration:
    """Registers a client that needs no option but `app`."""
    return Registration(app_option(given))


def checked_redirect_uri(uri: str) -> str:
    """Returns the redirect URI. Raises `ConfigurationError` if no login may lead there."""
    try:
        checked(uri)
    except ValueError as error:
        raise ConfigurationError(f"the redirect URI {error}") from None
    if "#" in uri:
        raise ConfigurationError("the redirect URI must have no fragment")
    return uri


def oauth_registration(given: GivenOptions, options: dict[str, Any]) -> Registration:
    """Registers an OAuth client: `--jwks` and `--pairwise` are the same for every face of this kind."""
    keys = _public_keys(Path(given["jwks"][0])) if given.get("jwks") else None
    return Registration(options, keys, given["pairwise"][0] if given.get("pairwise") else None)


def recipe(name: str, values: Mapping[str, Any]) -> str:
    """Returns the text that tells the operator what to type on the provider's side; empty if there is none."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateNotFound  # noqa: PLC0415 - slow to load

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parents[1] / "faces/recipes"),
        autoescape=False,  # noqa: S701 - plain text for a terminal
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    try:
        return environment.get_template(f"{name}.txt").render(values)
    except TemplateNotFound:
        return ""


def _public_keys(path: Path) -> dict[str, Any]:
    """Reads a JWKS file (RFC 7517 §5) of public keys. Raises `ConfigurationError`."""
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
