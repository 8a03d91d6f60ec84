"""Logs a person in at an OpenID Provider for an access token: from the keyring, in the browser, or by a code."""

import os
import ssl
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from sshaft.deadline import Deadline
from sshaft.errors import RemoteServiceError
from sshaft.host_api.service import Service, Wish
from sshaft.text import printable
from sshaft.validation import first_fault
from sshaft_client import browser_login, settings
from sshaft_client.options import Options
from sshaft_client.settings import LoginSettings
from sshaft_client.shelf import Shelf, desktop_keyring
from sshaft_client.tokens import TokenError
from sshaft_oidc.device_grant import DeviceGrant
from sshaft_oidc.provider import Provider, Tokens
from sshaft_oidc.refresh_grant import GrantEndedError, redeem
from sshaft_oidc.remote_keys import OpenIdError

_REQUEST_SECONDS = 10.0


def obtain(issuer: str, wish: Wish, service: Service, options: Options) -> str:
    """Returns an access token of `issuer` for `service`. Raises `TokenError`, `ConfigurationError`.

    The person has named the provider, in client.json or by --client-id: a service alone sends no browser anywhere.
    """
    login = _settings(issuer, options)
    keyring = desktop_keyring()
    scopes = tuple(dict.fromkeys([*login.scopes, *wish.scopes, *(["offline_access"] if keyring is not None else [])]))
    key = " ".join([login.issuer, login.client_id, service.url, wish.audience, *scopes])
    http = login.http_client("provider", _authorities(options))
    provider = Provider(login.issuer, login.credentials(), http, lambda: datetime.now(UTC))
    shelf = Shelf(key, keyring)
    try:
        tokens = _renewed(provider, shelf) or _new(provider, login, scopes, wish, service)
    except (OpenIdError, RemoteServiceError) as error:
        raise TokenError(f"{login.issuer}: {printable(str(error), 400)}") from None
    finally:
        http.close()
    if tokens.refresh_token:
        shelf.save(tokens.refresh_token)
    if not tokens.access_token:
        raise TokenError(f"{login.issuer}: gave no access token")
    return tokens.access_token


def _settings(issuer: str, options: Options) -> LoginSettings:
    if options.client_id is not None and options.issuer is not None:
        named = options.issuer if "://" in options.issuer else f"https://{options.issuer}"  # the service's may differ
        try:
            return LoginSettings(issuer=named, client_id=options.client_id)
        except ValidationError as error:
            raise TokenError(f"--iss and --client-id: {first_fault(error)}") from None
    found = settings.provider(issuer)
    if found is None:
        raise TokenError(
            f"no access token: give --token-file FILE, start oidc-agent, or describe {printable(issuer)} in "
            f"{settings.places()[0]} to log in there"
        )
    return found


def _authorities(options: Options) -> Path | None:
    """Returns the file or folder of trusted authorities: the system's own, and not those of a Python package."""
    system = ssl.get_default_verify_paths()
    named = options.ca_file or system.cafile or system.capath
    return Path(named) if named else None


def _renewed(provider: Provider, shelf: Shelf) -> Tokens | None:
    """Returns the tokens of an earlier login, which the provider renews; None: the person has to log in."""
    refresh_token = shelf.load()
    if refresh_token is None:
        return None
    try:
        return redeem(provider, refresh_token, Deadline.after(_REQUEST_SECONDS))
    except GrantEndedError:
        shelf.clear()
    except OpenIdError:
        pass
    return None


def _new(provider: Provider, login: LoginSettings, scopes: tuple[str, ...], wish: Wish, service: Service) -> Tokens:
    if not sys.stderr.isatty() and not _has_browser():
        raise TokenError(f"no access token, and no terminal or browser to log in at {login.issuer}")
    wanted = f" for {printable(wish.audience)}" if wish.audience else ""
    _say(f"{service.url} wants a token of {login.issuer}{wanted} ({' '.join(scopes)}).")
    parameters = {"scope": " ".join(scopes)} | _audience(wish)
    if _has_browser():
        return browser_login.log_in(provider, parameters, login.redirect_port, _open)
    return _by_code(DeviceGrant(provider, scopes, _audience(wish)))


def _audience(wish: Wish) -> dict[str, str]:
    """Returns the parameters that ask for an audience: RFC 8707 for an address, and the older `audience`."""
    if not wish.audience:
        return {}
    return {"audience": wish.audience} | ({"resource": wish.audience} if "://" in wish.audience else {})


def _has_browser() -> bool:
    return sys.platform == "darwin" or any(os.environ.get(name) for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"))


def _open(address: str) -> None:
    _say(f"Log in with the browser. If no page opens, open {address}")
    browser_login.open_browser(address)


def _by_code(grant: DeviceGrant) -> Tokens:
    code = grant.begin(Deadline.after(_REQUEST_SECONDS))
    where = code.verification_uri_complete or code.verification_uri
    _say(f"Open {printable(where, 900)} and log in. The code is {printable(code.user_code)}")
    end = Deadline.after(code.expires_in)
    while end.remaining():
        time.sleep(code.interval)
        if tokens := grant.poll(code, Deadline.after(_REQUEST_SECONDS)):
            return tokens
    raise OpenIdError("nobody logged in with the code in time")


def _say(text: str) -> None:
    sys.stderr.write(f"sshaft: {text}\n")
    sys.stderr.flush()
