"""Tests the metrics of a real agent, and that an agent without metrics does not load the library."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from fakes import public_keys
from fakes.agent_process import AgentProcess
from fakes.identity_server import ERROR, IdentityServer
from prometheus_client.parser import text_string_to_metric_families as parse

from sshaft import public_key

pytestmark = pytest.mark.slow

KEY = public_keys.ed25519()
TYPE, ENCODED = public_keys.of(KEY)
QUESTION = {"type": TYPE, "key": ENCODED, "fingerprint": public_key.parse(KEY).fingerprint, "request_id": "0" * 32}
SIGNED = {"key_type": TYPE, "key": ENCODED, "client_ip": "192.0.2.7"}
LISTEN = ("--metrics-listen", "127.0.0.1:0")

WriteConfig = Callable[..., Path]


def scrape(agent: AgentProcess) -> dict[str, float]:
    """Returns the values by name and label."""
    answer = requests.get(agent.event("metrics.ready")["address"], timeout=10)
    assert answer.status_code == 200
    assert not any(word in answer.text for word in ("alice", "SHA256:", "192.0.2.7", ENCODED))
    samples = [sample for family in parse(answer.text) for sample in family.samples]
    return {":".join([sample.name, *sample.labels.values()]): sample.value for sample in samples}


def test_metrics_count_a_login(identity: IdentityServer, write_config: WriteConfig, tmp_path: Path) -> None:
    identity.entries = [{"user": "alice", "authorized_key": KEY}]
    with AgentProcess(write_config(identity.config()), tmp_path / "run", *LISTEN) as agent:
        before = scrape(agent)
        assert before["sshaft_agent_logins_total:accepted"] == before["sshaft_agent_lookups_total"] == 0
        assert before["sshaft_agent_access_token_seconds_left"] == 0
        agent.ticket(QUESTION)
        ticket = agent.ticket(QUESTION)
        during = scrape(agent)
        assert during["sshaft_agent_open_logins"] == 0
        assert agent.ask("accept", ticket=ticket, **SIGNED)[1]["state"] == "accepted"
        assert agent.ask("accept", ticket=ticket, **SIGNED)[1]["state"] == "passed_before"
        after = scrape(agent)
        assert agent.stop() == 0
    assert after["sshaft_agent_lookups_total"] == 3  # two by sshd, one by the login
    assert after["sshaft_agent_cache_hits_total"] + after["sshaft_agent_list_requests_total"] == 3
    assert (after["sshaft_agent_logins_total:accepted"], after["sshaft_agent_logins_total:passed_before"]) == (1, 1)
    assert after["sshaft_agent_open_logins"] == 1  # until its ticket expires
    assert 0 < after["sshaft_agent_access_token_seconds_left"] <= 300
    assert after["sshaft_agent_identity_call_seconds_count:accept"] == 1
    assert after["sshaft_agent_identity_call_seconds_count:list"] == after["sshaft_agent_list_requests_total"]
    assert after["sshaft_agent_breaker_open"] == 0
    assert any(name.startswith("sshaft_agent_build_info:") for name in after)


def test_metrics_show_an_identity_service_that_is_down(
    identity: IdentityServer, write_config: WriteConfig, tmp_path: Path
) -> None:
    identity.replies["/keys"] = ERROR
    with AgentProcess(write_config(identity.config()), tmp_path / "run", *LISTEN) as agent:
        for _ in range(4):
            agent.ask("keys", **QUESTION)
        after = scrape(agent)
    assert after["sshaft_agent_breaker_open"] == 1
    assert after["sshaft_agent_list_requests_total"] == 3


def test_metrics_count_a_refused_question(identity: IdentityServer, write_config: WriteConfig, tmp_path: Path) -> None:
    with AgentProcess(write_config(identity.config()), tmp_path / "run", *LISTEN) as agent:
        agent.ask("accept", at=agent.keys)
        after = scrape(agent)
    assert after["sshaft_agent_connections_refused_total:bad_message"] == 1
    assert after["sshaft_agent_connections_refused_total:peer"] == 0


def start(config: Path, directory: Path, *options: str, program: str = "pass") -> subprocess.CompletedProcess[str]:
    code = f"{program}; import sys; from sshaft.__main__ import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "agent", "--config", str(config), "--runtime-directory", str(directory)]
    return subprocess.run([*command, *options], capture_output=True, text=True, timeout=30, check=False)


def test_error_names_the_missing_metrics_library(
    identity: IdentityServer, write_config: WriteConfig, tmp_path: Path
) -> None:
    missing = "import sys; sys.modules['prometheus_client'] = None"
    ended = start(write_config(identity.config()), tmp_path / "run", *LISTEN, program=missing)
    assert ended.returncode == 78
    assert ended.stderr.endswith("sshaft: metrics need prometheus-client: pip install 'sshaft[metrics]'\n")


def test_taken_port_is_one_clear_line(identity: IdentityServer, write_config: WriteConfig, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = start(write_config(identity.config()), tmp_path / "run", "--metrics-listen", where)
    assert ended.returncode == 78
    assert f"sshaft: metrics: cannot listen on {where}: " in ended.stderr
    assert not (tmp_path / "run" / "status.sock").exists()


@pytest.mark.parametrize("where", ["9465", ":9465", "127.0.0.1:", "127.0.0.1:70000"])
def test_metrics_address_needs_host_and_port(
    identity: IdentityServer, write_config: WriteConfig, tmp_path: Path, where: str
) -> None:
    ended = start(write_config(identity.config()), tmp_path / "run", "--metrics-listen", where)
    assert ended.returncode == 64
    assert "HOST:PORT" in ended.stderr


def test_agent_without_metrics_does_not_load_the_library() -> None:
    program = (
        "import sys, sshaft_agent.commands, sshaft_agent.agent, sshaft_agent.metrics, sshaft.daemon.metrics;"
        "sys.exit('prometheus_client' in sys.modules)"
    )
    env = {"PATH": os.environ["PATH"]}
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=30, env=env).returncode == 0
