"""How this client proves itself at the token endpoint: RFC 6749 §2.3.1, RFC 7523 §2.2, RFC 8705 §2.1."""

import secrets
import time
import warnings
from base64 import b64encode
from typing import Any
from urllib.parse import quote_plus

from sshaft.config import Config
from sshaft.errors import ConfigurationError

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_SECONDS = 60


def token_request(config: Config, now: float | None = None) -> dict[str, Any]:
    """The `data` and `headers` of one token request (client credentials grant, RFC 6749 §4.4)."""
    form = {"grant_type": "client_credentials"}
    if config.token_scope:
        form["scope"] = config.token_scope
    headers: dict[str, str] = {}
    secret = config.client_secret.get_secret_value() if config.client_secret else ""
    match config.token_endpoint_auth_method:
        case "client_secret_post":
            form |= {"client_id": config.client_id, "client_secret": secret}
        case "client_secret_basic":
            # both parts are form-encoded first, or a colon in the id would end it
            pair = f"{quote_plus(config.client_id)}:{quote_plus(secret)}"
            headers["Authorization"] = "Basic " + b64encode(pair.encode()).decode()
        case "private_key_jwt":
            form |= {
                "client_id": config.client_id,
                "client_assertion_type": ASSERTION_TYPE,
                "client_assertion": _assertion(config, time.time() if now is None else now),
            }
        case "tls_client_auth":
            form["client_id"] = config.client_id
    return {"data": form, "headers": headers}


def check(config: Config) -> None:
    """Raise `ConfigurationError` now for a private key that could not sign later."""
    if config.token_endpoint_auth_method == "private_key_jwt":
        _assertion(config, time.time())


def _assertion(config: Config, now: float) -> str:
    """RFC 7523 §3: issuer and subject are the client, the audience is the token endpoint; used once (`jti`)."""
    try:
        from joserfc import jwt  # noqa: PLC0415 - an extra: the other methods do without it
        from joserfc.errors import JoseError  # noqa: PLC0415
        from joserfc.jwk import ECKey, OKPKey, RSAKey  # noqa: PLC0415
    except ImportError:
        raise ConfigurationError("private_key_jwt needs joserfc: pip install 'sshaft[private-key-jwt]'") from None
    # The operator chose the older name for a server that knows no other; stderr is for events.
    warnings.filterwarnings("ignore", "EdDSA is deprecated")
    algorithm = config.private_key_algorithm
    kind = ECKey if algorithm.startswith("ES") else OKPKey if algorithm.startswith("Ed") else RSAKey
    header = {"alg": algorithm} | ({"kid": config.private_key_id} if config.private_key_id else {})
    claims = {
        "iss": config.client_id,
        "sub": config.client_id,
        "aud": config.token_endpoint,
        "jti": secrets.token_urlsafe(16),
        "iat": int(now),
        "exp": int(now) + ASSERTION_SECONDS,
    }
    assert config.private_key_file is not None  # noqa: S101 - Config made sure
    try:
        key = kind.import_key(config.private_key_file.read_bytes())
        return jwt.encode(header, claims, key, algorithms=[algorithm])
    except (OSError, ValueError, TypeError, JoseError) as error:
        raise ConfigurationError(
            f"{config.private_key_file}: can't sign with {algorithm}: {str(error) or type(error).__name__}"
        ) from None
