"""Authenticates a client at a token endpoint: RFC 6749 §2.3.1, RFC 7523 §2.2, RFC 8705 §2.1."""

import secrets
import time
import warnings
from base64 import b64encode
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote_plus

from sshaft import files
from sshaft.errors import ConfigurationError

_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ASSERTION_SECONDS = 60

Algorithm = Literal["ES256", "ES384", "PS256", "RS256", "Ed25519", "EdDSA"]


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """A client of an authorization server, with the secret or the private key that proves it.

    `method` is the server's `token_endpoint_auth_method` for this client (RFC 7591 §2).
    """

    client_id: str
    method: Literal["none", "client_secret_basic", "client_secret_post", "private_key_jwt", "tls_client_auth"]
    secret: str = field(default="", repr=False)
    private_key_file: Path | None = None
    """A PEM file. It is read anew for each assertion, so a new key needs no restart."""
    private_key_id: str | None = None
    private_key_algorithm: Algorithm = "ES256"

    def token_request(self, grant: dict[str, str], token_endpoint: str, now: float | None = None) -> dict[str, Any]:
        """Returns the `data` and `headers` of one token request: the parameters of `grant`, and the client's proof.

        `now` is in seconds since 1970. Raises `ConfigurationError` if the private key cannot sign.
        """
        form, headers = dict(grant), dict[str, str]()
        match self.method:
            case "client_secret_basic":
                # Both parts are form-encoded first, or a colon in the id would end the id.
                pair = f"{quote_plus(self.client_id)}:{quote_plus(self.secret)}"
                headers["Authorization"] = "Basic " + b64encode(pair.encode()).decode()
            case "client_secret_post":
                form |= {"client_id": self.client_id, "client_secret": self.secret}
            case "private_key_jwt":
                assertion = self._assertion(token_endpoint, time.time() if now is None else now)
                form |= {"client_assertion_type": _ASSERTION_TYPE, "client_assertion": assertion}
                form["client_id"] = self.client_id
            case "none" | "tls_client_auth":
                form["client_id"] = self.client_id
        return {"data": form, "headers": headers}

    def check(self) -> None:
        """Raises `ConfigurationError` now for a private key that cannot sign later."""
        if self.method == "private_key_jwt":
            self._assertion("", time.time())

    def _assertion(self, audience: str, now: float) -> str:
        """Returns an assertion (RFC 7523 §3): the client is its issuer and subject, and `jti` makes it single-use."""
        try:
            from joserfc import jwt  # noqa: PLC0415 - an extra: the other methods do without it
            from joserfc.errors import JoseError  # noqa: PLC0415
            from joserfc.jwk import ECKey, OKPKey, RSAKey  # noqa: PLC0415
        except ImportError:
            raise ConfigurationError("private_key_jwt needs joserfc: pip install 'sshaft[private-key-jwt]'") from None
        # The operator chose the older name for a server that knows no other; stderr is for events.
        warnings.filterwarnings("ignore", "EdDSA is deprecated")
        algorithm = self.private_key_algorithm
        kind = ECKey if algorithm.startswith("ES") else OKPKey if algorithm.startswith("Ed") else RSAKey
        header = {"alg": algorithm} | ({"kid": self.private_key_id} if self.private_key_id else {})
        claims = {
            "iss": self.client_id,
            "sub": self.client_id,
            "aud": audience,
            "jti": secrets.token_urlsafe(16),
            "iat": int(now),
            "exp": int(now) + _ASSERTION_SECONDS,
        }
        assert self.private_key_file is not None  # noqa: S101 - the settings made sure
        try:
            key = kind.import_key(files.read_text(self.private_key_file))
            return jwt.encode(header, claims, key, algorithms=[algorithm])
        except (OSError, ValueError, TypeError, JoseError) as error:
            raise ConfigurationError(
                f"{self.private_key_file}: can't sign with {algorithm}: {str(error) or type(error).__name__}"
            ) from None
