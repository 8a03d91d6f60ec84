"""Tests the checks of people without a login: the real oidc-provider of npm, Glewlwyd, sshd, ssh, PAM and agent."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests
from providers import glewlwyd, test_host_login_glewlwyd
from providers.oidc_provider import OidcProvider
from providers.openid_client import installed
from providers.test_host_login_oidc_provider import Host, write_config
from web.looking import seconds_until

from sshaft_demo.host import MODULE, HostSshd
from sshaft_demo.parts import Agent, free_port
from sshaft_demo.place import AGENT, Place

HALF_A_DAY = 12 * 3600
AnyHost = Host | test_host_login_glewlwyd.Host


@pytest.fixture
def host() -> Iterator[Host]:
    if not MODULE.exists():
        pytest.skip("native/pam_sshaft.so is not built: ./dev setup host")
    installed()
    with Place() as place:
        for name in ("state", "key"):
            place.folder(name, AGENT, 0o700)
        provider = OidcProvider(place, free_port())
        agent = Agent(place, write_config(place, provider))
        yield Host(place, provider, agent, HostSshd(place, agent.runtime / "host" / "agent.sock", free_port()))


@pytest.fixture
def glewlwyd_host(tmp_path: Path) -> Iterator[test_host_login_glewlwyd.Host]:
    if not MODULE.exists():
        pytest.skip("native/pam_sshaft.so is not built: ./dev setup host")
    with glewlwyd.running(tmp_path) as server, Place() as place:
        issuer = server.set_up_provider(place.person, glewlwyd.CLIENT, glewlwyd.SECRET)
        for name in ("state", "key"):
            place.folder(name, AGENT, 0o700)
        agent = Agent(place, test_host_login_glewlwyd.write_config(place, issuer))
        sshd = HostSshd(place, agent.runtime / "host" / "agent.sock", free_port())
        yield test_host_login_glewlwyd.Host(place, server, issuer, agent, sshd)


def configure(host: Host, **changes: Any) -> None:
    key = str(host.place.directory / "key" / "tokens.key")
    host.configure(recheck={"every": "12h", "grace": "3d", "key_file": key, "revoke": True}, **changes)


def log_in(host: Host) -> None:
    said, status = host.ssh(host.place.person).end()
    assert (said.split(), status) == (["in"], 0), said + host.place.log("agent")


def database(host: AnyHost, statement: str) -> list[tuple[Any, ...]]:
    path = host.place.directory / "state" / "host-login.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return list(connection.execute(statement))


def let_it_be_due(host: AnyHost) -> None:
    """Stops the agent, and lets half a day pass for it."""
    host.place.stop(host.agent.process)
    database(host, f"UPDATE checks SET checked_at = checked_at - {HALF_A_DAY}")
    database(host, "UPDATE refresh_tokens SET tried_at = 0")


def check_again(host: AnyHost) -> None:
    """Lets the check be due, and waits for its result."""
    let_it_be_due(host)
    checks = database(host, "SELECT * FROM checks")
    host.agent.process = host.agent.start()
    seconds_until(lambda: database(host, "SELECT * FROM checks") != checks)


def checked_again(host: Host) -> list[dict[str, Any]]:
    """Lets the check be due, and returns what the provider has been asked."""
    before = len(host.provider.events())
    check_again(host)
    return host.provider.events()[before:]


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": "hosts", "allow": {"groups": ["ssh-users"]}},
        {"client_id": "public"},
        {"client_id": "hosts", "identity_from": "introspection"},
        {"client_id": "public", "identity_from": "userinfo"},
    ],
    ids=["id_token and secret", "id_token of a public client, which rotates", "introspection", "userinfo"],
)
def test_person_is_checked_until_the_provider_knows_the_person_no_more(host: Host, changes: dict[str, Any]) -> None:
    configure(host, **changes)
    log_in(host)
    (before,) = database(host, "SELECT sealed FROM refresh_tokens WHERE is_kept")
    for _ in range(2):
        asked = checked_again(host)
        assert {"method": "POST", "path": "/token", "status": 200} in asked, asked
    (after,) = database(host, "SELECT sealed FROM refresh_tokens WHERE is_kept")
    assert before != after, "it is encrypted anew also where the provider gives the same token"
    assert database(host, "SELECT state FROM life_cycle") == [("active",)]
    requests.post(f"{host.provider.issuer}/gone/{host.place.person}", timeout=10)
    asked = checked_again(host)
    assert {"method": "POST", "path": "/token", "status": 400, "error": "invalid_grant"} in asked, asked
    assert database(host, "SELECT state, suspended_by FROM life_cycle") == [("suspended", "recheck")]
    assert database(host, "SELECT * FROM refresh_tokens") == []


def test_second_login_ends_the_first_refresh_token_alone(host: Host) -> None:
    configure(host, client_id="public")
    log_in(host)
    log_in(host)
    host.place.stop(host.agent.process)
    host.agent.process = host.agent.start()
    seconds_until(lambda: {"ended": "refresh_token"} in host.provider.events())
    seconds_until(lambda: database(host, "SELECT is_kept, is_doubtful FROM refresh_tokens") == [(1, 0)])


def test_account_that_is_unbound_ends_its_refresh_token(host: Host) -> None:
    configure(host, client_id="hosts")
    log_in(host)
    database(host, "DELETE FROM bindings")
    host.place.stop(host.agent.process)
    host.agent.process = host.agent.start()
    seconds_until(lambda: database(host, "SELECT * FROM refresh_tokens") == [])
    assert {"ended": "refresh_token"} in host.provider.events()


def test_agent_has_the_key_for_itself(host: Host) -> None:
    configure(host, client_id="hosts")
    status = (host.place.directory / "key" / "tokens.key").stat()
    assert (oct(status.st_mode & 0o777), status.st_uid != 0) == ("0o600", True)
    assert "host_recheck" not in json.dumps(host.place.log("agent"))


@pytest.mark.parametrize("identity_from", ["id_token", "introspection", "userinfo"])
def test_person_is_checked_at_glewlwyd(glewlwyd_host: test_host_login_glewlwyd.Host, identity_from: str) -> None:
    """Glewlwyd gives refresh tokens to every device, and knows no scope offline_access.

    It answers 400 without an error code for a person who is not there any more, and says yes for one who is disabled.
    """
    host, server, person = glewlwyd_host, glewlwyd_host.server, glewlwyd_host.place.person
    key = str(host.place.directory / "key" / "tokens.key")
    recheck = {"every": "12h", "grace": "3d", "key_file": key, "offline_access": False, "revoke": True}
    host.configure(identity_from=identity_from, recheck=recheck)
    said, status = glewlwyd.approved_login(server, host.sshd)
    assert (said.split(), status) == (["in"], 0), said + host.place.log("agent")
    for _ in range(2):
        check_again(host)
    assert database(host, "SELECT refused FROM checks") == [("",)]
    glewlwyd.Session(server).call("DELETE", f"/user/{person}?source=database")
    let_it_be_due(host)
    host.agent.process = host.agent.start()
    seconds_until(lambda: "the token endpoint answered 400" in host.place.log("agent"))
    assert database(host, "SELECT state FROM life_cycle") == [("active",)]
