"""Reads what an OpenID Provider publishes: JSON documents, and the keys that verify its tokens.

An answer that is hostile or broken is an error and has no other effect.
"""

import threading
import warnings
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import Any, TypeVar

from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import GuestProtocol, Key, KeySet
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

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
_OBJECT = TypeAdapter(dict[str, Any])


class RemoteKeys:
    """The key set of one provider, fetched on demand. Safe for several threads."""

    def __init__(self, http: HttpClient, clock: Callable[[], datetime]) -> None:
        self._http = http
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: tuple[datetime, KeySet] | None = None

    def decode(self, token: str, jwks_uri: str, algorithms: Collection[str], deadline: Deadline) -> dict[str, Any]:
        """Returns the claims of a JWT that one of the provider's keys has signed with one of `algorithms`.

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
        with self._lock:
            now = self._clock()
            age = KEYS_LIFETIME if self._keys is None else abs(now - self._keys[0])  # abs: the clock may be set back
            if age >= KEYS_LIFETIME or (anew and age >= _MIN_FETCH_INTERVAL):
                self._keys = now, _keys(json_object(self._http.send("GET", jwks_uri, deadline), "the JWKS"))
            assert self._keys is not None  # noqa: S101 - just read
            return self._keys[1]


def _decoded(token: str, keys: KeySet, algorithms: Collection[str]) -> dict[str, Any]:
    def key_of(token: GuestProtocol) -> Key:
        kid = token.headers().get("kid")
        candidates = [key for key in keys.keys if kid is None or key.kid == kid]
        if len(candidates) != 1:
            raise InvalidKeyIdError
        return candidates[0]

    return jwt.decode(token, key_of, algorithms=list(algorithms)).claims


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
        return _OBJECT.validate_json(answer.body)
    except ValidationError:
        raise OpenIdError(f"{what} did not answer a JSON object") from None
