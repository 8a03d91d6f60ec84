"""Tests what `sshaft setup` says about the provider, the network and the host."""

from typing import Any

import pytest

from sshaft_setup.roles import Role
from sshaft_setup.todo import Units, left

NOTHING = Units((), ())
SERVICE = {"public_url": "https://id.example.org:8443/x", "listen": "127.0.0.1:8080", "ssh_host": "mfa.example.org"}
LOGIN = {"issuer": "https://sso.example.org", "client_id": "ssh-hosts", "create": "no"}


def lines(role: Role, answers: dict[str, str], units: Units = NOTHING, **found: dict[str, Any]) -> str:
    places = left(role, answers, found.get("config", {}), found.get("identity", {}), units)
    assert len({place.where for place in places}) == len(places)
    return "\n".join(line for place in places for line in (f"{place.where}:", *place.lines))


def test_identity_service_needs_a_name_and_a_proxy() -> None:
    said = lines(Role.IDENTITY, SERVICE)
    assert "id.example.org is the address of the proxy" in said
    assert "https://id.example.org:8443/x goes to http://127.0.0.1:8080" in said
    assert "port 8443 of the proxy" in said
    assert "at mfa.example.org, the host of the factor:" in said


def test_service_on_loopback_needs_neither() -> None:
    said = lines(Role.IDENTITY, SERVICE | {"public_url": "http://localhost:8080"})
    assert "proxy" not in said
    assert "DNS" not in said


def test_redirect_uri_is_exact_where_people_sign_in_at_a_provider() -> None:
    said = lines(Role.IDENTITY, SERVICE, identity={"oidc": {"issuer": "https://sso.example.org"}})
    assert (
        "at https://sso.example.org:\nredirect URI of the client: https://id.example.org:8443/x/sign-in/oidc/callback"
        in said
    )
    assert "redirect URI" not in lines(Role.IDENTITY, SERVICE, identity={"oidc": None})


@pytest.mark.parametrize(
    ("members", "secret"),
    [
        ({}, "none: a public client"),
        ({"client_secret_file": "/f"}, "client_secret_basic"),
        ({"client_secret": "x", "token_endpoint_auth_method": "client_secret_post"}, "client_secret_post"),
        ({"private_key_file": "/k"}, "private_key_jwt"),
    ],
)
def test_client_of_host_login_is_described_as_the_agent_will_use_it(members: dict[str, Any], secret: str) -> None:
    allow = {"groups": ["a"]}
    more = {"scopes": ["openid", "email"], "claim": "email", "groups_claim": ["realm", "roles"], "allow": allow}
    said = lines(Role.HOST_LOGIN, LOGIN, config={"host_login": members | more})
    assert f"secret        {secret}" in said
    assert "scopes        openid email" in said
    assert "email names the account" in said
    assert "realm.roles has the groups" in said
    assert "urn:ietf:params:oauth:grant-type:device_code" in said


@pytest.mark.parametrize(
    ("issuer", "page"),
    [
        ("https://login.microsoftonline.com/1234/v2.0", "docs/providers/entra.md"),
        ("https://sso.example.org/realms/staff", "docs/providers/keycloak.md"),
        ("https://example.okta.com", "docs/providers/okta.md"),
        ("https://accounts.google.com", "docs/providers/google.md"),
        ("https://idcs-1.identity.oraclecloud.com", "docs/providers/oracle-idcs.md"),
        ("https://sso.example.org/application/o/ssh/", "docs/providers/authentik.md"),
        ("https://login.example.org", "docs/host-login.md"),
    ],
)
def test_page_of_the_provider_is_named(issuer: str, page: str) -> None:
    said = lines(Role.HOST_LOGIN, LOGIN | {"issuer": issuer}, config={"host_login": {}})
    assert f"({page} has the steps)" in said


def test_first_logins_need_more_packages_and_the_account_line() -> None:
    said = lines(Role.HOST_LOGIN, LOGIN | {"create": "yes"}, config={"host_login": {}})
    assert "libpam-sshaft, libnss-sshaft and sshaft-accounts" in said
    assert "sshaft host enable --require-approval" in said
    assert "--require-approval" not in lines(Role.HOST_LOGIN, LOGIN, config={"host_login": {}})


def test_factor_of_another_service_names_its_client_and_its_port() -> None:
    config = {"token_endpoint": "https://id.example.org/t", "client_id": "f", "token_scope": "mfa:list"}
    said = lines(Role.FACTOR, {"sshd": "separate", "ssh_port": "2022"}, config=config)
    assert "people reach TCP port 2022" in said
    assert (
        "the client f is registered at id.example.org: client_credentials, client_secret_post, scope mfa:list" in said
    )
    assert "names this host and port 22\n" in lines(Role.FACTOR, {"sshd": "existing"}, config=config) + "\n"


def test_units_that_do_not_run_are_named_in_the_order_of_their_start() -> None:
    said = lines(Role.HOST_LOGIN, LOGIN, Units(["sshaft-agent"], ["sshaft-accounts.socket"]), config={"host_login": {}})
    assert "apt-get install sshaft-accounts\n" in said
    assert "systemctl enable --now sshaft-agent sshaft-accounts.socket\n" in said
