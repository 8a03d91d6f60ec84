"""Tests what `host_login.tokens` takes in config.json, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest

from sshaft.errors import ConfigurationError
from sshaft_agent.host_login import config_file
from sshaft_agent.host_login.settings import HostSettings

ENTRY = {"issuer": "https://op.example.org", "audience": "https://web1.example.org", "allow": {"everyone": True}}
OTHER = ENTRY | {"issuer": "https://other.example.org"}
BROWSER = {"issuer": "https://op.example.org", "client_id": "ssh-hosts", "allow": {"everyone": True}}


def read(*tokens: dict[str, Any], **more: Any) -> HostSettings:
    return config_file.settings_of(Path("config.json"), {"tokens": list(tokens)} | more)


def entry(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in (ENTRY | changes).items() if value is not None}


def test_three_lines_are_enough() -> None:
    settings = read(ENTRY)
    assert settings.device is None
    assert [each.audience for each in settings.token_providers] == [("https://web1.example.org",)]


def test_tokens_stand_beside_a_browser() -> None:
    settings = read(ENTRY, OTHER, **BROWSER)
    assert settings.device is not None
    assert [each.issuer for each in settings.providers] == [BROWSER["issuer"], ENTRY["issuer"], OTHER["issuer"]]


def test_providers_of_tokens_share_the_rules_of_the_host() -> None:
    role = {"groups": ["admins"], "local_groups": ["ops"]}
    (provider,) = read(ENTRY, create={}, roles=[role]).token_providers
    assert provider.create is not None
    assert [each.local_groups for each in provider.roles] == [("ops",)]


@pytest.mark.parametrize(
    ("tokens", "more", "fault"),
    [
        ([], {}, "names no provider"),
        ([entry(audience=None)], {}, "audience is required"),
        ([entry(any_audience=True)], {}, "audience is required"),
        ([entry(audience=[])], {}, "audience"),
        ([entry(allow=None)], {}, "allow is missing"),
        ([entry(allow={})], {}, "names nobody"),
        ([entry(issuer="http://op.example.org")], {}, "must be https"),
        ([entry(create={})], {}, "create belongs into host_login itself"),
        ([entry(form="userinfo", audience=None, any_audience=True, scopes=["ssh"])], {}, "leave scopes out"),
        ([entry(form="introspection", client_id="h")], {}, "needs client_id, and client_secret_file"),
        ([entry(form="introspection", client_secret="s")], {}, "needs client_id, and client_secret_file"),
        ([ENTRY], BROWSER | {"identity_from": "userinfo", "subject_claim": "login"}, "leave subject_claim out"),
        ([entry(issuer="https://login.microsoftonline.com/7d2f4c1e-0b9a-4f63-8e5d-2a1b3c4d5e6f/v2.0")], {}, "Entra"),
        ([ENTRY, ENTRY], {}, "names an issuer twice"),
        ([entry(uid_claim="uid")], {"create": {}}, "create needs a rule"),
        ([entry(audiance="x")], {}, "unknown key"),
        ([ENTRY], {"roles": [{"everyone": True, "local_groups": ["ops"]}]}, "roles needs create"),
        ([ENTRY], {"client_id": "ssh-hosts"}, "unknown key"),
        ([ENTRY], {"login_info": {"description": "x" * 16384}}, "login_info.*longer than 16384"),
        ([ENTRY], {"login_info": "x"}, "login_info"),
        ([ENTRY], {"issuer": "https://op.example.org"}, "client_id is missing"),
    ],
)
def test_configuration_that_could_be_meant_otherwise_is_refused(
    tokens: list[dict[str, Any]], more: dict[str, Any], fault: str
) -> None:
    with pytest.raises(ConfigurationError, match=fault):
        read(*tokens, **more)


def test_only_one_provider_can_be_asked_about_opaque_tokens() -> None:
    asked = {"form": "introspection", "client_id": "h", "client_secret": "s"}
    read(ENTRY | asked, OTHER)
    with pytest.raises(ConfigurationError, match="several providers that would be shown opaque tokens"):
        read(ENTRY | asked, OTHER | asked)
    read(ENTRY | asked, OTHER | asked | {"opaque": False})


def test_secret_of_a_provider_must_be_closed_to_others(tmp_path: Path) -> None:
    path = tmp_path / "host.json"
    secret = {"audience": None, "any_audience": True, "form": "introspection", "client_secret": "s3cret",
              "client_id": "h"}  # fmt: skip
    path.write_text(json.dumps({"host_login": {"tokens": [entry(**secret)]}}))
    path.chmod(0o644)
    with pytest.raises(ConfigurationError, match="everybody can read the secret"):
        config_file.load(str(path))
    path.chmod(0o640)
    assert config_file.load(str(path)).settings.has_secret
