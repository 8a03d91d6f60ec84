"""Tests the shipped configurations of nginx, Caddy and Traefik with the real programs, before the real service."""

import json
import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import proxies
import pytest
import requests
from process.test_host_api_proxies import HIDING, LAST, PATH, running
from process.test_host_api_proxies import Proxy as Connection
from process.test_serve import change, identity, run
from providers.python_packages import installed

from sshaft_demo.parts import connects, free_port

SHIPPED = Path(__file__).parents[2] / "examples" / "identity"
TRAEFIK = Path(__file__).parent / "traefik" / "requirements.lock"
CLIENT = "127.0.0.2"
"""The address of the browsers. The proxy's is 127.0.0.1, so a lost header is seen."""
FORGED = "198.51.100.7"


class FromClient(requests.adapters.HTTPAdapter):
    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options, source_address=(CLIENT, 0))


def nginx(directory: Path, port: int, to: int, at: str = "127.0.0.1") -> list[str]:
    """Returns the command of nginx with the shipped configuration, whose paths and ports are those of the test."""
    site = re.sub(r"(?m)^ *listen \[::\]:443 ssl;\n", "", (SHIPPED / "nginx.conf").read_text())
    site = site.replace("listen 443", f"listen {at}:{port}").replace("127.0.0.1:8080", f"127.0.0.1:{to}")
    return proxies.nginx(directory, site)


def caddy(directory: Path, port: int, to: int) -> list[str]:
    """Returns the command of Caddy with the shipped configuration, whose paths and ports are those of the test."""
    site = re.sub(r"(?m)^id\.example\.org", f"localhost:{port}", (SHIPPED / "Caddyfile").read_text())
    return proxies.caddy(directory, site.replace("127.0.0.1:8080", f"127.0.0.1:{to}"))


def traefik(directory: Path, port: int, to: int) -> list[str]:
    """Returns the command of Traefik with the shipped configuration, whose paths and ports are those of the test."""
    settings = (SHIPPED / "traefik.yaml").read_text().replace('":443"', f'"127.0.0.1:{port}"')
    site = (SHIPPED / "traefik-identity.yaml").read_text().replace("`id.example.org`", "`localhost`")
    command = proxies.traefik(directory, settings, site.replace("127.0.0.1:8080", f"127.0.0.1:{to}"))
    return [str(installed("traefik", TRAEFIK) / command[0]), *command[1:]]


@dataclass
class Site:
    """The service in `directory`, behind a proxy at `url`."""

    url: str
    ca: Path
    directory: Path

    def browser(self) -> requests.Session:
        session = requests.Session()
        session.verify, session.trust_env = str(self.ca), False
        session.mount("https://", FromClient())
        return session

    def answers(self) -> bool:
        """Whether the site is there. Traefik listens before it has read the site."""
        try:
            return self.browser().get(f"{self.url}/healthz", timeout=20).ok
        except requests.ConnectionError:
            return False

    def opened(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(run(self.directory, "challenge", "open", "alice", "--json"))
        return found

    def cancel(self, opened: dict[str, Any]) -> None:
        run(self.directory, "challenge", "cancel", opened["id"])

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = run(self.directory, "audit", "export").splitlines()
        return [each for each in map(json.loads, lines) if each["event"] == name]


@pytest.fixture(scope="module", params=[nginx, caddy, traefik], ids=["nginx", "caddy", "traefik"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder, port, to = tmp_path_factory.mktemp("proxy"), free_port(), free_port()
    ca, url = proxies.make_certificate(folder, "localhost"), f"https://localhost:{port}"
    command = request.param(folder, port, to)
    program = shutil.which(command[0], path=PATH)
    if program is None:
        pytest.skip(f"needs {command[0]}: apt-get install {command[0]}")
    run(folder / "id", "init", "--listen", f"127.0.0.1:{to}", "--public-url", url)
    run(folder / "id", "user", "add", "alice")
    change(folder / "id", trusted_proxies=["127.0.0.1"])
    made = Site(url, ca, folder / "id")
    with (
        running(identity(folder / "id", "serve"), lambda: connects(to)),
        running([program, *command[1:]], made.answers, HOME=str(folder)),
    ):
        yield made


def test_examples_name_what_identity_json_needs() -> None:
    assert sorted(path.name for path in SHIPPED.iterdir()) == [
        "Caddyfile", "nginx.conf", "traefik-identity.yaml", "traefik.yaml",
    ]  # fmt: skip
    for name in ("Caddyfile", "nginx.conf", "traefik-identity.yaml"):
        text = (SHIPPED / name).read_text()
        assert (
            '# identity.json needs "public_url": "https://id.example.org" and "trusted_proxies": ["127.0.0.1"].' in text
        )


def test_proxy_names_the_client_itself_whatever_the_client_wrote(site: Site) -> None:
    before = len(site.events("challenge.created"))
    claims = (
        {},
        {"X-Forwarded-For": FORGED},
        {"X-Forwarded-For": f"{FORGED}, 127.0.0.1"},
        {"x-forwarded-for": FORGED, "Forwarded": f"for={FORGED}", "X-Real-IP": FORGED, "X_Forwarded_For": FORGED},
        {"Connection": "close, X-Forwarded-For", "X-Forwarded-For": FORGED},
    )
    for headers in claims:
        begun = site.browser().post(
            f"{site.url}/sign-in/ssh", data=b"", allow_redirects=False, timeout=20,
            headers={"Origin": site.url, "Content-Type": "application/x-www-form-urlencoded", **headers},
        )  # fmt: skip
        assert (begun.status_code, begun.headers["Location"]) == (303, "/sign-in/ssh"), begun.text
    created = site.events("challenge.created")[before:]
    assert [each["facts"]["browser_address"] for each in created] == [CLIENT] * len(claims)


def test_pages_keep_their_headers_and_cookies_and_get_hsts(site: Site) -> None:
    answer = site.browser().get(site.url, timeout=20)
    assert answer.status_code == 200
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    browser = site.browser()
    form = {"Origin": site.url, "Content-Type": "application/x-www-form-urlencoded"}
    page = browser.post(f"{site.url}/sign-in/ssh", data=b"", headers=form, timeout=20)
    assert (page.status_code, page.url) == (200, f"{site.url}/sign-in/ssh")
    assert all(each.secure and each.name.startswith("__Host-") for each in browser.cookies)
    refused = browser.post(
        f"{site.url}/sign-in/ssh", data=b"", headers=form | {"Origin": "https://evil.example"}, timeout=20
    )
    assert refused.status_code == 403


def test_events_reach_the_page_while_it_waits(site: Site) -> None:
    """A proxy that holds answers back would hold the first event until the end of the stream, which comes later."""
    opened = site.opened()
    assert opened["page_url"].startswith(f"{site.url}/challenge/")
    browser = site.browser()
    with browser.get(f"{opened['page_url']}/events", stream=True, timeout=20) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        lines = answer.iter_lines(chunk_size=1)
        assert any(line.startswith(b"data: ") for line in lines)
        site.cancel(opened)
        assert any(b"cancelled" in line for line in lines)


def test_long_poll_ends_with_the_news(site: Site) -> None:
    opened = site.opened()
    found: list[dict[str, Any]] = []

    def wait() -> None:
        found.append(site.browser().get(f"{opened['page_url']}/state?wait=25", timeout=40).json())

    waiting = threading.Thread(target=wait)
    waiting.start()
    site.cancel(opened)
    waiting.join(40)
    assert found[0]["state"] == "cancelled"


def test_body_above_the_limit_is_refused(site: Site) -> None:
    headers = {"Origin": site.url, "Content-Type": "application/x-www-form-urlencoded"}
    body = b"a=" + b"x" * (64 * 1024 - 2)
    statuses = [
        site.browser()
        .post(f"{site.url}/sign-in/ssh", data=data, headers=headers, timeout=20, allow_redirects=False)
        .status_code
        for data in (body, body + b"x")
    ]
    assert statuses == [303, 413]


def test_plain_http_is_no_way_in(site: Site) -> None:
    try:
        answer = requests.get(site.url.replace("https:", "http:"), timeout=20)
    except requests.ConnectionError:
        return
    assert answer.status_code in (400, 404)
    assert "sshaft" not in answer.text


def test_request_that_hides_in_another_one_takes_no_answer(site: Site) -> None:
    """The proxy and the service share connections. Both must find the same end of each request."""
    connection = Connection(site.url, site.ca, lambda: None)
    for headers, body in HIDING.values():
        lines = ["POST /sign-in/ssh HTTP/1.1", "Host: localhost", *headers, "", ""]
        connection.send("\r\n".join(lines) + body + LAST)
        for _ in range(3):
            assert site.browser().get(f"{site.url}/healthz", timeout=20).json() == {"status": "ok"}
