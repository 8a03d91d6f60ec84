"""Tests `client rotate-secret` for the operator and for an agent that runs during the rotation."""

import json
import os
import signal
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from fakes import public_keys
from fakes.agent_process import AgentProcess
from service.service import Clock, Service

from sshaft import public_key
from sshaft.errors import ConfigurationError
from sshaft_identity.clients.clients import Client, Scope
from sshaft_identity.commands.identity import identity
from sshaft_identity.common.errors import RegistryError

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(*arguments: str) -> Result:
        return CliRunner().invoke(identity, ["--directory", str(tmp_path / "id"), *arguments])

    assert run("init").exit_code == 0
    assert run("client", "add", "sshd", "--scope", "mfa:list", "--config-json", str(tmp_path / "c.json")).exit_code == 0
    return run


def held(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def test_rotation_prints_the_new_secret_and_the_end_of_the_old_one(run: Run) -> None:
    rotated = run("client", "rotate-secret", "sshd")
    assert rotated.exit_code == 0
    assert "client_secret  " in rotated.stdout
    assert "stays good until 20" in rotated.stderr
    printed = json.loads(run("client", "rotate-secret", "sshd", "--overlap", "90m", "--json").stdout)
    assert set(printed) == {"client_id", "client_secret", "previous_secret_until"}
    at_once = json.loads(run("client", "rotate-secret", "sshd", "--overlap", "0", "--json").stdout)
    assert at_once["previous_secret_until"] is None


def test_config_json_keeps_its_other_members_and_its_permissions(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    before = held(path) | {"list_seconds": 2}
    path.write_text(json.dumps(before))
    path.chmod(0o640)
    result = run("client", "rotate-secret", "sshd", "--write-config", str(path), "--json")
    after = held(path)
    assert set(json.loads(result.stdout)) == {"client_id", "previous_secret_until"}
    assert after.pop("client_secret") != before.pop("client_secret")
    assert after == before
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert sorted(each.name for each in tmp_path.iterdir()) == ["c.json", "id"]


def test_missing_config_json_is_made(run: Run, tmp_path: Path) -> None:
    run("client", "rotate-secret", "sshd", "--write-config", str(tmp_path / "new.json"))
    old, new = held(tmp_path / "c.json"), held(tmp_path / "new.json")
    assert new.pop("client_secret") != old.pop("client_secret")
    assert new == old
    assert stat.S_IMODE((tmp_path / "new.json").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "no JSON"),
        ("[]", "not of the client sshd"),
        ('{"client_id": "other", "client_secret": "x"}', "not of the client sshd"),
        ('{"client_id": "sshd", "client_secret_file": "x"}', "no client_secret"),
    ],
)
def test_file_of_another_client_stays_and_nothing_is_rotated(
    run: Run, tmp_path: Path, content: str, reason: str
) -> None:
    path = tmp_path / "other.json"
    path.write_text(content)
    ended = run("client", "rotate-secret", "sshd", "--write-config", str(path))
    assert isinstance(ended.exception, ConfigurationError)
    assert reason in str(ended.exception)
    assert path.read_text() == content
    assert "secret_rotated" not in run("audit", "export").stdout


def test_nothing_is_rotated_if_the_file_cannot_be_written(run: Run, tmp_path: Path) -> None:
    ended = run("client", "rotate-secret", "sshd", "--write-config", str(tmp_path / "no" / "c.json"))
    assert isinstance(ended.exception, ConfigurationError)
    assert "secret_rotated" not in run("audit", "export").stdout


@pytest.mark.parametrize("more", [(), ("--write-config", "made.json")])
def test_secret_of_an_unknown_client_cannot_be_rotated(
    run: Run, tmp_path: Path, more: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = run("client", "rotate-secret", "nobody", *more)
    assert isinstance(ended.exception, RegistryError)
    assert not (tmp_path / "made.json").exists()


@pytest.mark.parametrize("overlap", ["", "1", "-1h", "1w", "h"])
def test_overlap_is_a_duration(run: Run, overlap: str) -> None:
    assert run("client", "rotate-secret", "sshd", "--overlap", overlap).exit_code == 2


# --- with a running agent

KEYS = [public_keys.ed25519(name) for name in "abcd"]


def opens(agent: AgentProcess, key: str) -> bool:
    """Whether the agent lists this key. Its first request for the key needs an access token."""
    kind, encoded = public_keys.of(key)
    question = {"type": kind, "key": encoded, "fingerprint": public_key.parse(key).fingerprint, "request_id": "0" * 32}
    return "--ticket" in agent.ask("keys", **question)[1].get("lines", "")


@pytest.fixture
def config(service: Service, tmp_path: Path) -> Path:
    service.clock.now = datetime.now(UTC)  # the agent uses the real clock
    service.add_user("alice", *KEYS)
    service.open()
    api = f"{service.url}/api/v1/mfa/ssh"
    path = tmp_path / "config.json"
    content = {
        "token_endpoint": f"{service.url}/oauth2/token",
        "client_id": "sshd",
        "client_secret": service.store.clients.add(
            Client("sshd", frozenset([Scope.LIST, Scope.ACCEPT])), service.clock()
        ),
        "token_scope": "mfa:list mfa:accept",
        "mfa_list_endpoint": f"{api}/keys",
        "mfa_accept_endpoint": f"{api}/accept",
        "login_path": "/sshaft/login",
    }
    path.write_text(json.dumps(content))
    path.chmod(0o600)
    return path


def test_agent_reads_the_new_secret_on_sighup_and_the_old_one_ends_later(
    service: Service, config: Path, clock: Clock, tmp_path: Path
) -> None:
    old, day = held(config)["client_secret"], timedelta(hours=24)
    with AgentProcess(config, tmp_path / "run") as agent:
        assert opens(agent, KEYS[0])
        new = service.store.clients.rotate_secret("sshd", clock(), day)
        service.store.access_tokens.revoke_all("sshd", clock())
        assert opens(agent, KEYS[1]), "the old secret gets a new token"
        config.write_text(json.dumps(held(config) | {"client_secret": new}))
        os.kill(agent.process.pid, signal.SIGHUP)
        agent.event("config.reloaded")
        clock.advance(day.total_seconds())
        assert service.store.clients.authenticate("sshd", old, clock()) is None
        service.open(user="alice")
        assert opens(agent, KEYS[2]), "the new secret gets a token as well"
        service.store.clients.rotate_secret("sshd", clock(), timedelta())
        assert not opens(agent, KEYS[3]), "without an overlap the agent is refused at once"
