"""Checks from here what a client and its identity provider need of each other (`client test`)."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from sshaft.http_client import HttpClient
from sshaft_identity.clients.clients import Client
from sshaft_identity.face_support.reach import Finding, Reach
from sshaft_identity.faces import all_faces
from sshaft_identity.settings import Settings

MAX_ANSWER = 256 * 1024
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def checks(client: Client, settings: Settings, http: HttpClient | None = None) -> Iterator[Finding]:
    """Yields each finding as soon as it is known. Each may take some seconds."""
    reach = Reach(http or HttpClient(max_answer=MAX_ANSWER), settings.base_url)
    yield _public_url(reach.base_url)
    advice = "start `sshaft identity serve`; is public_url right?"
    yield reach.check_answer(f"{reach.base_url}/readyz", "the service is ready", advice)
    if client.networks:
        yield Finding(ok=True, what=f"it may call from {', '.join(client.networks)} only")
    for name, face in all_faces().items():
        if name in client.faces and face.checks is not None:
            yield from face.checks(face.options.model_validate(client.faces[name]), reach)


def _public_url(base: str) -> Finding:
    parts = urlsplit(base)
    if parts.scheme == "https":
        return Finding(ok=True, what=f"public_url is {base}")
    if parts.hostname in _LOOPBACK:
        return Finding(ok=True, what=f"public_url is {base}: loopback, so for this machine only")
    return Finding(
        ok=False, what=f"public_url is {base}", advice="browsers keep our cookies over https only: set https"
    )
