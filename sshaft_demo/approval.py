"""Approves ssh logins in a trial: by an identity service whose people sign in at the throwaway provider."""

import html
import json
import re
from dataclasses import dataclass
from typing import Any

import requests

from sshaft_demo.host import DemoProvider
from sshaft_demo.parts import Identity
from sshaft_demo.place import Place, StartError
from sshaft_demo.provider import CLIENT_ID

ASKS = "Type the six digits that the page shows: "
_SECONDS = 10


@dataclass
class Approver:
    """A running identity service. It knows `place.person`, and mallory."""

    place: Place
    provider: DemoProvider
    port: int

    def __post_init__(self) -> None:
        self.identity = Identity(self.place, self.port, ssh_port=1)
        for name in (self.place.person, "mallory"):
            self.identity.add_user(name)
        path = self.identity.directory / "identity.json"
        oidc = {"issuer": self.provider.issuer, "client_id": CLIENT_ID, "label": "the demo"}
        path.write_text(json.dumps(json.loads(path.read_text()) | {"oidc": oidc}))
        self.restart()

    def restart(self) -> None:
        self.place.stop(self.identity.process)
        self.identity.process = self.identity.start()

    def settings(self, name: str = "host", **changes: Any) -> dict[str, Any]:
        """Adds a client for a host, and returns its `host_login.approval`."""
        client = json.loads(self.identity.run("client", "add", name, "--scope", "approvals", "--json"))
        return {"url": self.identity.url, "client_id": client["client_id"], "client_secret": client["client_secret"],
                "allow": {"everyone": True}} | changes  # fmt: skip


class Visit:
    """A browser at the page of an approval. It answers the page as a person does, without scripts."""

    def __init__(self, said: str) -> None:
        """Opens the address that ssh shows. Raises `StartError` if there is none."""
        found = re.search(r"^ +(\S+/approve/\S+)\s*$", said, re.MULTILINE)
        if found is None:
            raise StartError(f"ssh shows no page\n{said}")
        self.address = found[1]
        self._browser = requests.Session()
        self._browser.trust_env = False
        self.look()

    def look(self) -> "Visit":
        """Loads the page again."""
        return self._show(self._browser.get(self.address, timeout=_SECONDS))

    def sign_in(self, user: str) -> "Visit":
        """Signs in at the provider, which leads back to the page."""
        asked = self._browser.get(f"{self.address}/sign-in/oidc", timeout=_SECONDS)
        return self._show(self._browser.post(asked.url, data={"user": user}, timeout=_SECONDS))

    def press(self, answer: str) -> "Visit":
        """Presses Approve, Deny or "I don't know this": `approve`, `deny` or `report`."""
        found = re.search(r'name="form_token" value="([^"]*)"', self.text)
        form = {"form_token": html.unescape(found[1]) if found else ""}
        headers = {"Sec-Fetch-Site": "same-origin"}
        return self._show(self._browser.post(f"{self.address}/{answer}", form, headers=headers, timeout=_SECONDS))

    @property
    def state(self) -> str:
        found = re.search(r'data-state="([a-z_]+)"', self.text)
        return found[1] if found else ""

    @property
    def digits(self) -> str:
        """Returns the six digits. Empty: the page shows none."""
        found = re.search(r'id="digits">(.*?)</code>', self.text)
        return "" if found is None else re.sub("[^0-9]", "", found[1])

    def _show(self, answer: requests.Response) -> "Visit":
        self.text = answer.text
        return self
