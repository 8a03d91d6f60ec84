"""Reads web.json, and the host keys of its hosts."""

import json
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from sshaft.errors import ConfigurationError
from sshaft_web import configuration, server, targets

KEY, OTHER = (asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip() for _ in range(2))
HOST = {"host": "login.example.org", "known_hosts": [f"login.example.org {KEY}"]}
GOOD: dict[str, Any] = {
    "public_url": "https://ssh.example.org",
    "provider": {"issuer": "https://op.example.org", "client_id": "web", "scopes": ["openid", "profile"]},
    "targets": {"login": HOST},
}


def load(folder: Path, **changes: Any) -> configuration.Settings:
    path = folder / "web.json"
    path.write_text(json.dumps(GOOD | changes))
    return configuration.load(path)


def test_few_members_are_enough(tmp_path: Path) -> None:
    settings = load(tmp_path)
    [target] = targets.read(settings).values()
    assert (target.title, target.port, target.service) == ("login", 22, None)
    assert settings.provider.scopes == ("openid", "profile")
    assert settings.is_secure


@pytest.mark.parametrize(
    "changes",
    [
        {"public_url": "http://ssh.example.org"},
        {"public_url": "https://ssh.example.org/below"},
        {"public_url": "https://ssh.example.org?x"},
        {"public_url": "https://SSH.example.org"},
        {"public_url": "https://ssh.example.org:443/"},
        {"public_url": "https://user@ssh.example.org"},
        {"unknown": 1},
        {"targets": {}},
        {"targets": {"../x": HOST}},
        {"targets": {"login": {"host": "login.example.org"}}},
        {"targets": {"login": HOST | {"known_hosts": "relative"}}},
        {"targets": {"login": HOST | {"api": "http://login.example.org"}}},
        {"targets": {"login": HOST | {"port": 0}}},
        {"provider": {"issuer": "https://op.example.org"}},
        {"certificate_file": "/etc/cert.pem"},
        {"trusted_proxies": ["everybody"]},
        {"limits": {"terminals": 0}},
        {"metrics": "no port"},
    ],
)
def test_configuration_with_a_fault_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"web\.json"):
        load(tmp_path, **changes)


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["# nothing"],
        [f"another.example.org {KEY}"],
        [f"[login.example.org]:2222 {KEY}"],
        ["login.example.org ssh-ed25519 AAAA"],
        [f"@revoked login.example.org {KEY}"],
    ],
)
def test_host_without_a_key_is_refused(tmp_path: Path, lines: list[str]) -> None:
    settings = load(tmp_path, targets={"login": HOST | {"known_hosts": lines}})
    with pytest.raises(ConfigurationError, match="login"):
        targets.read(settings)


def test_lines_may_stand_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    path.write_text(f"@cert-authority *.example.org {KEY}\n")
    [target] = targets.read(load(tmp_path, targets={"login": HOST | {"known_hosts": str(path)}})).values()
    assert [len(each) for each in target.host_keys("login.example.org", "", 22)[:2]] == [0, 1]
    path.unlink()
    with pytest.raises(ConfigurationError, match="known_hosts"):
        targets.read(load(tmp_path, targets={"login": HOST | {"known_hosts": str(path)}}))


def test_address_that_dns_answers_counts_for_nothing(tmp_path: Path) -> None:
    """A false answer must not lead to another host that the same file knows by its address."""
    lines = [f"login.example.org {KEY}", f"192.0.2.7 {OTHER}"]
    [target] = targets.read(load(tmp_path, targets={"login": HOST | {"known_hosts": lines}})).values()
    [key] = target.host_keys("login.example.org", "192.0.2.7", 22)[0]
    assert key.export_public_key().decode().strip() == KEY


def test_process_with_too_few_descriptors_does_not_start() -> None:
    assert server.bounds_for(20_000, 500).connections == 10_000
    assert server.bounds_for(1256, 500).connections == 500
    with pytest.raises(ConfigurationError, match="raise its limit to 1256"):
        server.bounds_for(1024, 500)
