"""Starts `sshaft web` for a host with token login: throwaway provider, agent, API, and a real sshd with our module."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from e2e.hosts import AUDIENCE, NO_BROWSER, Host, host_in, tokens

from sshaft_demo.parts import HostApi, Web, free_port, wait_for
from sshaft_demo.place import Place
from sshaft_demo.web_client import TerminalPage, WebBrowser

CLIENT_ID = "demo-web"
_SETTINGS = "Subsystem sftp internal-sftp\nPubkeyAuthentication yes\n"


@dataclass
class WebSite:
    """A running `sshaft web`, its host, and the host's API."""

    host: Host
    api: HostApi
    web: Web

    @property
    def place(self) -> Place:
        return self.host.place

    def browser(self, user: str = "") -> WebBrowser:
        """Returns a browser in which a person has signed in."""
        return WebBrowser(self.web.url).sign_in(user or self.place.person)

    def events(self, name: str) -> list[dict[str, Any]]:
        """Returns the log events of this name."""
        lines = [json.loads(line) for line in self.place.log(self.web.name).splitlines()]
        return [line for line in lines if line["event"] == name]

    def wait(self, is_so: Callable[[], bool]) -> None:
        """Waits until `is_so()`."""
        wait_for(is_so, self.web.process, lambda: self.place.log(self.web.name), "what the test waits for")

    def terminal(self) -> TerminalPage:
        """Returns the page of an open terminal, in a new browser."""
        browser = self.browser()
        page = browser.attach(browser.open())
        page.wait_until("open")
        return page


def settings(host: Host, api: str | None, **more: Any) -> dict[str, Any]:
    """Returns the members of web.json for this host, without its address."""
    return {
        "provider": {"issuer": host.provider.issuer, "client_id": CLIENT_ID, "audience": AUDIENCE},
        "targets": {"host": {"host": "127.0.0.1", "port": host.sshd.port, "api": api,
                             "known_hosts": str(host.place.known_hosts)}},
        **more,
    }  # fmt: skip


@contextmanager
def web_site(place: Place, sshd: str = _SETTINGS, **more: Any) -> Iterator[WebSite]:
    """Yields a running `sshaft web` with one host. `sshd` are lines of its sshd_config, `more` members of web.json."""
    port = free_port()
    back_channel = {CLIENT_ID: f"http://localhost:{port}/back-channel-logout"}
    with host_in(place, sshd, back_channel=back_channel, **NO_BROWSER, tokens=tokens) as host:
        api = HostApi(place, host.agent.runtime)
        yield WebSite(host, api, Web(place, settings(host, api.url, **more), port))
