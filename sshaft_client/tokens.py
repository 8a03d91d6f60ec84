"""Finds an access token: in a file, in the variables that mccli reads, in oidc-agent, or by a login of our own."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sshaft import exit_status
from sshaft.errors import SshaftError
from sshaft.host_api.service import Service, Wish, canonical
from sshaft.text import printable
from sshaft_client.options import Options

MAX_TOKEN = 12 * 1024
VARIABLES = ("ACCESS_TOKEN", "OIDC", "OS_ACCESS_TOKEN", "OIDC_ACCESS_TOKEN", "WATTS_TOKEN", "WATTSON_TOKEN")
"""They hold tokens. The first one that is there counts, as with mccli."""
_ACCOUNT = "OIDC_AGENT_ACCOUNT"
_ISSUERS = ("OIDC_ISS", "OIDC_ISSUER")
_TOKEN = re.compile(r"[\x21-\x5b\x5d-\x7e]+")
"""RFC 6750 §2.1 allows less. A backslash would end a part (see `broker`)."""


class TokenError(SshaftError):
    """There is no token."""

    code = "no_token"
    exit_status = exit_status.NO_LOGIN_BY_SSH


def obtain(
    options: Options, service: Service, environment: Mapping[str, str] = os.environ, *, may_log_in: bool = True
) -> str:
    """Returns the access token for a login at the host of `service`. Raises `TokenError` or `WebError`.

    A source that the person names in the command counts before those of the environment. `may_log_in`: whether the
    person may have to log in with a browser.
    """
    if options.token_file is not None:
        return _from_file(options.token_file)
    if options.account is None and options.issuer is None:
        for name in VARIABLES:
            if value := environment.get(name):
                return checked(value.strip(), name)
    account = options.account or (None if options.issuer else environment.get(_ACCOUNT))
    if account is not None:
        return _of_account(account, service)
    named = options.issuer or next((value for name in _ISSUERS if (value := environment.get(name))), None)
    issuer = _issuer(named, service)
    wish = service.wish(issuer)
    if environment.get("OIDC_SOCK") and options.client_id is None:
        return _of_issuer(issuer, wish)
    if not may_log_in:
        raise TokenError("no access token; name a source, see --help")
    try:
        from sshaft_client import own_login  # noqa: PLC0415 - it loads libraries that no other source needs
    except ImportError as error:
        raise TokenError(f"a login of sshaft's own needs {error.name}: pip install 'sshaft[client]'") from None
    return checked(own_login.obtain(issuer, wish, service, options), issuer)


def checked(token: str, source: str) -> str:
    """Returns the token, if ssh can send it. Raises `TokenError`. `source` names where it came from."""
    if not _TOKEN.fullmatch(token):
        raise TokenError(f"{source}: holds no access token")
    if len(token) > MAX_TOKEN:
        raise TokenError(f"{source}: the token has {len(token)} bytes; hosts take {MAX_TOKEN} at most")
    return token


def _from_file(name: str) -> str:
    try:
        with open(name, encoding="utf-8") as file:  # noqa: PTH123 - pathlib takes time
            return checked(file.read().strip(), name)
    except (OSError, UnicodeDecodeError) as error:
        raise TokenError(f"{name}: {getattr(error, 'strerror', None) or 'is no text'}") from None


def _issuer(named: str | None, service: Service) -> str:
    """Returns the issuer whose token the service takes: the one that the person names, or the only one."""
    supported = service.info().providers
    if named is not None:
        found = [each for each in supported if canonical(each) == canonical(named)]
        if not found:
            raise TokenError(f"{service.url}: takes no tokens of {printable(named)}; it takes {_list(supported)}")
        return found[0]
    if len(supported) != 1:
        raise TokenError(f"{service.url}: takes tokens of {_list(supported)}; choose one with --iss URL")
    return supported[0]


def _list(issuers: list[str]) -> str:
    return ", ".join(printable(each) for each in issuers[:20]) or "no provider"


def _of_account(account: str, service: Service) -> str:
    """Returns a token of an account of oidc-agent. Its issuer must be one of the service: others see no token."""
    with _oidc_agent(f"account {printable(account)}") as agent:
        token, issuer, _ = agent.get_token_response(account, application_hint="sshaft")
        wish = service.wish(_issuer(issuer, service))
        if wish.scopes or wish.audience:
            token = agent.get_access_token(account, application_hint="sshaft", **_asked(wish))
    return checked(token, "oidc-agent")


def _of_issuer(issuer: str, wish: Wish) -> str:
    with _oidc_agent(printable(issuer)) as agent:
        token = agent.get_access_token_by_issuer_url(issuer, application_hint="sshaft", **_asked(wish))
    return checked(token, "oidc-agent")


@contextmanager
def _oidc_agent(source: str) -> Iterator[Any]:
    """Yields the library of oidc-agent. Raises `TokenError` without it, and for its errors, which name `source`."""
    try:
        import liboidcagent as agent  # noqa: PLC0415 - optional
    except ImportError:
        raise TokenError("tokens of oidc-agent need liboidcagent: pip install 'sshaft[oidc-agent]'") from None
    try:
        yield agent
    except agent.OidcAgentError as error:
        raise TokenError(f"oidc-agent, {source}: {printable(str(error), 400)}") from None


def _asked(wish: Wish) -> dict[str, str | None]:
    return {"scope": " ".join(wish.scopes) or None, "audience": wish.audience or None}
