"""`sshaft demo web` opens a terminal of a host in a browser: sign-in, token login, and a command, on this machine."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import click

from sshaft.errors import ConfigurationError
from sshaft.text import printable
from sshaft_demo.host import MODULE, DemoProvider, HostSshd
from sshaft_demo.parts import Agent, HostApi, Web, free_port, run
from sshaft_demo.place import WEB, Place
from sshaft_demo.steps import Steps, until_stopped
from sshaft_demo.web_browser import Browser, NoBrowserError
from sshaft_demo.web_client import WebBrowser

CLIENT_ID, TARGET, TITLE = "demo-web", "demo", "The host of the demo"
AUDIENCE = "https://host.demo.example"
_SSHD = "PubkeyAuthentication yes\nPrintMotd no\nPrintLastLog no\nSubsystem sftp internal-sftp\n"
_COMMAND = "echo in as $USER, on $SSH_TTY"


@dataclass
class WebHost:
    """A running `sshaft web` with one target: an sshd with token login. `more` are members of web.json.

    The `colleagues` are people who share the account of `place.person`.
    """

    place: Place
    port: int = field(default_factory=free_port)
    provider_port: int = field(default_factory=free_port)
    ssh_port: int = field(default_factory=free_port)
    more: dict[str, Any] = field(default_factory=dict)
    step: Callable[[str], None] = lambda _: None
    colleagues: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not MODULE.exists():
            raise ConfigurationError("native/pam_sshaft.so is missing; ./dev setup host builds it")
        self.url = f"http://localhost:{self.port}"
        back_channel = {CLIENT_ID: f"{self.url}/back-channel-logout"}
        self.provider = DemoProvider(self.place, self.provider_port, back_channel, self.colleagues)
        self.step(f"OpenID Provider up: {self.provider.issuer}")
        person = self.place.person
        tokens = {"issuer": self.provider.issuer, "audience": AUDIENCE, "allow": {"everyone": True},
                  "map": dict.fromkeys((person, *self.colleagues), person),
                  "advertise": {"scopes": ["openid"], "audience": AUDIENCE}}  # fmt: skip
        only_tokens = dict.fromkeys(("issuer", "client_id", "allow"))
        self.agent = Agent(self.place, self.provider.write_config(**only_tokens, tokens=[tokens]))
        self.step(f"agent up: {self.agent.runtime}/{{host,api}}/agent.sock")
        self.sshd = HostSshd(self.place, self.agent.runtime / "host" / "agent.sock", self.ssh_port, _SSHD)
        self.step(f"sshd up: 127.0.0.1 port {self.ssh_port}, with pam_sshaft.so in its PAM stack")
        self.api = HostApi(self.place, self.agent.runtime)
        self.step(f"sshaft host-api up: {self.api.url}")
        self.web = Web(self.place, self._settings(), self.port)
        self.step(f"sshaft web up: {self.url}")

    def _settings(self) -> dict[str, Any]:
        _, *key = self.place.known_hosts.read_text().split()
        target = {"title": TITLE, "host": "127.0.0.1", "port": self.ssh_port, "api": self.api.url,
                  "known_hosts": [f"[127.0.0.1]:{self.ssh_port} {' '.join(key)}"]}  # fmt: skip
        provider = {"issuer": self.provider.issuer, "client_id": CLIENT_ID, "audience": AUDIENCE,
                    "label": "the provider of the demo"}  # fmt: skip
        return {"provider": provider, "targets": {TARGET: target}, **self.more}

    def check(self) -> dict[str, Any]:
        """Returns what `sshaft web check` finds."""
        facts: dict[str, Any] = json.loads(
            run(self.place, self.place.sshaft("web", "check", "--json", "--config", self.web.config), WEB)
        )
        return facts


@click.command()
@click.option("--once", is_flag=True, help="End after the scripted terminal; exit status 0 if it passed.")
@click.option("--port", default=8090, show_default=True, help="The port of sshaft web, or the next free one.")
@click.option("--provider-port", default=8190, show_default=True, help="The provider's port, or the next free one.")
@click.option("--ssh-port", default=2222, show_default=True, help="The port of sshd, or the next free one.")
def web(*, once: bool, port: int, provider_port: int, ssh_port: int) -> None:
    """Use a terminal in the browser for real: OpenID Provider, agent, sshd, host API and sshaft web on loopback.

    Chromium signs in, opens a terminal and types a command. Without Chromium a program does what the page does. Then
    everything stays up for you to try, until Ctrl-C. Nothing is left behind.
    """
    with until_stopped(once=once) as step, Place() as place:
        step(f"a folder for this run: {place.summary}")
        host = WebHost(place, free_port(port), free_port(provider_port), free_port(ssh_port), step=step)
        found = [each["level"] for each in host.check()["findings"]]
        step(f"sshaft web check: {found.count('ok')} findings are ok, {found.count('error')} are errors")
        _use(step, host)
        if not once:
            _stay(host)


def _use(step: Steps, host: WebHost) -> None:
    """Signs in, opens a terminal, types a command, and signs out at the provider, in Chromium if there is one."""
    try:
        browser = Browser(host.place.directory / "chromium")
    except NoBrowserError as error:
        step(f"{error}; a program does what the page does")
        _use_without_browser(step, host)
        return
    user = host.place.person
    with browser:
        step("Chromium up")
        browser.sign_in(host.url, user)
        step(f"Chromium: {user} is signed in at the provider, and chooses {TITLE}")
        browser.open(TARGET)
        step("Chromium: the shell is there")
        browser.type(f"{_COMMAND}\n")
        shown = browser.wait_for("\nin as ")
        step(f"Chromium shows:{_indented(shown)}")
        began = time.monotonic()
        host.provider.sign_out()
        said = browser.wait_for_state("signed out")
        step(
            f"{user} signs out at the provider; the page says after {time.monotonic() - began:.2f} s: {printable(said)}"
        )


def _use_without_browser(step: Steps, host: WebHost) -> None:
    user = host.place.person
    browser = WebBrowser(host.url).sign_in(user)
    step(f"{user} is signed in at the provider, and chooses {TITLE}")
    with browser.attach(browser.open(TARGET)) as page:
        page.wait_for("$ ")
        step("the shell is there")
        page.type(f"{_COMMAND}\r")
        shown = page.wait_for("\nin as ") + page.wait_for("\n")
        step(f"the terminal shows:{_indented(shown)}")
        began = time.monotonic()
        host.provider.sign_out()
        code = page.wait_for_end()
        step(f"{user} signs out at the provider; after {time.monotonic() - began:.2f} s the terminal ends ({code})")


def _indented(text: str) -> str:
    return "".join(f"\n          {printable(line)}" for line in text.splitlines() if line.strip())


def _stay(host: WebHost) -> None:
    click.echo(f"""
Try it by hand:

  open         {host.url}
  the logs     tail -f {host.place.directory}/*.log

Ctrl-C ends it all and removes everything.""")
    threading.Event().wait()
