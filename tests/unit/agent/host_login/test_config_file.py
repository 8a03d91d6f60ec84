"""Tests the files of other modules as a whole: whom they let in, and which files the agent does not trust."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from sshaft.errors import ConfigurationError
from sshaft_agent import configuration
from sshaft_agent.host_login import accounts, config_file
from sshaft_agent.host_login.accounts import Account

FILES = Path(__file__).parent / "foreign"
GROUP = ["stfc-cloud-prod"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Returns a folder with the fixtures, which only this account can read."""
    for each in FILES.iterdir():
        (tmp_path / each.name).write_text(each.read_text())
        (tmp_path / each.name).chmod(0o600)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "account", "claims", "scopes", "is_allowed"),
    [
        ("rust.json", "bob", {"username": "bob"}, ("openid", "profile", "ssh"), True),
        ("rust.json", "bob", {"username": "mike"}, ("openid", "profile", "ssh"), False),
        ("rust.json", "bob", {"preferred_username": "bob"}, ("openid", "profile", "ssh"), False),
        ("rust.json", "bob", {"username": "bob"}, ("openid", "profile"), False),
        ("ics_mu.json", "bob", {"preferred_username": "provider_user_id_1"}, (), True),
        ("ics_mu.json", "mike", {"preferred_username": "provider_user_id_1"}, (), False),
        ("ics_mu.json", "bob", {"preferred_username": "bob"}, (), False),
        ("stfc.json", "support", {"preferred_username": "provider_user_id_2"}, (), True),
        ("stfc.json", "bob", {"preferred_username": "provider_user_id_2"}, (), False),
        ("stfc.json", "anna", {"preferred_username": "anna_iris.iam", "groups": GROUP}, (), True),
        ("stfc.json", "anna", {"preferred_username": "anna_iris.iam", "groups": [*GROUP, "x"]}, (), True),
        ("stfc.json", "anna", {"preferred_username": "anna_iris.iam", "groups": ["stfc-cloud-prod/x"]}, (), False),
        ("stfc.json", "anna", {"preferred_username": "anna_iris.iam"}, (), False),
        ("stfc.json", "anna", {"preferred_username": "anna_iris-iam", "groups": GROUP}, (), False),
        ("stfc.json", "anna", {"preferred_username": "anna", "groups": GROUP}, (), False),
        ("stfc.json", "root", {"preferred_username": "*bypass*", "groups": GROUP}, (), False),
    ],
)
def test_file_lets_in_whom_it_lets_in_with_its_own_module(
    folder: Path, name: str, account: str, claims: dict[str, Any], scopes: tuple[str, ...], *, is_allowed: bool
) -> None:
    settings = config_file.load(str(folder / name)).settings
    checks = accounts.checks(Account(account, 1000), settings, claims, scopes)
    assert all(check.passed for check in checks) is is_allowed


@pytest.mark.parametrize(
    ("name", "method"),
    [("rust.json", "client_secret_basic"), ("stfc.json", "client_secret_post"), ("azure.json", "client_secret_basic")],
)
def test_secret_stands_in_the_file_and_in_no_text_of_ours(folder: Path, name: str, method: str) -> None:
    found = config_file.load(str(folder / name))
    credentials = found.settings.credentials()
    assert (credentials.method, credentials.secret) == (method, "the-secret")
    assert "the-secret" not in f"{found} {found.settings.model_dump_json()}"


def test_secret_that_everybody_can_read_is_named(folder: Path) -> None:
    path = folder / "ics_mu.json"
    assert not any("chmod o=" in note for note in config_file.load(str(path)).notes)
    path.chmod(0o644)
    assert f"{path}: everybody can read the secret of the client: chmod o= {path}" in config_file.load(str(path)).notes


def test_tenant_must_be_one(folder: Path) -> None:
    path = folder / "azure.json"
    data = json.loads(path.read_text())
    for tenant in ("common", "organizations", "example.onmicrosoft.com"):
        path.write_text(json.dumps(data | {"tenant_id": tenant}).replace(data["tenant_id"], tenant))
        with pytest.raises(ConfigurationError, match="must name one tenant by its id"):
            config_file.load(str(path))


def test_change_of_a_file_that_the_file_names_counts(folder: Path) -> None:
    users, path = folder / "users.json", folder / "stfc.json"
    users.write_text('{"anna": ["anna"]}')
    path.write_text(json.dumps(json.loads(path.read_text()) | {"users": str(users)}))
    found = config_file.load(str(path))
    assert set(found.files) == {path, users}
    assert found.is_current()
    users.write_text('{"anna": ["bob!"]}')
    assert not found.is_current()
    users.chmod(0o666)
    with pytest.raises(ConfigurationError, match=r"users\.json: others can write to it"):
        config_file.load(str(path))
    users.unlink()
    assert not found.is_current()


def test_change_of_the_map_that_our_own_format_names_counts(tmp_path: Path) -> None:
    people, path = tmp_path / "map.json", tmp_path / "host.json"
    people.write_text('{"a.smith": "alice"}')
    host_login = {"issuer": "https://op.example", "client_id": "c", "allow": {"everyone": True}, "map": str(people)}
    path.write_text(json.dumps({"host_login": host_login}))
    found = config_file.load(str(path))
    assert found.settings.map == {"a.smith": ("alice",)}
    people.write_text('{"a.smith": "bob"}')
    assert not found.is_current()


@pytest.mark.parametrize("name", ["", "foreign.json", "./foreign.json", "/etc/\n.json"])
def test_path_must_be_absolute_and_printable(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"absolute|not a path"):
        config_file.load(name)


def test_file_that_the_agent_may_not_read_is_named(folder: Path) -> None:
    path = folder / "rust.json"
    uid = os.geteuid()
    path.chmod(0)
    if uid == 0:
        os.seteuid(64801)
    try:
        with pytest.raises(
            ConfigurationError, match=rf"{path}: can't be read by uid {os.geteuid()}: Permission denied"
        ):
            config_file.load(str(path))
    finally:
        os.seteuid(uid)


def test_secret_in_the_agents_own_configuration_is_private(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    members = {"issuer": "https://op.example", "client_id": "c", "client_secret": "s", "allow": {"everyone": True}}
    path.write_text(json.dumps({"host_login": members}))
    path.chmod(0o600)
    settings = configuration.load(path).host_login
    assert settings is not None
    assert settings.credentials().secret == "s"
    path.chmod(0o644)
    with pytest.raises(ConfigurationError, match="holds a secret and is open to everybody"):
        configuration.load(path)


@pytest.mark.parametrize("other", ["client_secret_file", "private_key_file"])
def test_client_has_one_secret(other: str) -> None:
    members = {"issuer": "https://op.example", "client_id": "c", "client_secret": "s", "allow": {"everyone": True}}
    with pytest.raises(ConfigurationError, match="client_secret stands beside client_secret_file or private_key_file"):
        config_file.settings_of(Path("x"), members | {other: "/x"})
