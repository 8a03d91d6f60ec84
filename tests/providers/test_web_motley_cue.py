"""Tests `sshaft web` with the real motley_cue as the API of its host, and an sshd whose PAM stack asks motley_cue."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from providers.test_motley_cue import asking_sshd

from bench.load.motley_cue import motley_cue
from bench.load.token_trial import AUDIENCE, TokenProvider
from sshaft_demo.parts import Web, free_port
from sshaft_demo.place import WEB, Place, StartError
from sshaft_demo.web_client import WebBrowser

pytestmark = [pytest.mark.root, pytest.mark.timeout(900)]  # the first run installs motley_cue


@dataclass
class Site:
    place: Place
    provider: TokenProvider
    web: Web

    def browser(self) -> WebBrowser:
        browser = WebBrowser(self.web.url)
        browser.http.verify = str(self.provider.authorities)
        return browser.sign_in(self.place.person)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Place() as place:
        provider, folder = TokenProvider(place, free_port()), place.directory / "motley_cue"
        folder.mkdir()
        try:
            with (
                motley_cue(folder, provider.issuer, provider.authorities) as service,
                asking_sshd(place, service.url) as sshd,
            ):
                authorities = place.give(provider.authorities, WEB, 0o444)
                client = {"issuer": provider.issuer, "client_id": "web", "ca_file": str(authorities),
                          "audience": AUDIENCE}  # fmt: skip
                host = {"host": "127.0.0.1", "port": sshd.port, "api": service.url,
                        "known_hosts": str(place.known_hosts)}  # fmt: skip
                yield Site(place, provider, Web(place, {"provider": client, "targets": {"host": host}}))
        except StartError as error:
            if "installed" in str(error):
                pytest.skip(str(error))
            raise


def test_person_works_on_a_host_with_motley_cue(site: Site) -> None:
    browser = site.browser()
    for _ in range(2):  # the first login makes the account
        page = browser.attach(browser.open())
        assert page.wait_until("open", seconds=90)["account"] == site.place.person
        page.type("echo i''n\n")
        page.wait_for("in\r\n")
