"""Builds the ASGI application: the routes of all modules, the middleware and the handlers of errors."""

from collections.abc import Collection

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Route

from sshaft_identity.api import approvals, challenges, enrolments, host_reports, openapi, sshd
from sshaft_identity.api.discovery import discovery, jwks
from sshaft_identity.api.token import client_credentials, token_endpoint
from sshaft_identity.common.times import Clock, utc_now
from sshaft_identity.desk import actions, export, lists, person, ssh_pass
from sshaft_identity.desk.access import NoFreshPassError, OldGroupsError, answer_old_groups
from sshaft_identity.desk.ssh_pass import answer_no_fresh_pass
from sshaft_identity.face_support import browser_login
from sshaft_identity.face_support.face import Face
from sshaft_identity.faces import all_faces
from sshaft_identity.pages import approval, challenge, enrolment, my_hosts, my_keys, sign_in_oidc, sign_in_ssh
from sshaft_identity.pages.signed_in import NotSignedInError, answer_not_signed_in
from sshaft_identity.service import health
from sshaft_identity.service.app_state import make_state
from sshaft_identity.service.every_request import EveryRequest
from sshaft_identity.service.metrics import Metrics
from sshaft_identity.service.metrics_http import MeasureRequests, metrics_route
from sshaft_identity.service.named_files import NamedFiles
from sshaft_identity.settings import Settings
from sshaft_identity.store import Store
from sshaft_identity.web.call import in_thread
from sshaft_identity.web.html import PageError, answer_http_exception, answer_page_error
from sshaft_identity.web.language import ChooseLanguage
from sshaft_identity.web.problem import ProblemError, answer_problem

_API_MODULES = (sshd, challenges, approvals, enrolments, host_reports, openapi, health)
_PAGE_MODULES = (challenge, approval, enrolment, my_keys, my_hosts, sign_in_ssh, sign_in_oidc)
_DESK_MODULES = (lists, person, ssh_pass, export, actions)


def all_routes(faces: Collection[Face], clock: Clock) -> list[Route]:
    """Returns the routes of the API, the pages and the faces."""
    grants = {"client_credentials": client_credentials} | {k: v for face in faces for k, v in face.grants.items()}
    metadata = [face.metadata for face in faces if face.metadata is not None]
    finishes = {face.name: face.finish for face in faces if face.finish is not None}
    return [
        Route("/oauth2/token", in_thread(token_endpoint(grants)), methods=["POST"]),
        Route("/.well-known/openid-configuration", discovery(grants, metadata), methods=["GET"]),
        Route("/.well-known/jwks.json", jwks, methods=["GET"]),
        *(route for module in (*_API_MODULES, *_PAGE_MODULES, *_DESK_MODULES) for route in module.ROUTES),
        *browser_login.routes(finishes),
        *(route for face in faces for route in face.routes(clock)),
    ]


def create_app(
    store: Store,
    settings: Settings,
    clock: Clock = utc_now,
    metrics: Metrics | None = None,
    metrics_token: str | None = None,
    *,
    named: NamedFiles | None = None,
) -> Starlette:
    """Returns the service as an ASGI application. The caller closes the store.
    With `metrics_token` the application answers `/metrics` to clients that send this token.
    Raises `ConfigurationError` if a file that the settings name cannot be read.
    """
    routes: list[BaseRoute] = [*all_routes(all_faces().values(), clock)]
    middleware = [Middleware(ChooseLanguage), Middleware(EveryRequest)]
    if metrics is not None:
        if metrics_token is not None:
            routes.append(metrics_route(metrics, metrics_token))
        middleware.insert(0, Middleware(MeasureRequests, metrics, routes))
    app = Starlette(
        routes=routes,
        middleware=middleware,
        exception_handlers={
            ProblemError: answer_problem,
            HTTPException: answer_http_exception,
            PageError: answer_page_error,
            NotSignedInError: answer_not_signed_in,
            NoFreshPassError: answer_no_fresh_pass,
            OldGroupsError: answer_old_groups,
        },
    )
    app.router.redirect_slashes = False  # such a redirect would name the host of the request's Host header
    app.state.sshaft = make_state(store, settings, clock, named or NamedFiles())
    return app
