"""The wiring: addresses to endpoints, and around them what holds for every request."""

from collections.abc import Iterable

from cryptography import x509
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Route

from sshaft_identity.api import challenges, enrolments, openapi, sshd
from sshaft_identity.api.discovery import discovery, jwks
from sshaft_identity.api.token import client_credentials, token_endpoint
from sshaft_identity.common.times import Clock, utc_now
from sshaft_identity.database.batches import Batches
from sshaft_identity.database.changes import Changes
from sshaft_identity.face_support import browser_login
from sshaft_identity.faces import auth0, cas, ciba, code_back, ibm_verify, keycloak_ciba, privacyidea
from sshaft_identity.faces.entra import face
from sshaft_identity.faces.entra.hints import EntraHints
from sshaft_identity.faces.openid_provider import authorize, tokens
from sshaft_identity.pages import challenge, enrolment, my_keys, sign_in_oidc, sign_in_ssh
from sshaft_identity.pages.signed_in import NobodyError, answer_nobody
from sshaft_identity.service import health
from sshaft_identity.service.account_parts import account_parts
from sshaft_identity.service.every_request import EveryRequest
from sshaft_identity.service.metrics import Measured, Metrics
from sshaft_identity.service.metrics import route as metrics_route
from sshaft_identity.settings import Settings
from sshaft_identity.store import Store
from sshaft_identity.web.call import in_thread
from sshaft_identity.web.html import PageError, answer_page_error
from sshaft_identity.web.problem import ProblemError, answer_http_exception, answer_problem
from sshaft_identity.web.state import AppState

POSTGRESQL_THREADS = 8
"""More wait for the interpreter rather than for the database."""

GRANTS = {
    "client_credentials": client_credentials,
    "authorization_code": tokens.authorization_code,
    ciba.GRANT: ciba.tokens,
}
METADATA = [authorize.metadata, ciba.metadata]
FINISHES = {authorize.FACE: authorize.finish, face.FACE: face.finish, auth0.FACE: auth0.finish}
ROUTES = [
    Route("/oauth2/token", in_thread(token_endpoint(GRANTS)), methods=["POST"]),
    Route("/api/v1/mfa/ssh/keys", in_thread(sshd.list_keys, reads=True), methods=["GET"]),
    Route("/api/v1/mfa/ssh/accept", in_thread(sshd.accept), methods=["POST"]),
    Route("/api/v1/mfa/ssh/reject", in_thread(sshd.reject), methods=["POST"]),
    Route("/api/v1/challenges", in_thread(challenges.open_challenge), methods=["POST"]),
    Route("/api/v1/challenges/{id}", challenges.get_challenge, methods=["GET"]),
    Route("/api/v1/challenges/{id}/verify", in_thread(challenges.verify), methods=["POST"]),
    Route("/api/v1/challenges/{id}/consume", in_thread(challenges.consume), methods=["POST"]),
    Route("/api/v1/challenges/{id}/cancel", in_thread(challenges.cancel), methods=["POST"]),
    Route("/api/v1/mfa/ssh/enrol", in_thread(enrolments.present), methods=["POST"]),
    Route("/api/v1/enrolments", in_thread(enrolments.invite), methods=["POST"]),
    Route("/api/v1/enrolments/{id}", enrolments.get_enrolment, methods=["GET"]),
    Route("/enrol/{page_token}", enrolment.page, methods=["GET"]),
    Route("/enrol/{page_token}", enrolment.decide, methods=["POST"]),
    Route("/enrol/{page_token}/state", enrolment.page_state, methods=["GET"]),
    Route("/challenge/{page_token}", challenge.page, methods=["GET"]),
    Route("/challenge/{page_token}", challenge.type_code, methods=["POST"]),
    Route("/challenge/{page_token}/state", challenge.page_state, methods=["GET"]),
    Route("/challenge/{page_token}/events", challenge.page_events, methods=["GET"]),
    Route("/", sign_in_ssh.sign_in, methods=["GET"]),
    Route("/account", sign_in_ssh.sign_in, methods=["GET"]),
    Route("/sign-in/ssh", sign_in_ssh.page, methods=["GET"]),
    Route("/sign-in/ssh", sign_in_ssh.begin, methods=["POST"]),
    Route("/sign-in/ssh/state", sign_in_ssh.page_state, methods=["GET"]),
    Route("/sign-in/ssh/events", sign_in_ssh.page_events, methods=["GET"]),
    Route("/sign-in/oidc", sign_in_oidc.begin, methods=["GET"]),
    Route("/sign-in/oidc/callback", sign_in_oidc.come_back, methods=["GET"]),
    Route("/account/keys", my_keys.keys, methods=["GET"]),
    Route("/account/keys/rename", my_keys.rename, methods=["POST"]),
    Route("/account/keys/remove", my_keys.ask_to_remove, methods=["GET"]),
    Route("/account/keys/remove", my_keys.remove, methods=["POST"]),
    Route("/account/keys/enrol", my_keys.enrol, methods=["POST"]),
    Route("/account/activity", my_keys.activity, methods=["GET"]),
    Route("/account/sign-out", my_keys.sign_out, methods=["POST"]),
    Route("/account/sign-out-everywhere", my_keys.sign_out_everywhere, methods=["POST"]),
    Route("/oauth2/authorize", in_thread(authorize.authorize), methods=["GET", "POST"]),
    Route("/oauth2/userinfo", in_thread(tokens.userinfo), methods=["GET", "POST"]),
    Route("/oauth2/bc-authorize", in_thread(ciba.bc_authorize), methods=["POST"]),
    Route("/code-back/init", in_thread(code_back.init), methods=["POST"]),
    Route("/code-back/verify", in_thread(code_back.verify), methods=["POST"]),
    Route("/cas", in_thread(cas.store), methods=["POST"]),
    Route("/cas/new", in_thread(cas.new), methods=["GET", "POST"]),
    Route("/cas/{code}", in_thread(cas.check), methods=["GET", "POST"]),
    Route("/ibm-verify/enrollments", in_thread(ibm_verify.enrollments), methods=["POST"]),
    Route("/ibm-verify/initiate", in_thread(ibm_verify.initiate), methods=["POST"]),
    Route("/ibm-verify/validate", in_thread(ibm_verify.validate), methods=["POST"]),
    Route("/keycloak-ciba/{client_id}/{secret}", in_thread(keycloak_ciba.ask), methods=["POST"]),
    Route("/auth0/{client_id}", in_thread(auth0.begin), methods=["GET"]),
    Route("/auth", in_thread(privacyidea.auth), methods=["POST"]),
    Route("/validate/check", in_thread(privacyidea.check), methods=["POST"]),
    Route("/validate/radiuscheck", in_thread(privacyidea.radius_check), methods=["POST"]),
    Route("/validate/triggerchallenge", in_thread(privacyidea.trigger), methods=["POST"]),
    Route("/validate/polltransaction", in_thread(privacyidea.poll, reads=True), methods=["GET"]),
    Route("/validate/polltransaction/{id}", in_thread(privacyidea.poll, reads=True), methods=["GET"]),
    Route("/login/{id}", browser_login.page, methods=["GET"]),
    Route("/login/{id}/state", browser_login.page_state, methods=["GET"]),
    Route("/login/{id}/events", browser_login.page_events, methods=["GET"]),
    Route("/login/{id}/finish", browser_login.finishing(FINISHES), methods=["GET"]),
    Route("/.well-known/openid-configuration", discovery(GRANTS, METADATA), methods=["GET"]),
    Route("/entra/.well-known/openid-configuration", face.discovery, methods=["GET"]),
    Route("/entra/jwks.json", face.jwks, methods=["GET"]),
    Route("/entra/authorize", face.authorize, methods=["POST"]),
    Route("/.well-known/jwks.json", jwks, methods=["GET"]),
    Route("/openapi.json", openapi.openapi, methods=["GET"]),
    Route("/healthz", health.healthz, methods=["GET"]),
    Route("/readyz", health.readyz, methods=["GET"]),
]


def create_app(
    store: Store,
    settings: Settings,
    clock: Clock = utc_now,
    metrics: Metrics | None = None,
    metrics_token: str | None = None,
    *,
    roots: Iterable[x509.Certificate] = (),
) -> Starlette:
    """The service as an ASGI application. The store stays the caller's to close. With `metrics_token` it answers
    `/metrics` itself.
    """
    routes: list[BaseRoute] = [*ROUTES]
    middleware = [Middleware(EveryRequest)]
    if metrics is not None:
        if metrics_token is not None:
            routes.append(metrics_route(metrics, metrics_token))
        middleware.insert(0, Middleware(Measured, metrics, routes))
    app = Starlette(
        routes=routes,
        middleware=middleware,
        exception_handlers={
            ProblemError: answer_problem,
            HTTPException: answer_http_exception,
            PageError: answer_page_error,
            NobodyError: answer_nobody,
        },
    )
    app.router.redirect_slashes = False  # it would answer with an address made from the Host header
    reads = writes = Batches(threads=POSTGRESQL_THREADS, most=1)
    if not store.database.is_postgresql:
        reads, writes = Batches(store.clients.of_batch), Batches(store.together)
    app.state.sshaft = AppState(
        store,
        settings,
        clock,
        Changes(clock),
        reads=reads.run,
        writes=writes.run,
        roots=list(roots),
        entra=EntraHints(clock),
        **account_parts(store, settings, clock),
    )
    return app
