"""Tests what `sshaft doctor` finds about host-api, with a real agent and host-api in accounts of their own."""

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from e2e.hosts import NO_BROWSER, tokens

from sshaft_demo.host import DemoProvider
from sshaft_demo.parts import Agent, HostApi, free_port
from sshaft_demo.place import AGENT, HOST_API, LOGIN, Place

pytestmark = pytest.mark.root


@dataclass
class Site:
    """A host with token login. `config` is host-api.json."""

    place: Place
    provider: DemoProvider
    agent: Agent
    api: HostApi

    @property
    def config(self) -> Path:
        return self.place.directory / "host-api.json"

    def told(self, *more: str) -> dict[str, dict[str, str]]:
        """Returns the findings about host-api, and about the agent's socket for it, by check."""
        words = ("--host-api-config", self.config, "--api-user", HOST_API, *more)
        command = self.place.sshaft("doctor", "--json", "--config", self.agent.config, "--runtime-directory",
                                    self.agent.runtime, *words)  # fmt: skip
        process = self.place.popen(command, account=None, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        out, _ = process.communicate(timeout=60)
        found = json.loads(out)["findings"]
        return {each["check"]: each for each in found if each["check"].startswith(("api.", "agent.api_"))}

    def write(self, **settings: Any) -> None:
        """Changes host-api.json. The running host-api keeps what it has read."""
        self.config.write_text(json.dumps(json.loads(self.config.read_text()) | settings))


@pytest.fixture(scope="module")
def one() -> Iterator[Site]:
    with Place() as place:
        provider = DemoProvider(place, free_port())
        agent = Agent(place, provider.write_config(**NO_BROWSER, tokens=tokens(provider)))
        place.give(agent.config, AGENT, 0o400)
        yield Site(place, provider, agent, HostApi(place, agent.runtime))


@pytest.fixture
def site(one: Site) -> Iterator[Site]:
    """Returns a healthy host. What the test changes is put back."""
    files = {path: path.read_bytes() for path in (one.config, one.agent.config)}
    modes = {path: path.stat().st_mode & 0o777 for path in (*files, one.agent.runtime / "api")}
    yield one
    for path, data in files.items():
        path.write_bytes(data)
    for path, mode in modes.items():
        path.chmod(mode)


def test_healthy_host_has_only_a_note_about_the_missing_proxy(site: Site) -> None:
    found = site.told()
    assert {check: each["severity"] for check, each in found.items()} == {
        "api.account": "ok", "api.info": "ok", "api.proxy": "note"
    }  # fmt: skip


def test_host_with_token_login_alone_gets_a_hint(site: Site) -> None:
    found = site.told("--host-api-config", "/nonexistent/host-api.json")
    assert {check: each["severity"] for check, each in found.items()} == {"api.config": "note"}
    assert "mccli" in found["api.config"]["what"]


Change = Callable[[Site], object]


def of_agent(**members: Any) -> Change:
    """Returns a function that changes members of `host_login`. The running agent keeps what it has read."""

    def change(site: Site) -> None:
        read = json.loads(site.agent.config.read_text())
        site.agent.config.write_text(json.dumps({"host_login": read["host_login"] | members}))

    return change


@pytest.mark.parametrize(
    ("change", "check", "what"),
    [
        (lambda site: site.write(prot=1), "api.config", "host-api does not start: "),
        (lambda site: site.write(certificate_file="/a", private_key_file="/b"), "api.config", "cannot be used for TLS"),
        (lambda site: site.config.chmod(0o600), "api.config", "is not readable"),
        (lambda site: site.config.chmod(0o666), "api.config", "is writable by"),
        (lambda site: site.write(agent_socket="/nonexistent/agent.sock"), "agent.api_socket", "does not listen"),
        (lambda site: site.write(port=free_port()), "api.info", "does not answer (Connection refused)"),
        (lambda site: site.write(port=site.provider.port), "api.info", "is not host-api"),
        (lambda site: site.write(host="0.0.0.0"), "api.tls", "tokens cross the network"),
        (lambda site: site.agent.config.chmod(0o444), "api.secret", "config.json (mode 0444)"),
        (of_agent(state_directory="/usr"), "api.secret", "sshaft-host-api can read /usr"),
        (of_agent(client_secret_file="/etc/passwd"), "api.secret", "can read /etc/passwd"),
        (lambda site: (site.agent.runtime / "api").chmod(0o755), "agent.api_socket", "is open to more than its user"),
    ],
)  # fmt: skip
def test_fault_is_told_with_the_way_out(site: Site, change: Change, check: str, what: str) -> None:
    change(site)
    found = {name: each for name, each in site.told().items() if each["severity"] == "error"}
    assert list(found) == [check]
    assert what in found[check]["what"]
    assert found[check]["where"]
    assert found[check]["remedy"]


@pytest.mark.parametrize(
    ("user", "what"),
    [
        ("no-such-account", "no account no-such-account: host-api cannot run"),
        (AGENT, f"{AGENT} is the account of the agent, too"),
        ("root", "root is root"),
    ],
)
def test_wrong_account_of_host_api_is_told(site: Site, user: str, what: str) -> None:
    found = site.told("--api-user", user)["api.account"]
    assert found["severity"] == "error"
    assert what in found["what"]
    assert "useradd" in found["remedy"]


def test_issuers_that_the_agent_has_not_read_are_told(site: Site) -> None:
    of_agent(tokens=[{"issuer": "https://other.example.org"}])(site)
    found = site.told()["api.issuers"]
    assert found["severity"] == "warning"
    assert f"names the issuers {site.provider.issuer}, and config.json https://other.example.org" in found["what"]


def test_configured_host_api_without_tokens_is_told(site: Site) -> None:
    of_agent(tokens=[])(site)
    found = site.told()
    assert {check: each["severity"] for check, each in found.items()} == {"api.config": "warning"}


def test_host_api_that_runs_as_another_account_gets_no_answer_of_the_agent(site: Site) -> None:
    other = HostApi(site.place, site.agent.runtime, account=LOGIN)
    try:
        found = site.told()["api.info"]
    finally:
        site.place.stop(other.process)
    assert found["severity"] == "error"
    assert "it must run as the account of the agent's option --api-user" in found["what"]
