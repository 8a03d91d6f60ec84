"""Connects to a host of web.json by ssh. Its key must be the known one before anything secret is sent."""

import asyncio

import asyncssh

from sshaft.text import printable
from sshaft_web.targets import Target
from sshaft_web.terminals.login import Login, LoginError
from sshaft_web.terminals.typed_lines import PromptCancelledError

_CONNECT_SECONDS = 15
_LOGIN_SECONDS = 300
"""A person may have to approve the login elsewhere, or to look for a second factor."""
_KEEPALIVE_SECONDS = 30
_VERSION = "sshaft-web"
_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com",
            "aes256-ctr", "aes192-ctr", "aes128-ctr")  # fmt: skip
"""Those of OpenSSH. GCM comes first: with the usual ChaCha20, the output of a host costs twice as much CPU here."""


async def connect(
    target: Target, account: str, login: Login, connect_seconds: float = _CONNECT_SECONDS
) -> asyncssh.SSHClientConnection:
    """Returns a connection on which the person is logged in. Raises `LoginError`, whose text is for the person.

    The host must have proven its key within `connect_seconds`.
    """
    try:
        # connect_timeout of asyncssh would also count the time in which the person answers.
        async with asyncio.timeout(connect_seconds) as until_login:
            login.begun = lambda: until_login.reschedule(None)
            return await _connect(target, account, login)
    except Exception as error:
        cause = login.failure or error
        raise LoginError(_sentence(_code(cause), cause, target.title), code=_code(cause)) from error


async def _connect(target: Target, account: str, login: Login) -> asyncssh.SSHClientConnection:
    connection, _ = await asyncssh.create_connection(
        lambda: login,
        target.host,
        target.port,
        known_hosts=target.host_keys,
        username=account,
        client_version=_VERSION,
        config=None,  # neither files nor keys nor the agent of this account
        client_keys=None,
        agent_path=None,
        agent_forwarding=False,
        gss_host=None,
        preferred_auth="keyboard-interactive,password",
        public_key_auth=False,
        host_based_auth=False,
        encryption_algs=_CIPHERS,
        compression_algs=["none"],  # a host could send little that becomes much
        login_timeout=_LOGIN_SECONDS,
        keepalive_interval=_KEEPALIVE_SECONDS,
    )
    return connection


_CODES: tuple[tuple[type[Exception], str], ...] = (
    (asyncssh.HostKeyNotVerifiable, "host_key_changed"),
    (asyncssh.KeyExchangeFailed, "key_exchange_failed"),
    (asyncssh.PermissionDenied, "permission_denied"),
    (PromptCancelledError, "cancelled"),
    (LoginError, "login_failed"),
    (asyncssh.ConnectionLost, "connection_lost"),
    (asyncssh.DisconnectError, "connection_lost"),
    (OSError, "unreachable"),
)


def _code(error: Exception) -> str:
    """Returns the word for a failure in events."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), "failed")


def _sentence(code: str, error: Exception, title: str) -> str:
    """Returns what the person reads about a failure."""
    sentences = {
        "host_key_changed": (
            f"{title} does not have the host key that it must have. Somebody may be in its place, so nothing was sent "
            "to it. Tell your administrator."
        ),
        "key_exchange_failed": (
            f"{title} has no kind of host key, or no cipher, that it must have: {printable(str(error))}. "
            "Tell your administrator."
        ),
        "permission_denied": f"{title} did not let you in.",
        "cancelled": "You have cancelled the login.",
        "login_failed": str(error),
        "unreachable": (
            f"{title} cannot be reached: {printable(getattr(error, 'strerror', None) or 'no answer in time')}. "
            "Try again in some minutes."
        ),
        "connection_lost": f"{title} has closed the connection: {printable(str(error))}",
    }
    usual = f"The connection to {title} has failed. Try again; if it fails again, tell your administrator."
    return sentences.get(code, usual)
