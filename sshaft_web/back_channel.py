"""Signs people out when the provider says so (OpenID Connect Back-Channel Logout 1.0 §2.5)."""

from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sshaft.deadline import Deadline
from sshaft.errors import RemoteServiceError
from sshaft.log import get_logger
from sshaft_oidc.remote_keys import OpenIdError
from sshaft_web.browsers import body_of
from sshaft_web.people.sessions import End
from sshaft_web.state import state_of

PATH = "/back-channel-logout"
_MAX_BODY = 32 * 1024
_SECONDS = 10.0


async def sign_out(request: Request) -> Response:
    """Ends the sessions that a logout token names, with their terminals. The provider calls it, and no browser."""
    state = state_of(request)
    body = await body_of(request, _MAX_BODY)
    deadline = Deadline.after(_SECONDS)
    try:
        logout = await state.provider.ask(
            lambda _: state.logout_tokens.check(_token_in(body), deadline), for_stranger=True
        )
    except (OpenIdError, RemoteServiceError) as error:
        get_logger().warning("back_channel_logout.refused", reason=str(error))
        return JSONResponse({"error": "invalid_request", "error_description": "the logout_token is not good"}, 400)
    ended = state.sessions.finish_where(logout.issuer, logout.subject, logout.sid, End.LOGGED_OUT)
    get_logger().info("back_channel_logout.done", subject=logout.subject, sessions=ended)
    return Response(headers={"Cache-Control": "no-store"})


def _token_in(body: bytes) -> str:
    """Returns the logout token of a form. Raises `OpenIdError`."""
    try:
        values = [value for name, value in parse_qsl(body.decode(), max_num_fields=8) if name == "logout_token"]
    except ValueError:
        values = []
    if len(values) != 1:
        raise OpenIdError("there is no logout_token, or more than one")
    return values[0]


ROUTES = [Route(PATH, sign_out, methods=["POST"])]
