"""Answers sshaft-host-api, the web server that clients ask before a login with an access token.

Anybody can reach that server, and it has no rights: each question brings a token, and the agent decides.
"""

import json
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Literal

from sshaft import log
from sshaft.errors import ConfigurationError, RemoteServiceError
from sshaft.text import printable
from sshaft_agent.host_login.database import DatabaseError
from sshaft_agent.host_login.first_login.accounts_client import AccountsError
from sshaft_agent.host_login.realm import RefusedError
from sshaft_agent.host_login.settings import HostSettings
from sshaft_agent.host_login.threads import BoundedThreads, FullError
from sshaft_agent.host_login.token_login.describe import authorisation, info
from sshaft_agent.host_login.token_login.one_time_passwords import OneTimePasswords
from sshaft_agent.host_login.token_login.persons import Change, Persons
from sshaft_agent.host_login.token_login.realms import TokenRealm, TokenRealms
from sshaft_agent.host_login.token_login.standing import USABLE, Standing, Standings
from sshaft_agent.server import Answer, Message
from sshaft_oidc import access_tokens
from sshaft_oidc.access_tokens import AccessTokenError
from sshaft_oidc.identity import Identity
from sshaft_oidc.remote_keys import OpenIdError

_MOST_WAITING = 128
"""Questions of one kind."""
_READING = ("status", "otp", None)
"""The actions that only read, and a question that has none."""
_DETAILS = {
    "signature": "Could not verify JWT: Signature verification failed",
    "key": "The signature of the access token was not verified",
    "expired": "The access token has expired",
    "unknown": "User identity could not be determined",
}
"""Why a token opens nothing, in the words that clients of motley_cue know."""
_UNAVAILABLE = "This host cannot answer now. Try again in a minute."
_NOT_MADE = "The account could not be made or changed."
_NO_CHANGE = Change()
OUTCOMES = ("answered", "unauthenticated", "forbidden", "busy", "failed")
Status = Literal["unauthenticated", "forbidden", "busy", "failed"]
_Fields = Mapping[str, str]
_Ask = Callable[[TokenRealm, Identity, _Fields], Message]


class Api:
    """The questions. `settings` and `realms` return those in use. `outcomes` counts the answers.

    They run on an event loop of their own, so that no question of a stranger delays a login. What only reads blocks
    that loop; a token of a stranger, which may ask the provider, and a change have threads.
    """

    def __init__(
        self,
        settings: Callable[[], HostSettings],
        realms: Callable[[], TokenRealms],
        passwords: OneTimePasswords,
        standings: Standings,
        persons: Persons,
    ) -> None:
        self.outcomes: Counter[str] = Counter()
        self._settings = settings
        self._realms = realms
        self._passwords = passwords
        self._standings = standings
        self._persons = persons
        self._strangers = BoundedThreads("host-api-token", 16, _MOST_WAITING)
        self._writers = BoundedThreads("host-api-change", 8, _MOST_WAITING)

    def close(self) -> None:
        for threads in (self._strangers, self._writers):
            threads.close()

    def counts(self) -> dict[str, int]:
        """Returns how many questions about people had which answer."""
        return dict.fromkeys(OUTCOMES, 0) | dict(self.outcomes)

    def answers(self) -> dict[str, Answer]:
        """Returns a function for each kind of question."""
        return {
            "api_info": self._info,
            "api_authorisation": self._with_token(self._authorisation),
            "api_user": self._with_token(self._user),
            "api_verify": self._with_token(self._verify, takes_password=True),
            "api_admin": self._with_token(self._admin),
        }

    async def _info(self, _fields: dict[str, str]) -> Message:
        return "info", {"json": json.dumps(info(self._settings()))}

    def _with_token(self, ask: _Ask, *, takes_password: bool = False) -> Answer:
        """Returns a coroutine function that answers a question of a person. Some take a one-time password, too."""

        async def answer(fields: dict[str, str]) -> Message:
            presented = fields.get("token", "")
            token = self._passwords.token_of(presented) if takes_password else presented
            fields = fields | {"token": token, "password": "" if presented == token else presented}
            try:
                message = await self._answer(ask, fields)
            except FullError:
                message = _denied("busy", "busy", "Too many questions wait.")
            except AccessTokenError as error:
                message = _unauthenticated(error, token)
            except AccountsError as error:
                message = _failed(fields, error, _NOT_MADE)
            except (RemoteServiceError, OpenIdError, DatabaseError, ConfigurationError) as error:
                message = _failed(fields, error, _UNAVAILABLE)
            self.outcomes[message[1].get("status", "answered")] += 1
            return message

        return answer

    async def _answer(self, ask: _Ask, fields: _Fields) -> Message:
        """Returns the answer to the person whose token it is. A refusal has its reason in the log alone."""
        realms, token = self._realms(), fields["token"]
        found = realms.known(token)
        if found is None:
            found = await self._strangers.run(realms.identify, token, fields.get("client_ip", ""))
        realm, identity = found
        try:
            if fields.get("action") in _READING:  # a thread would cost more than the look-ups
                return ask(realm, identity, fields)
            return await self._writers.run(ask, realm, identity, fields)
        except RefusedError as refused:
            subject, issuer, reference = printable(identity.subject), printable(identity.issuer), secrets.token_hex(4)
            log.get_logger().warning(
                "host_api.refused", reason=str(refused), reference=reference, subject=subject, issuer=issuer,
                client_ip=_client(fields),
            )  # fmt: skip
            return _denied("forbidden", "refused", f"User {subject}@{issuer} does not meet requirements", reference)

    # --- the questions

    def _authorisation(self, realm: TokenRealm, _identity: Identity, _fields: _Fields) -> Message:
        return "authorisation", {"json": json.dumps(authorisation(realm.settings))}

    def _user(self, realm: TokenRealm, identity: Identity, fields: _Fields) -> Message:
        token, client_ip = fields["token"], fields.get("client_ip", "")
        match fields.get("action"):
            case "status":
                return _account(identity, self._standings.of(realm, identity))
            case "deploy":
                return _account(identity, *self._persons.deploy(realm, identity, client_ip))
            case "suspend":
                return _account(identity, *self._persons.suspend(realm, identity, client_ip))
            case "otp":
                standing = self._standings.of(realm, identity)
                is_made = self._passwords.make(token, (identity.issuer, identity.subject))
                kind, answer = _account(identity, standing)
                return kind, {**answer, "supported": "1", "successful": "1" if is_made else ""}
        raise RefusedError("there is no such action")

    def _verify(self, realm: TokenRealm, identity: Identity, fields: _Fields) -> Message:
        """Answers whether the token opens the account `user`. A one-time password is used up only if it does."""
        user, password = fields.get("user", ""), fields["password"]
        standing = self._standings.of(realm, identity, user)
        is_right = standing.state in USABLE and standing.name == user and not realm.settings.allow.publickey
        if is_right and password and not self._passwords.use(password):
            raise AccessTokenError("unknown", "another login has used the one-time password")
        return "verify", {"state": standing.state, "verified": "1" if is_right else ""}

    def _admin(self, realm: TokenRealm, identity: Identity, fields: _Fields) -> Message:
        action, subject, issuer = (fields.get(name, "") for name in ("action", "subject", "issuer"))
        standing, change = self._persons.administer(realm, identity, action, issuer, subject)
        return _account(Identity(issuer, subject, {}, frozenset()), standing, change)


def _account(identity: Identity, standing: Standing, change: Change = _NO_CHANGE) -> Message:
    return "user", {
        "state": standing.state,
        "name": standing.account,
        "subject": identity.subject,
        "issuer": identity.issuer,
        "change": json.dumps(asdict(change)),
    }


def _unauthenticated(error: AccessTokenError, token: str) -> Message:
    """Returns why a token counts for nothing. There is no event of it: anybody can send such tokens."""
    if error.fault == "busy":
        return _denied("busy", "busy", "Too many wrong tokens have come from this address.")
    detail = _DETAILS.get(error.fault) or printable(str(error))
    if error.fault == "issuer":
        detail = f"Issuer is not trusted: {printable(access_tokens.shape_of(token).issuer)}"
    return _denied("unauthenticated", error.fault, detail)


def _failed(fields: _Fields, error: Exception, detail: str) -> Message:
    reference = secrets.token_hex(4)
    log.get_logger().error("host_api.failed", message=str(error), reference=reference, client_ip=_client(fields))
    return _denied("failed", "failed", f"{detail} Reference: {reference}", reference)


def _client(fields: _Fields) -> str:
    return printable(fields.get("client_ip", ""))


def _denied(status: Status, reason: str, detail: str, reference: str = "") -> Message:
    return "denied", {"status": status, "reason": reason, "detail": detail, "reference": reference}
