"""Approves ssh logins in a trial: by an identity service whose people sign in at the throwaway provider."""

import html
import json
import re
from dataclasses import dataclass
from typing import Any

import click
import requests

from sshaft.errors import ConfigurationError
from sshaft.text import printable
from sshaft_demo.host import MODULE, DemoProvider, HostSshd, Terminal, check_login, show, stay
from sshaft_demo.parts import Agent, Identity, free_port
from sshaft_demo.place import AGENT, Place, StartError
from sshaft_demo.provider import CLIENT_ID
from sshaft_demo.steps import Steps, until_stopped

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
        limits = {"person": 1000, "source": 1000}  # all logins of a trial come from one address
        path.write_text(json.dumps(json.loads(path.read_text()) | {"oidc": oidc, "approval_limits": limits}))
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


@click.command()
@click.option("--once", is_flag=True, help="End after the scripted login; exit status 0 if it passed.")
@click.option("--port", default=2222, show_default=True, help="The port of sshd, or the next free one.")
@click.option(
    "--identity-port", default=8080, show_default=True, help="The port of the identity service, or the next free one."
)
@click.option("--provider-port", default=8090, show_default=True, help="The provider's port, or the next free one.")
def approval(*, once: bool, port: int, identity_port: int, provider_port: int) -> None:
    """Approve a login to this machine for real: identity service, OpenID Provider, agent, sshd and ssh on loopback.

    A script signs in to the page of the identity service, approves, and types the digits into ssh. Then everything
    stays up for you to try, until Ctrl-C. Nothing is left behind.
    """
    if not MODULE.exists():
        raise ConfigurationError("native/pam_sshaft.so is missing; ./dev setup host builds it")
    with until_stopped(once=once) as step, Place() as place:
        step(f"a folder for this run: {place.summary}")
        provider = DemoProvider(place, free_port(provider_port))
        approver = Approver(place, provider, free_port(identity_port))
        step(f"identity service up: {approver.identity.url}; people sign in at {provider.issuer}")
        own = dict.fromkeys(("issuer", "client_id", "allow"))
        config = place.give(provider.write_config(**own, approval=approver.settings()), AGENT, 0o600)
        sshd = HostSshd(place, Agent(place, config).runtime / "host" / "agent.sock", free_port(port))
        step(f"agent and sshd up: 127.0.0.1 port {sshd.port}, with pam_sshaft.so in its PAM stack")
        _log_in(step, sshd)
        if not once:
            stay(
                sshd,
                f"open the address that ssh shows, and sign in as {place.person} or as mallory",
                f"the logs     tail -f {place.directory}/*.log",
                f"the audit    sshaft identity --directory {approver.identity.directory} audit list",
            )


def _log_in(step: Steps, sshd: HostSshd) -> None:
    """Runs ssh in a terminal, approves on the page, and types the digits. Raises `StartError` if no shell opens."""
    user = sshd.place.person
    step(f"$ ssh {user}@127.0.0.1 -p {sshd.port}")
    terminal = Terminal(sshd.command(user, "-t", "echo logged in as $(id -u), on the terminal $SSH_TTY"))
    said = terminal.wait_for(ASKS)
    show(said)
    visit = Visit(said)
    digits = visit.sign_in(user).press("approve").digits
    step(f"{user} signs in on the page and approves; the page shows {digits or visit.state}")
    terminal.type(f"{digits}\n")
    said, status = terminal.end()
    line = next((line for line in said.splitlines() if "logged in" in line), "no shell")
    step(f"ssh: {printable(line.strip())} (exit status {status})")
    check_login(said, status, sshd)
