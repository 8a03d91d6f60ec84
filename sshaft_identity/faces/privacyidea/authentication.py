"""Authenticates the client, by HTTP Basic or by the token of `POST /auth`, and issues that token."""

import json
from base64 import b64encode

from starlette.responses import Response

from sshaft_identity.clients.access_tokens import TOKEN_LIFETIME
from sshaft_identity.clients.clients import Client
from sshaft_identity.faces.privacyidea.answers import ApiError, answers_errors, api_answer
from sshaft_identity.faces.privacyidea.options import NAME
from sshaft_identity.faces.privacyidea.parameters import parameters_of
from sshaft_identity.web.call import Call
from sshaft_identity.web.oauth import Credentials, OAuthError, admitted, client_by_secret, credentials_of, issue_token


@answers_errors
def auth(call: Call) -> Response:
    """`POST /auth`: issues a token for five minutes.

    The name and password of the service account are the id and secret of the client. Plugins need the role, which
    allows nothing here.
    """
    parameters = parameters_of(call)
    if "username" in parameters and "password" in parameters:  # AD FS sends its token from before in the header
        client = _with_face(client_by_secret(call, Credentials(parameters["username"], parameters["password"])))
    else:
        client = _client_by_basic(call, call.request.headers.get("authorization", ""))
    token = issue_token(call, client, [NAME])["access_token"]
    value = {"token": _in_form_of_jwt(call, client, token), "role": "admin", "username": client.client_id}
    return api_answer(call, {"status": True, "value": value})


def _in_form_of_jwt(call: Call, client: Client, token: str) -> str:
    """Returns three parts like a JWT, because plugins read `exp` from the second. The third part, our access token,
    is the only part that proves something.
    """
    expires_at = int((call.state.clock() + TOKEN_LIFETIME).timestamp())
    claims = {"username": client.client_id, "role": "admin", "exp": expires_at}
    # The decoder of Java needs the alphabet of RFC 4648 §4, and .NET allows no "=" in such a header.
    parts = (b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({"typ": "JWT"}, claims))
    return ".".join([*parts, token])


def client_of(call: Call) -> Client:
    """Returns the client of the Authorization header, or of PI-Authorization if a plugin cannot use the other header.

    Raises `ApiError` or `OAuthError`.
    """
    header = call.request.headers.get("pi-authorization") or call.request.headers.get("authorization", "")
    kind, _, rest = header.partition(" ")
    if kind.lower() == "basic":
        return _client_by_basic(call, header)
    token = (rest if kind.lower() == "bearer" else header).strip().rpartition(".")[2]
    client = call.state.store.access_tokens.client_of(token, call.state.clock()) if token else None
    if client is None or NAME not in client.scopes:
        raise OAuthError("invalid_client", "the client is not authenticated")
    return _with_face(admitted(call, client))


def _client_by_basic(call: Call, header: str) -> Client:
    padding = "=" * (-len(header.partition(" ")[2]) % 4)  # the plugin of Keycloak cuts it off in a custom header
    return _with_face(client_by_secret(call, credentials_of(header + padding, {})))


def _with_face(client: Client) -> Client:
    if NAME not in client.faces:
        raise ApiError(403, 403, "the client is not registered for this face")
    return client
