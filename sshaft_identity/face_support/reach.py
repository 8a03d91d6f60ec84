"""Checks for `client test` whether the addresses that a client and its provider need can be reached from this host."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from sshaft.deadline import Deadline
from sshaft.errors import RemoteServiceError
from sshaft.http_client import Answer, HttpClient

REQUEST_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. `advice` tells the operator what to do if it is not `ok`."""

    ok: bool
    what: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Reach:
    """Sends requests to other hosts. `base_url` is our public address. A request takes `REQUEST_SECONDS` at most."""

    http: HttpClient
    base_url: str

    def check_answer(self, url: str, what: str, advice: str) -> Finding:
        """Checks whether the address answers with status 200."""
        answer = self._get(url)
        if isinstance(answer, str):
            return Finding(ok=False, what=f"{what}: {answer}", advice=advice)
        return Finding(answer.status == 200, f"{what}: {url} answers {answer.status}", advice)

    def check_host(
        self, uri: str, of: str = "of the redirect URI", advice: str = "browsers must reach it; this host need not"
    ) -> Finding:
        """Checks whether the host answers, with a valid certificate. Any HTTP status counts as an answer."""
        parts = urlsplit(uri)
        origin = f"{parts.scheme}://{parts.netloc}/"
        answer = self._get(origin)
        gone = isinstance(answer, str) and "answered" not in answer
        what = f"the host {of}, {origin}: {answer}" if gone else f"the host {of}, {origin} answers"
        return Finding(not gone, what, advice)

    def check_issuer(self, path: str = "") -> Iterator[Finding]:
        """Checks whether our discovery document below `path` and a key for ID tokens are published."""
        issuer = self.base_url + path
        document = self._document(f"{issuer}/.well-known/openid-configuration")
        advice = "a proxy in front of this service must pass this path on unchanged"
        yield Finding(document.get("issuer") == issuer, f"the discovery document has the issuer {issuer}", advice)
        keys = self._document(str(document.get("jwks_uri", issuer))).get("keys")
        algorithms = [each.get("alg") for each in keys if isinstance(each, dict)] if isinstance(keys, list) else []
        yield Finding("RS256" in algorithms, "a key for ID tokens (RS256) is published", "run `sshaft identity init`")

    def _document(self, url: str) -> Mapping[str, Any]:
        """Returns the JSON object at the address, or an empty one."""
        answer = self._get(url)
        if isinstance(answer, str):
            return {}
        try:
            found = json.loads(answer.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def _get(self, url: str) -> Answer | str:
        """Returns the answer, or the reason why there is none."""
        try:
            return self.http.send("GET", url, Deadline.after(REQUEST_SECONDS))
        except RemoteServiceError as error:
            return str(error)
