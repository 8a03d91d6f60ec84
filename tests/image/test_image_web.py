"""Tests that the image serves SSH in the browser, and the API of token login, as accounts without any right."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from image.containers import CHECKOUT, Site, documented_command, wait_until

from bench.load.container_engine import Engine

WEB_UID = 484


@pytest.fixture
def web(engine: Engine, image: str, site: Site, tmp_path: Path) -> Iterator[str]:
    """Returns the address of a `sshaft web` that was started by the documented command with the project's example."""
    directory = tmp_path / "web"
    directory.mkdir()
    settings = json.loads((CHECKOUT / "examples/web/web.json").read_text()) | {"host": "0.0.0.0"}
    (directory / "web.json").write_text(json.dumps(settings))
    (directory / "web-client-secret").write_text("secret")
    (directory / "web-client-secret").chmod(0o400)
    os.chown(directory / "web-client-secret", WEB_UID, -1)
    key = (site.factor.mounts.directory / "keys/ssh_host_ed25519_key.pub").read_text()
    (directory / "web-known-hosts").write_text(f"login.example.org {key}")
    *words, image_name, _, _ = documented_command("SSH in the browser")[1:]
    assert image_name == "sshaft"
    for name in ("--name", "-p", "--health-cmd"):
        place = words.index(name)
        words[place : place + 2] = []
    words = [word.replace("/etc/sshaft/web:", f"{directory}:") for word in words]
    container = engine.run("-p=127.0.0.1::8090", *words, image, "sshaft", "web")
    wait_until(lambda: '"web.ready"' in engine.logs(container), "the server is ready")
    port = engine("port", container, "8090/tcp").stdout.split()[0].rpartition(":")[2]
    assert engine("exec", container, "/usr/libexec/sshaft/healthcheck", "web").returncode == 0
    yield f"http://127.0.0.1:{port}"
    engine.remove(container)


def test_page_of_sshaft_web_comes_with_its_terminal(web: str) -> None:
    page = requests.get(web, headers={"Host": "ssh.example.org"}, timeout=5)
    assert (page.status_code, "your organisation" in page.text) == (200, True)
    root = re.search(r'"(/static/\w+/)', page.text)
    assert root
    for name in ("vendor/xterm.mjs", "vendor/xterm.css", "vendor/LICENSES.txt"):
        answer = requests.get(f"{web}{root[1]}{name}", timeout=5)
        assert (answer.status_code, len(answer.content) > 1000) == (200, True), name


def test_api_of_token_login_answers_as_any_account(engine: Engine, image: str, tmp_path: Path) -> None:
    (tmp_path / "host-api.json").write_text('{"host": "0.0.0.0", "port": 8080}')
    options = ["--user=1234:1234", "--read-only", "--cap-drop=ALL", "-p=127.0.0.1::8080"]
    mount = f"-v={tmp_path}/host-api.json:/etc/sshaft/host-api.json:ro"
    container = engine.run(*options, mount, image, "sshaft", "host-api")
    wait_until(lambda: "ready" in engine.logs(container), "the server is ready")
    port = engine("port", container, "8080/tcp").stdout.split()[0].rpartition(":")[2]
    assert requests.get(f"http://127.0.0.1:{port}/", timeout=5).status_code == 200
    assert requests.get(f"http://127.0.0.1:{port}/info", timeout=5).status_code == 503  # the agent is not there
    engine.remove(container)
