"""Tests host login at the real Glewlwyd of Debian, with the real sshd, ssh and PAM."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from providers import glewlwyd
from providers.glewlwyd import CLIENT, PASSWORD, SECRET, Glewlwyd
from providers.glewlwyd_pages import Pages
from selenium.webdriver.common.by import By
from web.looking import click, seconds_until
from web.pictures import Pictures

from sshaft_demo.host import MODULE, HostSshd, Terminal
from sshaft_demo.parts import Agent, free_port
from sshaft_demo.place import AGENT, Place


@dataclass
class Host:
    place: Place
    server: Glewlwyd
    issuer: str
    agent: Agent
    sshd: HostSshd

    def configure(self, **changes: Any) -> None:
        """Starts the agent anew with these members of `host_login`."""
        write_config(self.place, self.issuer, **changes)
        self.place.stop(self.agent.process)
        self.agent.process = self.agent.start()


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    if not MODULE.exists():
        pytest.skip("native/pam_sshaft.so is not built: ./dev setup host")
    with glewlwyd.running(tmp_path_factory.mktemp("glewlwyd")) as server, Place() as place:
        issuer = server.set_up_provider(place.person, CLIENT, SECRET)
        place.folder("state", AGENT, 0o700)
        agent = Agent(place, write_config(place, issuer))
        sshd = HostSshd(place, agent.runtime / "host" / "agent.sock", free_port())
        yield Host(place, server, issuer, agent, sshd)


def write_config(place: Place, issuer: str, **changes: Any) -> Path:
    """Writes the files that the agent alone can read."""
    secret, config = place.directory / "client-secret", place.directory / "config.json"
    secret.write_text(SECRET)
    host_login = {
        "issuer": issuer, "client_id": CLIENT, "client_secret_file": str(secret), "scopes": ["openid"],
        "claim": "username", "allow": {"everyone": True}, "pending_per_user": 3,
        "state_directory": str(place.directory / "state"),
    } | changes  # fmt: skip
    config.write_text(json.dumps({"host_login": host_login}))
    for path in (secret, config):
        place.give(path, AGENT, 0o600)
    return config


@pytest.mark.parametrize("identity_from", ["id_token", "introspection", "userinfo"])
def test_person_who_approves_at_glewlwyd_gets_a_shell(host: Host, identity_from: str) -> None:
    """The subject is the same in all of them, so the account stays bound to the person."""
    host.configure(identity_from=identity_from)
    said, status = glewlwyd.approved_login(host.server, host.sshd)
    assert (said.split(), status) == (["in"], 0), said + host.place.log("agent")


def test_person_approves_in_a_browser(host: Host, pictures: Pictures) -> None:
    browser, pages = pictures.browser, Pages(host.server, pictures.browser)
    terminal = Terminal(host.sshd.command(host.place.person, "echo in"))
    address = re.search(r"http://\S+/device\?code=\S+", terminal.wait_for("approved the login: "))
    assert address
    browser.get(address[0])
    pages.type({"username": host.place.person, "password": PASSWORD})
    click(browser, By.ID, "loginbut")
    seconds_until(lambda: f"Connection to {CLIENT}" in browser.find_element(By.ID, "root").text)
    pictures.take("glewlwyd-device", "#root .card")
    click(browser, By.XPATH, "//button[contains(., 'Continue')]")
    seconds_until(lambda: "Authorization complete" in browser.find_element(By.ID, "root").text)
    terminal.type("\n")
    said, status = terminal.end()
    assert (said.split(), status) == (["in"], 0), said + host.place.log("agent")


def test_code_that_nobody_approves_opens_nothing(host: Host) -> None:
    terminal = Terminal(host.sshd.command(host.place.person, "echo in"))
    terminal.wait_for("approved the login: ")
    terminal.type("\n")
    assert "not approved yet" in terminal.wait_for("approved the login: ")
    terminal.type("\x03")
    assert terminal.end()[1] != 0
