"""Tests approved ssh logins at two hosts in networks of their own, for people of the real Glewlwyd, in Chromium.

Real parts: Glewlwyd, Chromium, nginx with TLS, identity service; at each host agent, sshaft-accounts, PAM and sshd.
"""

import json
import re
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import proxies
import pytest
from fakes.computers import Computer, computers
from fakes.first_login_machine import FirstLoginMachine
from process.test_host_api_proxies import PATH, running
from process.test_identity_proxies import nginx
from providers import glewlwyd
from providers.glewlwyd import CLIENT, PASSWORD, SECRET
from providers.glewlwyd_pages import Pages
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from web.conftest import starting_browsers
from web.looking import click, seconds_until

from sshaft_demo.approval import ASKS
from sshaft_demo.host import Terminal
from sshaft_demo.parts import Identity, free_port
from sshaft_demo.place import IDENTITY, SSHD, Place

pytestmark = pytest.mark.root
MINUTE = 60
NAMES = ("web1", "web2")
SSHD_SETTINGS = ("AuthenticationMethods publickey,keyboard-interactive:pam", "PermitRootLogin no")
IS_IN = "is-in"
STAYS = f"echo {IS_IN}; exec sed -u s/ping/pong/"
"""Answers `ping` with `pong` until the connection ends."""


@dataclass
class Host:
    """A host of the organisation."""

    computer: Computer
    machine: FirstLoginMachine

    def report(self) -> None:
        """Lets the agent report to the identity service at once, as the clock does within 30 seconds."""
        self.machine.agent.process.send_signal(signal.SIGHUP)


@dataclass
class Lab:
    """The organisation: its people sign in at Glewlwyd, and log in to the hosts with a key and an approval."""

    place: Place
    identity: Identity
    url: str
    here: Computer
    browser: WebDriver
    pages: Pages
    key: Path
    hosts: list[Host] = field(default_factory=list)
    terminals: list[Terminal] = field(default_factory=list)

    def ssh(self, host: Host, command: str = STAYS, client: Computer | None = None) -> Terminal:
        """Runs a command on the host by ssh. `client` is where ssh runs."""
        options = {"UserKnownHostsFile": self.place.known_hosts, "IdentityFile": self.key, "IdentitiesOnly": "yes",
                   "IdentityAgent": "none"}  # fmt: skip
        own = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        target = f"{self.place.person}@{host.computer.address}"
        self.terminals.append(Terminal((client or self.here).command("ssh", "-F", "none", *own, target, command)))
        return self.terminals[-1]

    def asks(self, host: Host, client: Computer | None = None) -> tuple[Terminal, str]:
        """Begins a session, which asks for the digits. Returns its terminal, and opens the page that it shows."""
        terminal = self.ssh(host, client=client)
        said = terminal.wait_for(ASKS)
        found = re.search(r"^ +(\S+/approve/\S+)\s*$", said, re.MULTILINE)
        assert found, said + host.machine.agent.output
        self.browser.get(found[1])
        return terminal, self.state

    def facts(self) -> tuple[str, str, str]:
        """Returns host, account and client address of the login, as the page shows them beside the person's key."""
        shown = self.browser.find_elements(By.CSS_SELECTOR, "dl.facts > *")
        facts = {name.text: value.text for name, value in zip(shown[::2], shown[1::2], strict=True)}
        assert facts["Key"].startswith(f"{self.key.name}, SHA256:")
        return facts["Host"], facts["Account"], facts["From"]

    def sign_in(self) -> None:
        """Types the password at Glewlwyd, which leads back to the page."""
        click(self.browser, By.CSS_SELECTOR, "a.button.primary")
        self.pages.type({"username": self.place.person, "password": PASSWORD})
        click(self.browser, By.ID, "loginbut")
        click(self.browser, By.XPATH, "//button[contains(., 'Continue')]")
        self.wait_for_state("pending")

    def log_in(self, host: Host) -> Terminal:
        """Opens a session by an approval on the page."""
        terminal, state = self.asks(host)
        if state == "sign_in":
            self.sign_in()
        click(self.browser, By.CSS_SELECTOR, "button.primary")
        self.wait_for_state("approved")
        digits = "".join(self.browser.find_element(By.ID, "digits").text.split())
        terminal.type(f"{digits}\n")
        assert IS_IN in terminal.wait_for(IS_IN)
        self.wait_for_state("passed")
        return terminal

    def is_remembered(self, host: Host) -> bool:
        """Whether ssh opens a session and says nothing."""
        said, status = self.ssh(host, f"echo {IS_IN}").end()
        return (said, status) == (f"{IS_IN}\r\n", 0)

    def sessions(self) -> list[str]:
        """Returns the names of the sessions that "My hosts" lists."""
        self.browser.get(f"{self.url}/account/hosts")
        listed = "//h2[. = 'Open logins']/following-sibling::*[1]//h3"
        return sorted(each.text for each in self.browser.find_elements(By.XPATH, listed))

    def wait_for_sessions(self, *names: str) -> None:
        """Waits until "My hosts" lists these sessions."""
        seconds_until(lambda: self.sessions() == [f"{self.place.person} at {name}" for name in names], MINUTE)

    def end_terminals(self) -> None:
        """Ends the sessions that ssh holds."""
        for terminal in self.terminals:
            terminal.kill()

    def start_anew(self) -> None:
        """Ends the sessions, forgets the approvals, and signs the browser out everywhere."""
        self.end_terminals()
        for host in self.hosts:
            status, said = host.machine.run("host", "approvals", "remove", "--all")
            assert status == 0, said
        self.browser.execute_cdp_cmd("Network.clearBrowserCookies", {})

    @property
    def state(self) -> str:
        return self.browser.find_element(By.ID, "card").get_attribute("data-state") or ""

    def wait_for_state(self, state: str) -> None:
        seconds_until(lambda: self.state == state)


def is_open(terminal: Terminal) -> bool:
    terminal.type("ping\n")
    return "pong" in terminal.wait_for("pong")


@pytest.fixture(scope="module")
def organisation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder, program = tmp_path_factory.mktemp("lab"), shutil.which("nginx", path=PATH)
    if program is None:
        pytest.skip("needs nginx: apt-get install nginx")
    with ExitStack() as stack:
        browser = stack.enter_context(starting_browsers(folder))("--no-proxy-server", "--ignore-certificate-errors")
        server = stack.enter_context(glewlwyd.running(tmp_path_factory.mktemp("glewlwyd")))
        here, *others = stack.enter_context(computers(*NAMES))
        place, port = stack.enter_context(Place()), free_port()
        identity, url = Identity(place, free_port(), ssh_port=1), f"https://{here.address}:{port}"
        issuer = server.set_up_provider(place.person, CLIENT, SECRET, redirect_uri=f"{url}/sign-in/oidc/callback")
        configure(identity, url, issuer)
        ca = proxies.make_certificate(folder, here.address)
        words = nginx(folder, port, identity.port, here.address)[1:]
        stack.enter_context(running([program, *words], lambda: listens(here.address, port)))
        key = place.generate_key("key")
        identity.add_user(place.person, key.with_suffix(".pub"))
        lab = Lab(place, identity, url, here, browser, Pages(server, browser), key)
        stack.callback(lab.end_terminals)
        for name, computer in zip(NAMES, others, strict=True):
            approval = client(lab, name, computer) | {"ca_file": str(ca)}
            lab.hosts.append(stack.enter_context(host(lab, computer, tmp_path_factory.mktemp(name), approval)))
        yield lab


def configure(identity: Identity, url: str, issuer: str) -> None:
    """Starts the identity service anew behind nginx, with Glewlwyd as the organisation's provider."""
    secret, path = identity.directory / "glewlwyd-secret", identity.directory / "identity.json"
    secret.write_text(SECRET)
    identity.place.give(secret, IDENTITY, 0o600)
    oidc = {"issuer": issuer, "client_id": CLIENT, "client_secret_file": str(secret), "scopes": ["openid"],
            "user_claim": "username", "label": "Glewlwyd"}  # fmt: skip
    settings = {"public_url": url, "trusted_proxies": ["127.0.0.1"], "oidc": oidc}
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    identity.place.stop(identity.process)
    identity.process = identity.start()


def client(lab: Lab, name: str, computer: Computer) -> dict[str, Any]:
    """Adds a client for a host, which may call from its own address alone. Returns its `host_login.approval`."""
    words = ("client", "add", name, "--scope", "approvals", "--from", computer.address, "--json")
    made = json.loads(lab.identity.run(*words))
    return {"url": lab.url, "client_id": made["client_id"], "client_secret": made["client_secret"],
            "allow": {"everyone": True, "publickey": True}, "remember": "12h"}  # fmt: skip


@contextmanager
def host(lab: Lab, computer: Computer, folder: Path, approval: dict[str, Any]) -> Iterator[Host]:
    authorized = lab.place.directory / "authorized_keys"
    shutil.copyfile(lab.key.with_suffix(".pub"), authorized)
    with FirstLoginMachine(folder, computer=computer, methods=["approval"], approval=approval) as machine:
        machine.add_to_sshd(f"AuthorizedKeysFile {authorized}", *SSHD_SETTINGS)
        status, said = machine.enable("--require-approval", "--break-glass", "ops")
        assert status == 0, said
        options = ("-p", "22", "-h", lab.place.directory / "ssh_host_ed25519_key", "-o", "PidFile=none")
        with running(machine.command(SSHD, "-D", "-e", *options), lambda: listens(computer.address, 22)):
            yield Host(computer, machine)


def listens(address: str, port: int) -> bool:
    with suppress(OSError), socket.create_connection((address, port), 1):
        return True
    return False


@pytest.fixture
def lab(organisation: Lab) -> Lab:
    organisation.start_anew()
    return organisation


def test_approval_is_remembered_at_its_host_and_for_its_network_alone(lab: Lab) -> None:
    first, second = lab.hosts
    lab.log_in(first)
    assert lab.facts() == (NAMES[0], lab.place.person, lab.here.address)
    assert lab.is_remembered(first)
    assert lab.asks(second)[1] == "pending"
    assert lab.facts() == (NAMES[1], lab.place.person, lab.here.address)
    assert lab.asks(first, second.computer)[1] == "pending"
    assert lab.facts() == (NAMES[0], lab.place.person, second.computer.address)
    assert second.computer.address in lab.browser.find_element(By.CSS_SELECTOR, "label.confirmed").text
    assert lab.is_remembered(first)


def test_sessions_of_both_hosts_end_alone_on_my_hosts_and_together_by_a_sign_out(lab: Lab) -> None:
    first, second = lab.hosts
    ended, other = lab.log_in(first), lab.log_in(second)
    lab.wait_for_sessions(*NAMES)
    click(lab.browser, By.XPATH, f"//li[contains(., 'at {NAMES[0]}')]//button[contains(., 'End this login')]")
    seconds_until(lambda: "is ending" in lab.browser.find_element(By.TAG_NAME, "main").text)
    first.report()
    assert ended.end(MINUTE)[1] == 255
    lab.wait_for_sessions(NAMES[1])
    assert is_open(other)
    again = lab.ssh(first)
    assert IS_IN in again.wait_for(IS_IN)
    lab.wait_for_sessions(*NAMES)
    lab.identity.run("user", "sign-out", lab.place.person)
    for each, session in ((first, again), (second, other)):
        each.report()
        assert session.end(MINUTE)[1] == 255
        assert lab.asks(each)[1] == "sign_in"
