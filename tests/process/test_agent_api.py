"""Tests the API socket of the agent as a real process: who may ask there, and that others do not wait for it."""

import hashlib
import json
import os
import pwd
import signal
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fakes.agent_process import AgentProcess
from fakes.identity_server import IdentityServer
from fakes.openid_provider import AUDIENCE, OpenIdProvider
from process.test_agent import ask_as, public_place, root

from sshaft_agent import sockets

__all__ = ["public_place"]
ME = pwd.getpwuid(os.geteuid()).pw_name


@pytest.fixture
def provider() -> Iterator[OpenIdProvider]:
    with OpenIdProvider(lambda: datetime.now(UTC), "") as provider:
        provider.may_answer.set()
        yield provider


def write_config(provider: OpenIdProvider, place: Path, *more: dict[str, Any], **changes: Any) -> Path:
    state = place / "state"
    state.mkdir(mode=0o700, exist_ok=True)
    entry = {"issuer": provider.issuer, "audience": AUDIENCE, "allow": {"everyone": True}}
    config = place / "config.json"
    config.write_text(json.dumps({"host_login": {"tokens": [entry, *more], "state_directory": str(state)} | changes}))
    config.chmod(0o600)
    return config


def test_person_asks_through_the_socket(provider: OpenIdProvider, tmp_path: Path) -> None:
    provider.user = {"sub": "subject-1", "preferred_username": "nobody-of-this-host"}
    config = write_config(provider, tmp_path, login_info={"ssh_host": "web1"})
    with AgentProcess(config, tmp_path / "run", "--api-user", ME) as agent:
        path = sockets.api_path(tmp_path / "run")
        kind, answer = agent.ask("api_info", path)
        assert (kind, json.loads(answer["json"])["login_info"]) == ("info", {"ssh_host": "web1"})
        token = provider.access_token(filler="x" * 8000)
        assert len(token) > 10_000
        person = {"token": token, "client_ip": "192.0.2.7"}
        kind, answer = agent.ask("api_user", path, action="status", **person)
        assert (kind, answer["state"], answer["name"]) == ("user", "not_deployed", "")
        kind, answer = agent.ask("api_user", path, action="deploy", **person)
        assert (kind, answer["status"]) == ("denied", "forbidden")
        kind, answer = agent.ask("api_verify", path, user="nobody-of-this-host", **person)
        assert (kind, answer) == ("verify", {"state": "not_deployed", "verified": ""})
        agent.ask("api_user", path, action="otp", **person)
        password = hashlib.sha512(token.encode()).hexdigest()
        assert agent.ask("api_verify", path, user="x", token=password)[0] == "verify"
        assert agent.ask("explain", path)[0] == "error"
        assert agent.ask("status")[0] == "status"
        assert agent.stop() == 0
        assert token not in agent.output
        assert password not in agent.output


def test_one_time_password_outlives_a_reload(provider: OpenIdProvider, tmp_path: Path) -> None:
    config = write_config(provider, tmp_path)
    with AgentProcess(config, tmp_path / "run", "--api-user", ME) as agent:
        path, token = sockets.api_path(tmp_path / "run"), provider.access_token()
        agent.ask("api_user", path, action="otp", token=token)
        agent.process.send_signal(signal.SIGHUP)
        agent.event("config.reloaded")
        password = hashlib.sha512(token.encode()).hexdigest()
        assert agent.ask("api_verify", path, user="x", token=password)[0] == "verify"


def test_logins_do_not_wait_for_questions_of_strangers(provider: OpenIdProvider, tmp_path: Path) -> None:
    """A provider that hangs holds all threads of the API. sshd's question and a known token have their answers."""
    hung = threading.Event()
    with OpenIdProvider(provider.clock, "") as other:
        other.bend_userinfo = {"sub": "subject-1"}
        other.on_call["/userinfo"] = lambda: hung.wait(20)
        slow = {"issuer": other.issuer, "form": "userinfo", "any_audience": True, "allow": {"everyone": True}}
        config = write_config(provider, tmp_path, slow)
        with AgentProcess(config, tmp_path / "run", "--api-user", ME) as agent:
            path, token = sockets.api_path(tmp_path / "run"), provider.access_token()
            known = {"user": "x", "token": token, "client_ip": "192.0.2.7"}
            assert agent.ask("api_verify", path, **known)[0] == "verify"
            strangers = [
                threading.Thread(
                    target=agent.ask, args=("api_user", path), kwargs={"token": f"an-opaque-access-token-{number}"}
                )
                for number in range(40)
            ]
            for stranger in strangers:
                stranger.start()
            end = time.monotonic() + 20
            while other.calls.count("/userinfo") < 16:
                assert time.monotonic() < end
                time.sleep(0.01)
            assert agent.ask("api_verify", path, **known)[0] == "verify"
            assert agent.ask("api_user", path, action="deploy", **known)[1]["status"] == "forbidden"
            assert agent.ask("name", sockets.names_path(tmp_path / "run"), user="x") == ("none", {})
            hung.set()
            for stranger in strangers:
                stranger.join()


def test_without_the_option_there_is_no_socket(provider: OpenIdProvider, tmp_path: Path) -> None:
    with AgentProcess(write_config(provider, tmp_path), tmp_path / "run"):
        assert not sockets.api_path(tmp_path / "run").exists()


def test_option_without_host_login_is_a_warning_and_the_factor_goes_on(tmp_path: Path) -> None:
    """The package sshaft-host-api sets the option. Its installation must not end the logins of the SSH factor."""
    config = tmp_path / "config.json"
    with IdentityServer() as server:
        config.write_text(json.dumps(server.config()))
        config.chmod(0o600)
        with AgentProcess(config, tmp_path / "run", "--api-user", ME) as agent:
            assert not sockets.api_path(tmp_path / "run").exists()
            assert sockets.keys_path(tmp_path / "run").exists()
        assert any("without host_login" in str(event.get("message")) for event in agent.events)


@pytest.mark.root
@root
def test_socket_answers_its_own_user_and_nobody_else(provider: OpenIdProvider, public_place: Path) -> None:
    config = write_config(provider, public_place)
    with AgentProcess(config, public_place / "run", "--api-user", "daemon", "--login-user", "nobody") as agent:
        path = sockets.api_path(public_place / "run")
        assert path.parent.stat().st_mode & 0o777 == 0o710
        assert path.stat().st_mode & 0o777 == 0o660
        assert "('info'" in ask_as(1, [], path, "api_info")
        assert "refused" in ask_as(65534, [], path, "api_info")  # cannot enter the directory
        assert "refused" in ask_as(65534, [1], path, "api_info")  # the uid decides, whatever its groups are
        # this account may ask nothing else
        for other in (agent.status_socket, sockets.host_path(public_place / "run")):
            assert "refused" in ask_as(1, [], other, "status")
