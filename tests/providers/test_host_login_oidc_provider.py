"""Tests host login at the real oidc-provider of npm, with the real sshd, ssh, PAM and agent."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from providers.oidc_provider import SECRET, OidcProvider
from providers.openid_client import installed
from web.looking import seconds_until

from sshaft_demo.host import MODULE, HostSshd, Terminal
from sshaft_demo.parts import Agent, free_port
from sshaft_demo.place import AGENT, Place

PROMPT = "approved the login: "


@dataclass
class Host:
    place: Place
    provider: OidcProvider
    agent: Agent
    sshd: HostSshd

    def configure(self, **changes: Any) -> None:
        """Starts the agent anew with these members of `host_login`."""
        write_config(self.place, self.provider, **changes)
        self.place.stop(self.agent.process)
        self.agent.process = self.agent.start()

    def ssh(self, approved_by: str) -> Terminal:
        """Runs ssh in a terminal. This person approves; then Enter is pressed."""
        terminal = Terminal(self.sshd.command(self.place.person, "echo in"))
        said = terminal.wait_for(PROMPT)
        address = re.search(rf"{self.provider.issuer}/device\?user_code=\S+", said)
        assert address, said + self.place.log("agent")
        self.provider.approve(address[0], approved_by)
        terminal.type("\n")
        return terminal

    def refuses(self, approved_by: str) -> bool:
        """Whether a login that this person approves is not accepted."""
        terminal = self.ssh(approved_by)
        said = terminal.wait_for("Enter to go on")
        terminal.type("\n\x03")
        return "This login was not accepted." in said and terminal.end()[1] != 0


def write_config(place: Place, provider: OidcProvider, **changes: Any) -> Path:
    """Writes the files that the agent alone can read."""
    secret, config = place.directory / "client-secret", place.directory / "config.json"
    host_login = {
        "issuer": provider.issuer, "client_id": "public", "allow": {"everyone": True}, "pending_per_user": 9,
        "pending_per_source": 9, "state_directory": str(place.directory / "state"),
    } | changes  # fmt: skip
    if host_login["client_id"] == "hosts":
        host_login["client_secret_file"] = str(secret)
    secret.write_text(SECRET)
    config.write_text(json.dumps({"host_login": host_login}))
    for path in (secret, config):
        place.give(path, AGENT, 0o600)
    return config


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    if not MODULE.exists():
        pytest.skip("native/pam_sshaft.so is not built: ./dev setup host")
    installed()
    with Place() as place:
        place.folder("state", AGENT, 0o700)
        provider = OidcProvider(place, free_port())
        agent = Agent(place, write_config(place, provider))
        yield Host(place, provider, agent, HostSshd(place, agent.runtime / "host" / "agent.sock", free_port()))


def explicit(issuer: str) -> dict[str, str]:
    """Returns the endpoints of oidc-provider, for a login without metadata."""
    paths = {
        "device_authorization": "device/auth",
        "token": "token",
        "userinfo": "me",
        "revocation": "token/revocation",
    }
    return {f"{name}_endpoint": f"{issuer}/{path}" for name, path in paths.items()} | {"jwks_uri": f"{issuer}/jwks"}


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"client_id": "hosts", "allow": {"groups": ["ssh-users"]}}, "/me"),
        ({"client_id": "public"}, "/me"),
        ({"client_id": "hosts", "identity_from": "introspection"}, "/token/introspection"),
        ({"client_id": "public", "identity_from": "userinfo", "allow": {"groups": ["ssh-users"]}}, "/me"),
        ({"endpoints": "explicit", "claim": "sub"}, "/jwks"),
    ],
    ids=["id_token and secret", "id_token of a public client", "introspection", "userinfo", "explicit endpoints"],
)
def test_person_who_approves_gets_a_shell(host: Host, changes: dict[str, Any], path: str) -> None:
    """The subject is the same in all of them, so the account stays bound to the person."""
    if "endpoints" in changes:
        changes = changes | {"endpoints": explicit(host.provider.issuer)}
    host.configure(**changes)
    before = len(host.provider.events())
    said, status = host.ssh(host.place.person).end()
    assert (said.split(), status) == (["in"], 0), said + host.place.log("agent")
    seconds_until(lambda: {"ended": "access_token"} in host.provider.events()[before:])
    asked = [each["path"] for each in host.provider.events()[before:] if "path" in each]
    assert path in asked
    assert ("/.well-known/openid-configuration" in asked) is ("endpoints" not in changes)


@pytest.mark.parametrize("identity_from", ["id_token", "introspection", "userinfo"])
def test_another_person_opens_nothing(host: Host, identity_from: str) -> None:
    host.configure(client_id="hosts", identity_from=identity_from)
    assert host.refuses("mallory")


def test_scope_that_is_not_granted_opens_nothing(host: Host) -> None:
    host.configure(allow={"everyone": True, "scopes": ["email"]})
    assert host.refuses(host.place.person)


def test_provider_demands_pkce(host: Host) -> None:
    """Shows that the logins above have sent it."""
    form = {"client_id": "public", "scope": "openid"}
    answer = requests.post(f"{host.provider.issuer}/device/auth", data=form, timeout=10)
    assert (answer.status_code, answer.json()) == (400, {"error": "invalid_request"})
