import json
import os
import stat
from pathlib import Path

import pytest

from sshaft.errors import ConfigurationError
from sshaft_identity import settings as settings_of
from sshaft_identity.settings import Settings


@pytest.mark.parametrize(
    ("settings", "command"),
    [
        (Settings(), "ssh mfa@localhost 482913"),
        (Settings(ssh_host="login.example.org", ssh_port=2222), "ssh -p 2222 mfa@login.example.org 482913"),
        (Settings(ssh_user="second", ssh_host="2001:db8::1"), "ssh second@2001:db8::1 482913"),
    ],
)
def test_ssh_command_names_only_an_unusual_port(settings: Settings, command: str) -> None:
    assert settings.ssh_command("482913") == command


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        (Settings(), "http://127.0.0.1:8080"),
        (Settings(host="::1", port=1), "http://[::1]:1"),
        (Settings(host="0.0.0.0"), "http://localhost:8080"),
        (Settings(public_url="https://id.example.org/"), "https://id.example.org"),
        (Settings(public_url="https://example.org/id"), "https://example.org/id"),
    ],
)
def test_addresses_start_with_the_public_url_or_the_listening_address(settings: Settings, url: str) -> None:
    assert settings.base_url == url
    assert settings.page_url("t") == f"{url}/challenge/t"


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("port", 65536),
        ("port", "80"),
        ("ssh_port", 0),
        ("lifetime", 29),
        ("lifetime", 601),
        ("ssh_host", "-oProxyCommand=x"),
        ("ssh_host", "a b"),
        ("ssh_host", "host;reboot"),
        ("ssh_user", "-l"),
        ("ssh_user", "$(id)"),
        ("public_url", "id.example.org"),
        ("public_url", "ftp://id.example.org"),
        ("colour", "green"),
    ],
)
def test_invalid_setting_is_refused_and_named(tmp_path: Path, member: str, value: object) -> None:
    (tmp_path / "identity.json").write_text(json.dumps({member: value}))
    with pytest.raises(ConfigurationError, match=f"identity.json: {member}: "):
        settings_of.load(tmp_path)


def test_saved_settings_are_loaded_again(tmp_path: Path) -> None:
    settings = Settings(
        port=9, public_url="https://id.example.org", database="postgresql://db/sshaft", languages="languages"
    )
    settings_of.save(tmp_path, settings)
    assert settings_of.load(tmp_path) == settings
    assert stat.S_IMODE((tmp_path / "identity.json").stat().st_mode) == 0o600


@pytest.mark.root
def test_saved_settings_keep_the_owner_of_the_file(tmp_path: Path) -> None:
    settings_of.save(tmp_path, Settings())
    os.chown(tmp_path / "identity.json", 1234, 2345)
    settings_of.save(tmp_path, Settings(port=9))
    status = (tmp_path / "identity.json").stat()
    assert (status.st_uid, status.st_gid) == (1234, 2345)


def test_settings_that_are_no_json_are_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "identity.json").write_text("{")
    with pytest.raises(ConfigurationError, match=r"identity\.json: "):
        settings_of.load(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_settings_and_secrets_of_a_windows_editor_are_read(tmp_path: Path, encoding: str) -> None:
    """Case bom_utf16: one reader reads every text file of the operator."""
    (tmp_path / "identity.json").write_bytes('{"port": 9}\r\n'.encode(encoding))
    (tmp_path / "token").write_bytes("abc\r\n".encode(encoding))
    assert settings_of.load(tmp_path).port == 9
    assert settings_of.read_secret(tmp_path / "token", "token") == "abc"


def test_settings_in_another_encoding_are_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "identity.json").write_bytes(b'{"ssh_user": "\xfc"}')
    with pytest.raises(ConfigurationError, match=r"identity\.json: not UTF-8 text"):
        settings_of.load(tmp_path)


def test_error_without_settings_names_init(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="init"):
        settings_of.load(tmp_path)
    with pytest.raises(ConfigurationError, match="init"):
        settings_of.load_key(tmp_path)


def test_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    settings_of.make_key(tmp_path)
    key = settings_of.load_key(tmp_path)
    settings_of.make_key(tmp_path)
    assert settings_of.load_key(tmp_path) == key
    assert len(key) == 32
    assert stat.S_IMODE((tmp_path / "hmac.key").stat().st_mode) == 0o600


def test_key_of_another_length_is_refused(tmp_path: Path) -> None:
    (tmp_path / "hmac.key").write_bytes(b"short")
    with pytest.raises(ConfigurationError, match="exactly 32 bytes"):
        settings_of.load_key(tmp_path)


def test_database_file_names_the_database(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgresql://db/sshaft\n")
    settings = Settings(database_file=str(tmp_path / "url"))
    assert settings_of.database_url(tmp_path, settings) == "postgresql://db/sshaft"


@pytest.mark.parametrize(("content", "message"), [(None, "cannot be read: No such file"), (" \n", "is empty")])
def test_database_file_without_a_url_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    """Without this, the service would begin with an empty SQLite database."""
    if content is not None:
        (tmp_path / "url").write_text(content)
    settings = Settings(database_file=str(tmp_path / "url"))
    with pytest.raises(ConfigurationError, match=f"database_file {tmp_path}/url {message}"):
        settings_of.database_url(tmp_path, settings)


def test_database_and_database_file_exclude_each_other(tmp_path: Path) -> None:
    (tmp_path / "identity.json").write_text('{"database": "postgresql://db/sshaft", "database_file": "/x"}')
    with pytest.raises(ConfigurationError, match="database and database_file are both there; keep one"):
        settings_of.load(tmp_path)
