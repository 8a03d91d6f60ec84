"""Tests in a real browser that a page of another web site, as a web terminal is one, may ask `sshaft host-api`."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from fakes.host_api import INFO, FakeAgent
from fakes.unix_server import UnixServer
from selenium.webdriver.remote.webdriver import WebDriver

_ASK = """
const [url, options, done] = arguments;
fetch(url, options).then(answer => answer.json()).then(done, failure => done(String(failure)));
"""
TOKEN = {"headers": {"Authorization": "Bearer a.b.c"}}


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[FakeAgent]:
    fake = FakeAgent(tmp_path / "agent.sock")
    fake.answers["api_info"] = ("info", {"json": json.dumps(INFO)})
    fake.says_user("deployed")
    with UnixServer(fake.path, fake.answer):
        yield fake


@contextmanager
def host_api(agent: FakeAgent, **settings: object) -> Iterator[str]:
    """Yields the address of a running host-api."""
    path = agent.path.with_name("host-api.json")
    path.write_text(json.dumps({"agent_socket": str(agent.path), "port": 0, **settings}))
    command = [sys.executable, "-m", "sshaft", "host-api", "--config", str(path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        try:
            found = re.search(r'"address": "([^"]+)"', process.stderr.readline())
            assert found
            yield found[1]
        finally:
            process.kill()


@pytest.fixture
def page(browser: WebDriver) -> Iterator[WebDriver]:
    """Returns a browser that shows a page of another web site."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser.get(f"http://localhost:{server.server_port}/")
        yield browser
        server.shutdown()


def ask(page: WebDriver, url: str, options: dict[str, Any]) -> Any:
    """Returns the answer that a script of the page can read, or the failure as a text."""
    return page.execute_async_script(_ASK, url, options)


def test_page_of_another_site_asks_with_the_token_of_the_person(page: WebDriver, agent: FakeAgent) -> None:
    with host_api(agent) as url:
        assert ask(page, f"{url}/info", {})["supported_OPs"]
        answer = ask(page, f"{url}/user/get_status", TOKEN)
        assert answer == {"state": "deployed", "message": "username alice", "credentials": {}}
        agent.denies("unauthenticated")
        assert ask(page, f"{url}/user/deploy", TOKEN)["error"] == "Unauthenticated"


def test_page_of_another_site_has_no_other_rights(page: WebDriver, agent: FakeAgent) -> None:
    """It cannot use cookies of the person, nor other methods and headers."""
    with host_api(agent) as url:
        refused = {"credentials": "include"}, {"method": "DELETE"}, {"headers": {"X-Forwarded-For": "192.0.2.1"}}
        for each in refused:
            assert "TypeError" in ask(page, f"{url}/user/get_status", TOKEN | each)
    assert [fields["client_ip"] for _, fields in agent.asked] in ([], ["127.0.0.1"])


def test_operator_keeps_the_pages_of_other_sites_away(page: WebDriver, agent: FakeAgent) -> None:
    with host_api(agent, cross_origin="none") as url:
        assert "TypeError" in ask(page, f"{url}/user/deploy", TOKEN)
        assert "TypeError" in ask(page, f"{url}/info", {})
    assert "api_user" not in [kind for kind, _ in agent.asked]
