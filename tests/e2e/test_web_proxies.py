"""Tests the shipped configurations of nginx and Caddy with the real programs, in front of a real `sshaft web`."""

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import proxies
import pytest
from e2e.web_files import Files
from e2e.web_site import WebSite, web_site
from process.test_host_api_proxies import PATH, running
from websockets.exceptions import InvalidStatus

from sshaft_demo.parts import connects, free_port
from sshaft_demo.place import Place
from sshaft_demo.web_client import WebBrowser

SHIPPED = Path(__file__).parents[2] / "examples" / "web"


def nginx(directory: Path, port: int, to: int) -> list[str]:
    """Returns the command of nginx with the shipped configuration, whose paths and ports are those of the test."""
    site = re.sub(r"(?m)^ *listen \[::\]:443 ssl;\n", "", (SHIPPED / "nginx.conf").read_text())
    site = site.replace("listen 443", f"listen 127.0.0.1:{port}").replace("127.0.0.1:8090", f"127.0.0.1:{to}")
    return proxies.nginx(directory, site)


def caddy(directory: Path, port: int, to: int) -> list[str]:
    """Returns the command of Caddy with the shipped configuration, whose paths and ports are those of the test."""
    site = (SHIPPED / "Caddyfile").read_text().replace("ssh.example.org", f"localhost:{port}")
    return proxies.caddy(directory, site.replace("127.0.0.1:8090", f"127.0.0.1:{to}"))


@dataclass
class Proxied(WebSite):
    """A site behind a proxy at `url`."""

    url: str
    ca: Path

    def browser(self, user: str = "") -> WebBrowser:
        browser = WebBrowser(self.url)
        browser.http.verify = str(self.ca)
        return browser.sign_in(user or self.place.person)


@pytest.fixture(scope="module", params=[nginx, caddy], ids=["nginx", "caddy"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    folder = tmp_path_factory.mktemp("proxy")
    ca, port = proxies.make_certificate(folder, "localhost"), free_port()
    url = f"https://localhost:{port}"
    with Place() as place, web_site(place, public_url=url, trusted_proxies=["127.0.0.1"]) as behind:
        command = request.param(folder, port, behind.web.port)
        program = shutil.which(command[0], path=PATH)
        if program is None:
            pytest.skip(f"needs {command[0]}: apt-get install {command[0]}")
        with (
            running([program, *command[1:]], lambda: connects(port), HOME=str(folder)),
            pytest.MonkeyPatch.context() as patch,
        ):
            patch.setenv("SSL_CERT_FILE", str(ca))
            yield Proxied(behind.host, behind.api, behind.web, url, ca)


def test_proxy_hands_on_sign_in_and_terminal(site: Proxied) -> None:
    browser = site.browser()
    assert all(each.secure and each.name.startswith("__Host-") for each in browser.http.cookies)
    page = browser.attach(browser.open())
    page.wait_until("open")
    page.wait_for("$ ")
    page.type("echo in $((1 + 1)); exit\n")
    assert "in 2\r\n" in page.wait_for("in 2\r\n")
    assert page.wait_for_end() == 4002


def test_proxy_names_the_client_itself_and_adds_hsts(site: Proxied) -> None:
    browser = site.browser()
    headers = {"X-Forwarded-For": "198.51.100.7"}
    answer = browser.http.get(f"{site.url}/", headers=headers, timeout=10)
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    browser.http.headers.update(headers)
    browser.sign_in(site.place.person)
    assert {each["client_ip"] for each in site.events("web.signed_in")} == {"127.0.0.1"}


def test_proxy_leaves_refusals_as_they_are(site: Proxied) -> None:
    browser = site.browser()
    with pytest.raises(InvalidStatus) as refused:
        browser.socket(browser.open(), origin="https://evil.example")
    assert refused.value.response.status_code == 403
    assert browser.post("/api/terminals", {"target": "nothing"}).json()["error"] == "unknown_target"


def test_files_go_both_ways_through_the_proxy(site: Proxied) -> None:
    files = Files.of(site)
    data = os.urandom(3_000_000)
    answer = files.put("data", 0, len(data), data)
    assert answer.status_code == 200, answer.text
    assert (files.folder / "data").read_bytes() == data
    assert files.get("data").content == data
