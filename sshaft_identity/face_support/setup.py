"""Sets up a client for an identity provider: the options of `client add --for`, and the recipe that it prints."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import click
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from sshaft import files
from sshaft.errors import ConfigurationError
from sshaft_identity.clients.return_urls import checked

GivenOptions = Mapping[str, tuple[str, ...]]
"""The options of the command line, by name. Each has all its values."""

_option = partial(click.Option, multiple=True)
APP = _option(
    ["--app"], metavar="NAME", help="With --for: the name of the application that ssh and our page show to people."
)
REDIRECT_URI = _option(["--redirect-uri"], metavar="URI", help="With --for: the address to which the browser returns.")
PAIRWISE = _option(
    ["--pairwise"],
    metavar="SECTOR",
    help="With --for: name people by subjects that only clients of this SECTOR (usually a host) know.",
)
JWKS = _option(
    ["--jwks"],
    type=click.Path(dir_okay=False),
    help="With --for: the file of the public keys of the client (private_key_jwt). Such a client has no secret.",
)
NOTIFY = _option(
    ["--notify"],
    metavar="URL",
    help="With --for generic-ciba: the address that is notified when a login has ended (ping).  [default: poll] "
    "With --for keycloak-ciba: the call-back address of the realm.",
)
DOMAIN = _option(
    ["--domain"],
    help="With --for entra: alice@DOMAIN at Microsoft is alice here.  [default: is alice@DOMAIN] "
    "With --for auth0: the domain of the tenant, as browsers see it.",
)


@dataclass(frozen=True, slots=True)
class Registration:
    """The registration of a client: its options for the face, its public keys (a JWKS, RFC 7517 §5) if it has no
    secret, and the sector of its pairwise subjects (OpenID Connect Core 1.0 §8.1).
    """

    options: dict[str, Any] = field(default_factory=dict)
    jwks: dict[str, Any] | None = None
    pairwise_sector: str | None = None


@dataclass(frozen=True, slots=True)
class Provider:
    """An identity provider. `register` makes the registration from the `options`; those in `needs` are required.

    `client add` prints `faces/recipes/NAME.txt` for the operator. `docs/providers/NAME.md` has the details.
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
    """Returns the redirect URI. Raises `ConfigurationError` if the URI is not allowed."""
    try:
        checked(uri)
    except ValueError as error:
        raise ConfigurationError(f"the redirect URI {error}") from None
    if "#" in uri:
        raise ConfigurationError("the redirect URI must have no fragment")
    return uri


def oauth_registration(given: GivenOptions, options: dict[str, Any]) -> Registration:
    """Registers an OAuth client with its options, and with `--jwks` and `--pairwise`."""
    keys = _public_keys(Path(given["jwks"][0])) if given.get("jwks") else None
    return Registration(options, keys, given["pairwise"][0] if given.get("pairwise") else None)


def recipe(name: str, values: Mapping[str, Any]) -> str:
    """Returns the recipe: the settings that the operator makes at the provider. Returns "" if there is no recipe."""
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
        keys = KeySet.import_key_set(json.loads(files.read_text(path))).keys
        public = [{**key.as_dict(private=False)} for key in keys if key.key_type != "oct" and not key.is_private]
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    except (JoseError, ValueError, KeyError, TypeError, AttributeError):
        raise ConfigurationError(f"{path} is not a set of keys (JWKS)") from None
    if not public or len(public) != len(keys):
        raise ConfigurationError(f"{path} must hold public keys only")
    return {"keys": public}
