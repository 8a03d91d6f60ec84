"""`sshaft identity client test`: whether what a client and its provider need of each other can be reached from here."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from sshaft.deadline import Deadline
from sshaft.errors import RemoteServiceError
from sshaft.http_client import Answer, HttpClient
from sshaft_identity.clients.clients import Client
from sshaft_identity.face_support.options import NOTIFIED, Auth0Client, EntraClient, OpenIdClient
from sshaft_identity.settings import Settings

SECONDS = 5.0
MAX_ANSWER = 256 * 1024
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Finding:
    """`advice` is what to do where it is not `ok`."""

    ok: bool
    what: str
    advice: str = ""


def checks(client: Client, settings: Settings, http: HttpClient | None = None) -> Iterator[Finding]:
    """One after the other, as they come: each may take some seconds."""
    reach = _Reach(http or HttpClient(max_answer=MAX_ANSWER))
    base = settings.base_url
    yield _encrypted(base)
    yield reach.answers(f"{base}/readyz", "the service is ready", "start `sshaft identity serve`; is public_url right?")
    if client.networks:
        yield Finding(ok=True, what=f"it may call from {', '.join(client.networks)} only")
    if "openid" in client.faces:
        yield from _issuer(reach, base, "")
        for uri in OpenIdClient.model_validate(client.faces["openid"]).redirect_uris:
            yield reach.is_there(uri)
    for face in sorted(client.faces.keys() & NOTIFIED.keys()):
        url = NOTIFIED[face].model_validate(client.faces[face]).notification_endpoint
        if url is not None:
            yield reach.is_there(url, "that is told of ends of logins", "let this host call it")
    if "auth0" in client.faces:
        domain = Auth0Client.model_validate(client.faces["auth0"]).domain
        yield reach.is_there(f"https://{domain}/", "that browsers go back to")
    if "entra" in client.faces:
        yield from _issuer(reach, base, "/entra")
        url = EntraClient.model_validate(client.faces["entra"]).metadata_url
        yield reach.answers(url, "Microsoft's keys can be fetched", "let this host call it by https")


def _encrypted(base: str) -> Finding:
    parts = urlsplit(base)
    if parts.scheme == "https":
        return Finding(ok=True, what=f"public_url is {base}")
    if parts.hostname in _LOOPBACK:
        return Finding(ok=True, what=f"public_url is {base}: loopback, so for this machine only")
    return Finding(
        ok=False, what=f"public_url is {base}", advice="browsers keep our cookies over https only: set https"
    )


def _issuer(reach: "_Reach", base: str, path: str) -> Iterator[Finding]:
    """Discovery at the issuer's own address, and a key that verifies ID tokens."""
    told = reach.document(f"{base}{path}/.well-known/openid-configuration")
    advice = "a proxy in front must hand this path on unchanged"
    yield Finding(told.get("issuer") == base + path, f"the issuer {base}{path} says so itself", advice)
    keys = reach.document(str(told.get("jwks_uri", f"{base}{path}"))).get("keys")
    algorithms = [each.get("alg") for each in keys if isinstance(each, dict)] if isinstance(keys, list) else []
    yield Finding("RS256" in algorithms, "a key for ID tokens (RS256) is published", "run `sshaft identity init`")


@dataclass(frozen=True, slots=True)
class _Reach:
    http: HttpClient

    def get(self, url: str) -> Answer | str:
        """The answer, or why there is none."""
        try:
            return self.http.send("GET", url, Deadline.after(SECONDS))
        except RemoteServiceError as error:
            return str(error)

    def answers(self, url: str, what: str, advice: str) -> Finding:
        answer = self.get(url)
        if isinstance(answer, str):
            return Finding(ok=False, what=f"{what}: {answer}", advice=advice)
        return Finding(answer.status == 200, f"{what}: {url} answers {answer.status}", advice)

    def is_there(
        self, uri: str, of: str = "of the redirect URI", advice: str = "browsers must reach it; this host need not"
    ) -> Finding:
        """Whatever it answers, a redirect or an error too: somebody is there, with a good certificate."""
        parts = urlsplit(uri)
        origin = f"{parts.scheme}://{parts.netloc}/"
        answer = self.get(origin)
        gone = isinstance(answer, str) and "answered" not in answer
        what = f"the host {of}, {origin}: {answer}" if gone else f"the host {of}, {origin} is there"
        return Finding(not gone, what, advice)

    def document(self, url: str) -> Mapping[str, Any]:
        """The JSON object there; an empty one where there is none."""
        answer = self.get(url)
        if isinstance(answer, str):
            return {}
        try:
            found = json.loads(answer.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}
