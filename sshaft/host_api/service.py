"""Speaks with the service beside an sshd that takes access tokens, by the contract of motley_cue."""

import re
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from sshaft.addresses import bracketed, is_loopback
from sshaft.host_api import prompt, web
from sshaft.host_api.web import CertificateError, WebError
from sshaft.text import printable

_DESCRIPTION = "This is the user API for mapping remote identities to local identities."
_PORTS = ("", ":8443")
_LOOK_SECONDS = 3.05
_SECONDS = 60.0
"""A first login makes an account."""
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,254}\$?")
"""Names of accounts. ssh puts the name into commands for a shell (%r), and the name comes from a foreign server."""
_SCOPE = re.compile(r"[\x21\x23-\x5B\x5D-\x7E]+")
_STATES = {
    "not_deployed": "you have no account there yet.",
    "pending": "your account waits for an operator's approval; try again later.",
    "rejected": "an operator has rejected your account; ask there.",
    "suspended": "your account is suspended; ask an operator there.",
    "limited": "your account may not log in; ask an operator there.",
}
_UNKNOWN = "your account is in a state that sshaft does not know."


class ServiceError(web.WebError):
    """The service refuses, or there is none."""


class Wish(NamedTuple):
    """What a service wants in a token. Empty: nothing."""

    scopes: tuple[str, ...]
    audience: str


class Info(NamedTuple):
    """What a service says of itself: the operator's words about logins, and the issuers whose tokens it takes."""

    login_info: dict[str, str]
    providers: list[str]


def canonical(issuer: str) -> str:
    """Returns the form in which services of the contract compare issuers."""
    return issuer.lower().removeprefix("http://").removeprefix("https://").removeprefix("www.").removesuffix("/")


class Service(NamedTuple):
    """A service at `url`."""

    url: str
    ca_file: str | None

    def account(self, token: str) -> str:
        """Returns the name of the person's account, which is made at the first login. Raises `WebError`."""
        status, answer = self._get("/user/deploy", token)
        if status >= 500:  # an account that is there works all the same
            status, answer = self._get("/user/get_status", token)
        return self._name(self._checked(status, answer))

    def _name(self, answer: dict[str, object]) -> str:
        state, credentials, message = answer.get("state"), answer.get("credentials"), answer.get("message")
        told = credentials.get("ssh_user") if isinstance(credentials, dict) else None
        if state in {"deployed", "limited"}:
            if told is None and isinstance(message, str) and message.startswith("username "):
                told = message.removeprefix("username ")
            if isinstance(told, str) and _NAME.fullmatch(told):
                return told
            raise ServiceError(f"{self.url}: gives no usable account name: {printable(str(told), 80)}")
        raise ServiceError(f"{self.url}: {_STATES.get(str(state), _UNKNOWN)} It says: {printable(str(message))}")

    def why_refused(self, token: str) -> str:
        """Returns what the service says of the person's account after sshd has refused the token."""
        try:
            state = str(self._checked(*self._get("/user/get_status", token)).get("state"))
        except WebError as error:
            return str(error)
        return f"{self.url}: {_STATES.get(state, 'your account is ready, but sshd did not take the token.')}"

    def about(self, token: str) -> dict[str, str]:
        """Returns what the service says of the person with this token."""
        rights = self._checked(*self._get("/info/authorisation", token))
        status, answer = self._get("/user/get_status", token)
        state = answer.get("state") if status == 200 else answer.get("error_description") or answer.get("detail")
        return {
            "token of": str(rights.get("OP")),
            "who may log in": str(rights.get("authorisation_info")),
            "your account": f"{state}, {answer['message']}" if status == 200 and "message" in answer else str(state),
        }

    def info(self) -> Info:
        """Returns what the service says to everybody."""
        answer = self._checked(*self._get("/info"))
        told, listed = answer.get("login_info"), answer.get("supported_OPs")
        return Info(
            {name: str(value) for name, value in told.items()} if isinstance(told, dict) else {},
            [each for each in listed if isinstance(each, str)] if isinstance(listed, list) else [],
        )

    def wish(self, issuer: str) -> Wish:
        """Returns what a token of this issuer must have for this service."""
        status, answer = self._get(f"/info/op?url={quote(issuer, safe='')}")
        if status == 404:
            raise ServiceError(f"{self.url}: takes no tokens of {printable(issuer)}")
        scopes, audience = self._checked(status, answer).get("scopes"), answer.get("audience")
        first = audience[0] if isinstance(audience, list) and audience else audience
        names = scopes if isinstance(scopes, list) else []
        usable = tuple(each for each in names if isinstance(each, str) and _SCOPE.fullmatch(each))
        return Wish(usable, first if isinstance(first, str) else "")

    def make_one_time_password(self, token: str) -> str | None:
        """Returns a password that stands for this token at one login, or None: the service makes none."""
        status, answer = self._get("/user/generate_otp", token)
        if status != 200 or answer.get("supported") is not True or answer.get("successful") is not True:
            return None
        import hashlib  # noqa: PLC0415 - few tokens are that long

        return hashlib.sha512(token.encode()).hexdigest()

    def answers(self, token: str) -> list[str]:
        """Returns what is typed at the token prompts of sshd in turn: the token, or what stands for a long one."""
        if len(token) > prompt.MAX_ANSWER:
            with suppress(WebError):
                token = self.make_one_time_password(token) or token
        return prompt.parts_of(token)

    def _get(self, path: str, token: str | None = None) -> tuple[int, dict[str, object]]:
        return web.get(self.url, path, seconds=_SECONDS, bearer=token, ca_file=self.ca_file)

    def _checked(self, status: int, answer: dict[str, object]) -> dict[str, object]:
        """Returns the answer, if the service grants what was asked."""
        if status == 200:
            return answer
        said = answer.get("error_description") or answer.get("detail") or answer.get("error") or ""
        does = "refuses the token" if status in {401, 403} else "fails"
        raise ServiceError(f"{self.url}: {does} ({status}): {printable(str(said), 400)}")


def of(host: str, named: str | None, *, ca_file: str | None, allow_http: bool) -> Service:
    """Returns the service at the address that the person names, or else the one of the host. Raises `ServiceError`."""
    if named is not None:
        return _at(named, ca_file=ca_file, allow_http=allow_http)
    return _find(host, ca_file=ca_file, allow_http=allow_http)


def _find(host: str, *, ca_file: str | None, allow_http: bool) -> Service:
    """Returns the service of a host. It is at one of the addresses that mccli tries too. Raises `ServiceError`."""
    named = bracketed(host)
    https = [f"https://{named}{port}{path}" for path in ("/motley_cue", "") for port in _PORTS]
    http = [f"http://{named}:8080{path}" for path in ("/motley_cue", "")]
    tried = https + (http if allow_http or is_loopback(host) else [])
    untrusted = []
    for url in tried:
        try:
            if _is_service(url, ca_file):
                return Service(url, ca_file)
        except CertificateError as error:
            untrusted.append(str(error))
        except WebError:
            pass
    places = ", ".join(tried)
    more = f" ({'; '.join(untrusted)})" if untrusted else ""
    raise ServiceError(f"no service for access tokens answers at {places}{more}; name it with --endpoint URL")


def _at(url: str, *, ca_file: str | None, allow_http: bool) -> Service:
    try:
        parts = urlsplit(url if "://" in url else f"https://{url}")
    except ValueError:
        parts = urlsplit("")
    if not parts.hostname or parts.scheme not in {"http", "https"}:
        raise ServiceError(f"{printable(url)}: is no https address")
    if parts.scheme == "http" and not allow_http and not is_loopback(parts.hostname):
        raise ServiceError(f"{printable(url)}: everybody on the way could read the token; --allow-http sends it anyway")
    service = Service(parts.geturl().rstrip("/"), ca_file)
    if not _is_service(service.url, ca_file):
        raise ServiceError(f"{printable(service.url)}: is no service for access tokens")
    return service


def _is_service(url: str, ca_file: str | None) -> bool:
    status, answer = web.get(url, "/", seconds=_LOOK_SECONDS, ca_file=ca_file)
    return status == 200 and answer.get("description") == _DESCRIPTION
