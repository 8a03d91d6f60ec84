"""Tests `client add --for`: the client that a provider needs, and the recipe that is printed."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from joserfc.jwk import ECKey, OctKey

from sshaft.errors import ConfigurationError
from sshaft_identity.commands.identity import identity
from sshaft_identity.faces import all_providers

pytestmark = pytest.mark.slow

BASE = "https://id.example.org"
GIVEN = {
    "entra": ("--app-id", "3F6A9A3C-6c1a-4a7e-9a0c-8f3d1c2b4a5e", "--tenant", "7d2f4c1e-0b9a-4f63-8e5d-2a1b3c4d5e6f"),
    "generic-ciba": (),
    "generic-oidc": ("--redirect-uri", "https://app.example.org/cb"),
    **dict.fromkeys(("okta", "authentik", "kratos"), ("--redirect-uri", "https://app.example.org/cb")),
    **dict.fromkeys(("lemonldap", "keycloak", "freeradius", "privacyidea", "cas", "ibm-verify"), ()),
    "auth0": ("--domain", "example.eu.auth0.com"),
    "keycloak-ciba": ("--notify", "https://kc.example.org/realms/one/protocol/openid-connect/ext/ciba/auth/callback"),
    "glewlwyd": ("--redirect-uri", "https://app.example.org/cb"),
}
Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(*arguments: str) -> Result:
        return CliRunner().invoke(identity, ["--directory", str(tmp_path / "id"), *arguments])

    assert run("init", "--public-url", BASE).exit_code == 0
    return run


def client(run: Run, name: str) -> dict[str, object]:
    clients: list[dict[str, object]] = json.loads(run("client", "list", "--json").stdout)
    return next(each for each in clients if each["client_id"] == name)


@pytest.mark.parametrize("provider", sorted(all_providers()))
def test_recipe_names_the_service_and_the_client(run: Run, provider: str) -> None:
    told = run("client", "add", "theirs", "--for", provider, *GIVEN[provider])
    assert told.exit_code == 0, told.output
    assert BASE.removeprefix("https://") in told.stdout
    assert "theirs" in told.stdout
    assert client(run, "theirs")["scopes"] == []


@pytest.mark.parametrize("provider", sorted(name for name, (_, provider) in all_providers().items() if provider.needs))
def test_missing_option_of_a_provider_is_reported(run: Run, provider: str) -> None:
    refused = run("client", "add", "theirs", "--for", provider)
    assert isinstance(refused.exception, ConfigurationError)
    assert (
        str(refused.exception) == f"--for {provider} needs --{all_providers()[provider][1].needs[0].replace('_', '-')}"
    )
    assert run("client", "list").stdout == ""


@pytest.mark.parametrize(
    "uri", ["javascript:alert(1)", "http://app.example.org/cb", "https://app.example.org/cb#x", "https://a b/", ""]
)
def test_odd_redirect_uris_are_refused(run: Run, uri: str) -> None:
    refused = run("client", "add", "theirs", "--for", "generic-oidc", "--redirect-uri", uri)
    assert isinstance(refused.exception, ConfigurationError)
    assert "redirect URI" in str(refused.exception)


def test_names_and_networks_are_stored(run: Run) -> None:
    more = ("--app", "The portal", "--pairwise", "example.org", "--from", "192.0.2.0/24")
    assert run("client", "add", "theirs", "--for", "generic-oidc", *GIVEN["generic-oidc"], *more).exit_code == 0
    kept = client(run, "theirs")
    assert kept["networks"] == ["192.0.2.0/24"]
    assert kept["faces"] == {
        "openid": {"redirect_uris": ["https://app.example.org/cb"], "pkce": True, "app": "The portal"},
    }
    assert kept["pairwise_sector"] == "example.org"
    assert run("client", "list").stdout.splitlines()[1].split() == ["theirs", "-", "openid", "no", "192.0.2.0/24", "-"]


def test_ciba_client_is_notified_at_the_address_of_the_operator(run: Run) -> None:
    add = ("client", "add", "theirs", "--for", "generic-ciba", "--app", "The bank")
    for wrong in ("http://bank.example.org/ping", "file:///etc/passwd", "https://u:p@bank.example.org/", ""):
        assert isinstance(run(*add, "--notify", wrong).exception, ConfigurationError), wrong
    told = run(*add, "--notify", "https://bank.example.org/ping", "--from", "192.0.2.1")
    assert "ping, to https://bank.example.org/ping" in told.stdout
    assert client(run, "theirs")["faces"] == {
        "ciba": {"app": "The bank", "notification_endpoint": "https://bank.example.org/ping"}
    }


def test_client_with_a_key_needs_a_file_of_public_keys(run: Run, tmp_path: Path) -> None:
    file, key = tmp_path / "jwks.json", ECKey.generate_key("P-256")
    add = ("client", "add", "theirs", "--for", "generic-oidc", *GIVEN["generic-oidc"], "--jwks", str(file))
    for wrong in (
        "",
        "[]",
        '{"keys":[]}',
        '{"keys":[{"kty":"x"}]}',
        json.dumps({"keys": [OctKey.generate_key(256).as_dict(private=True)]}),
        json.dumps({"keys": [key.as_dict(private=True)]}),
    ):
        file.write_text(wrong)
        assert isinstance(run(*add).exception, ConfigurationError), wrong
    file.write_text(json.dumps({"keys": [key.as_dict(private=False)]}))
    told = run(*add)
    assert told.exit_code == 0, told.output
    assert f"private_key_jwt, with the key of {file}" in told.stdout


def test_command_needs_either_a_provider_or_scopes(run: Run) -> None:
    assert run("client", "add", "theirs").exit_code == 2
    both = run("client", "add", "theirs", "--for", "generic-oidc", *GIVEN["generic-oidc"], "--scope", "challenges")
    assert both.exit_code == 2
    assert run("client", "add", "theirs", "--scope", "challenges", "--from", "everywhere").exit_code == 2


def test_operator_changes_and_removes_a_face(run: Run, tmp_path: Path) -> None:
    run("client", "add", "theirs", "--for", "generic-oidc", *GIVEN["generic-oidc"])
    file = tmp_path / "options"
    change = ("client", "set-face", "theirs", "openid", str(file))
    for wrong in (
        "",
        "{}",
        '{"redirect_uris":[]}',
        '{"redirect_uris":["javascript:x"]}',
        '{"redirect_uris":["https://a/"],"x":1}',
    ):
        file.write_text(wrong)
        assert isinstance(run(*change).exception, ConfigurationError), wrong
    file.write_text('{"redirect_uris":["https://app.example.org/new"]}')
    assert run(*change).exit_code == 0
    assert client(run, "theirs")["faces"] == {
        "openid": {"redirect_uris": ["https://app.example.org/new"], "pkce": True}
    }
    assert run("client", "set-face", "theirs", "openid", "--off").exit_code == 0
    assert client(run, "theirs")["faces"] == {}
    assert run("client", "set-face", "nobody", "openid", "--off").exit_code == 1
