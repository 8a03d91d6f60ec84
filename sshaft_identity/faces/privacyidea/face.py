"""Defines the face `validate`: the part of privacyIDEA's API that its plugins need. No code comes from privacyIDEA.

    POST /auth                          authenticates the plugin (see `authentication`)
    POST /validate/triggerchallenge     begins a login (see `endpoints`)
    GET  /validate/polltransaction      answers whether the login has passed
    POST /validate/check                finishes a login, or begins one
    POST /validate/radiuscheck          the same for FreeRADIUS

The option `mode` of the client has two values. `poll`: the plugin shows our message with the ssh command, and polls.
`interactive`: ssh prints a code, and the person types it at the plugin. Only such a code is read from `pass`.
https://privacyidea.readthedocs.io/en/latest/modules/api/validate.html
"""

from functools import partial

from starlette.routing import Route

from sshaft_identity.face_support.face import Face
from sshaft_identity.face_support.setup import GivenOptions, Provider, Registration, app_option
from sshaft_identity.faces.privacyidea.authentication import auth
from sshaft_identity.faces.privacyidea.endpoints import check, poll, radius_check, trigger
from sshaft_identity.faces.privacyidea.options import NAME, PrivacyIdeaClient
from sshaft_identity.web.call import in_thread


def _register(given: GivenOptions, *, mode: str) -> Registration:
    return Registration({"mode": mode} | app_option(given))


FACE = Face(
    name=NAME,
    options=PrivacyIdeaClient,
    routes=lambda _clock: [
        Route("/auth", in_thread(auth), methods=["POST"]),
        Route("/validate/check", in_thread(check), methods=["POST"]),
        Route("/validate/radiuscheck", in_thread(radius_check), methods=["POST"]),
        Route("/validate/triggerchallenge", in_thread(trigger), methods=["POST"]),
        Route("/validate/polltransaction", in_thread(poll, reads=True), methods=["GET"]),
        Route("/validate/polltransaction/{id}", in_thread(poll, reads=True), methods=["GET"]),
    ],
    providers={
        "keycloak": Provider(partial(_register, mode="poll")),
        "freeradius": Provider(partial(_register, mode="interactive")),
        "privacyidea": Provider(partial(_register, mode="interactive")),
    },
)
