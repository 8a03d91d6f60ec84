"""Reads what an OpenID Provider publishes: JSON documents, and the keys that verify its tokens.

An answer that is hostile or broken is an error and has no other effect.
"""

import json
import threading
import warnings
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import Any, TypeVar

from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import GuestProtocol, Key, KeySet
from joserfc.jwt import Token
from pydantic import BaseModel, ConfigDict, ValidationError

from sshaft.config import without_repetition
from sshaft.deadline import Deadline
from sshaft.errors import SshaftError
from sshaft.http_client import Answer, HttpClient
from sshaft.validation import first_fault

KEYS_LIFETIME = timedelta(hours=1)
"""How long keys and metadata are used before they are fetched again."""
_MIN_FETCH_INTERVAL = timedelta(seconds=30)
MAX_ANSWER = 256 * 1024
"""Bytes: the `max_answer` of a client that speaks to a provider."""


class OpenIdError(SshaftError):
    """The answer of the provider, or of the browser, proves nothing. The text names the fault without any value."""

    code = "oidc"


class Document(BaseModel):
    """A JSON document of a provider. Members without a field are ignored."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


ADocument = TypeVar("ADocument", bound=Document)


class _Decoder(json.JSONDecoder):
    """Refuses an object with two members of the same name, which two programs may read differently."""

    def __init__(self) -> None:
        super().__init__(object_pairs_hook=without_repetition)


class RemoteKeys:
    """The key set of one provider, fetched on demand. Safe for several threads."""

    def __init__(self, http: HttpClient, clock: Callable[[], datetime]) -> None:
        self._http = http
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: tuple[datetime, KeySet] | None = None
        self._asked_anew_at: datetime | None = None

    def decode(self, token: str, jwks_uri: str, algorithms: Collection[str], deadline: Deadline) -> Token:
        """Returns a JWT that one of the provider's keys has signed with one of `algorithms`.

        An unknown key makes the key set be fetched anew. Only the signature is checked here: the caller checks the
        claims. Raises `JoseError`, `OpenIdError` or `RemoteServiceError`.
        """
        warnings.filterwarnings("ignore", "EdDSA is deprecated")
        try:
            return _decoded(token, self._key_set(jwks_uri, deadline), algorithms)
        except InvalidKeyIdError:
            return _decoded(token, self._key_set(jwks_uri, deadline, anew=True), algorithms)

    def _key_set(self, jwks_uri: str, deadline: Deadline, *, anew: bool = False) -> KeySet:
        """Returns the key set. `anew` counts once in `_MIN_FETCH_INTERVAL`: tokens of strangers must cause no flood."""
        known = self._keys
        if known is not None and not anew and self._age(known[0]) < KEYS_LIFETIME:
            return known[1]  # without the lock: nobody waits while keys are fetched for the token of a stranger
        with self._lock:
            if anew and self._keys is not None and self._age(self._asked_anew_at) < _MIN_FETCH_INTERVAL:
                return self._keys[1]
            if anew or self._keys is None or self._age(self._keys[0]) >= KEYS_LIFETIME:
                self._asked_anew_at = self._clock()
                document = json_object(self._http.send("GET", jwks_uri, deadline), "the JWKS")
                self._keys = self._clock(), _keys(document)
            return self._keys[1]

    def _age(self, at: datetime | None) -> timedelta:
        return timedelta.max if at is None else abs(self._clock() - at)  # abs: the clock may be set back


def _decoded(token: str, keys: KeySet, algorithms: Collection[str]) -> Token:
    def key_of(token: GuestProtocol) -> Key:
        kid = token.headers().get("kid")
        candidates = [key for key in keys.keys if kid is None or key.kid == kid]
        if len(candidates) != 1:
            raise InvalidKeyIdError
        return candidates[0]

    try:
        return jwt.decode(token, key_of, algorithms=list(algorithms), decoder_cls=_Decoder)
    except RecursionError:
        raise OpenIdError("the token is nested too deep") from None


def _keys(document: dict[str, Any]) -> KeySet:
    """Returns the public keys that verify signatures, without keys of unknown kinds (RFC 7517 §5)."""
    listed = document.get("keys")
    keys = []
    for each in listed if isinstance(listed, list) else []:
        if isinstance(each, dict) and each.get("kty") in ("RSA", "EC", "OKP") and each.get("use", "sig") == "sig":
            try:
                keys += KeySet.import_key_set({"keys": [each]}).keys
            except (JoseError, ValueError, TypeError, KeyError):
                continue
    return KeySet(keys)


def parse(kind: type[ADocument], answer: Answer, what: str) -> ADocument:
    """Returns the document in the answer. `what` names it in the error. Raises `OpenIdError`."""
    try:
        return kind.model_validate(json_object(answer, what))
    except ValidationError as error:
        raise OpenIdError(f"{what}: {first_fault(error)}") from None


def json_object(answer: Answer, what: str) -> dict[str, Any]:
    """Returns the JSON object in the answer. `what` names it in the error. Raises `OpenIdError`."""
    if answer.status != 200:
        raise OpenIdError(f"{what} answered {answer.status}")
    try:
        found = json.loads(answer.body, cls=_Decoder)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise OpenIdError(f"{what} did not answer a JSON object")
    return found
