"""Attacks logins as a stranger can, who knows only the name of a person: with a real sshd, ssh and identity service."""

import json
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from e2e.choosing import choose
from e2e.conftest import Keys, Site
from fakes.security_key import SecurityKey
from fakes.ssh_agent import SshAgent

VERIFIED = "urn:sshaft:acr:verified-code"
Ask = Callable[..., "WebLogin"]


class WebLogin:
    """A browser with the page of one login at the OpenID Provider."""

    def __init__(self, site: Site, client: str, **parameters: str) -> None:
        self.session = requests.Session()
        self.session.trust_env = False
        query = {
            "response_type": "code", "client_id": client, "redirect_uri": "http://127.0.0.1:9/cb", "scope": "openid",
            "code_challenge": "c" * 43, "code_challenge_method": "S256",
        }  # fmt: skip
        self.page = self.session.get(f"{site.identity.url}/oauth2/authorize", params=query | parameters, timeout=10)
        assert self.page.status_code == 200, self.page.text

    @property
    def code(self) -> str:
        found = re.search(r"mfa@[^ ]+ ([0-9]+)<", self.page.text)
        assert found
        return found[1]

    @property
    def state(self) -> str:
        state: str = self.session.get(f"{self.page.url}/state", timeout=10).json()["state"]
        return state


@pytest.fixture
def ask(site: Site) -> Ask:
    """Returns the function that begins a login in a new browser. Anybody can send that request."""
    name = f"wiki-{secrets.token_hex(4)}"
    site.identity.run("client", "add", name, "--for", "generic-oidc", "--redirect-uri", "http://127.0.0.1:9/cb")
    return lambda **parameters: WebLogin(site, name, **parameters)


@pytest.fixture
def victim(site: Site, keys: Keys) -> tuple[str, Path]:
    """Returns the name and the key of a user of this test only."""
    name = f"victim-{secrets.token_hex(4)}"
    site.identity.add_user(name, keys(name).with_suffix(".pub"))
    return name, keys(name)


@pytest.fixture
def client(site: Site) -> Callable[..., Any]:
    """Returns the function that registers a client and returns a session with its credentials."""

    def add(kind: str) -> requests.Session:
        made = json.loads(site.identity.run("client", "add", f"{kind}-{secrets.token_hex(4)}", "--for", kind, "--json"))
        session = requests.Session()
        session.trust_env = False
        session.auth = (made["client_id"], made["client_secret"])
        return session

    return add


@pytest.fixture
def sam(site: Site, tmp_path: Path) -> Iterator[tuple[str, SshAgent]]:
    """Returns a user with a security key that is only touched, and the ssh-agent that holds the key."""
    name, key = f"sam-{secrets.token_hex(4)}", SecurityKey()
    site.identity.run("user", "add", name)
    site.identity.run("key", "add", name, "-", stdin=key.public)
    with SshAgent(tmp_path / "agent", key) as agent:
        yield name, agent


def test_right_code_passes_while_a_stranger_begins_logins(site: Site, ask: Ask, victim: tuple[str, Path]) -> None:
    """Finding S2: a stranger's requests superseded the login of the named person and made the right code wrong."""
    name, key = victim
    for _ in range(3):
        mine = ask(login_hint=name)
        strangers = [ask(login_hint=name) for _ in range(4)]
        done = site.sshd.ssh(key, mine.code)
        assert done.returncode == 0, done.stderr
        assert mine.state == "accepted"
        assert {each.state for each in strangers} == {"pending"}
    opened = site.identity.open_challenge(name)
    assert site.sshd.ssh(key, opened["code"]).returncode == 0, "other applications are not locked either"


def test_person_with_another_key_cannot_pass_a_hinted_login(site: Site, ask: Ask, victim: tuple[str, Path]) -> None:
    login = ask(login_hint="alice")
    done = site.sshd.ssh(victim[1], login.code)
    assert done.returncode != 0
    assert login.state == "pending"


def test_touched_key_passes_while_a_stranger_asks_for_more(site: Site, ask: Ask, sam: tuple[str, SshAgent]) -> None:
    """Finding S3: one request with `acr_values` put `verify-required` on the key line of an unrelated login."""
    name, agent = sam
    opened = site.identity.open_challenge(name, app="Mail")
    stranger = ask(login_hint=name, acr_values=VERIFIED)
    done = site.sshd.ssh(None, opened["code"], options=agent.options)
    assert done.returncode == 0, done.stderr
    mine = ask(login_hint=name)
    ask(login_hint=name, acr_values=VERIFIED)
    assert site.sshd.ssh(None, mine.code, options=agent.options).returncode == 0
    assert stranger.state == "pending"


def test_sign_in_of_a_stranger_blocks_no_login_without_a_code(site: Site, victim: tuple[str, Path]) -> None:
    """Finding S5: one open sign-in page blocked every login of `binding: none`, and hid what a login was for."""
    made = json.loads(
        site.identity.run(
            "client", "add", f"old-{secrets.token_hex(4)}", "--scope", "challenges", "--allow-unbound", "--json"
        )
    )
    form = {"grant_type": "client_credentials", "scope": "challenges"}
    token = requests.post(
        f"{site.identity.url}/oauth2/token", data=form, auth=(made["client_id"], made["client_secret"]), timeout=10
    ).json()["access_token"]
    name, key = victim
    stranger = requests.Session()
    origin = {"Origin": site.identity.url, "Content-Type": "application/x-www-form-urlencoded"}
    page = stranger.post(f"{site.identity.url}/sign-in/ssh", data="", headers=origin, timeout=10)
    assert page.status_code == 200
    body = {"user": name, "binding": "none", "app": "VPN"}
    headers = {"Authorization": f"Bearer {token}"}
    opened = requests.post(f"{site.identity.url}/api/v1/challenges", json=body, headers=headers, timeout=10)
    assert opened.status_code == 201
    done = site.sshd.ssh(key)
    assert (done.returncode, "Login to VPN" in done.stdout) == (0, True), done.stderr


def test_names_alone_lock_nobody_at_a_vpn(site: Site, client: Callable[..., Any], victim: tuple[str, Path]) -> None:
    """Finding S4: invented codes locked a person, and names that do not exist locked the whole client."""
    name, key = victim
    vpn, url = client("freeradius"), f"{site.identity.url}/validate/check"

    def answer(user: str, typed: str) -> str:
        result = vpn.post(url, data={"user": user, "pass": typed}, timeout=10).json()["result"]
        return str(result["authentication"])

    for number in range(30):
        answer(name, f"{number:06}")
        answer(f"nobody-{number % 5}", f"{number:06}")
    opened = site.identity.open_challenge(name)
    assert site.sshd.ssh(key, opened["code"]).returncode == 0, "another application"
    assert answer(name, "my password") == "CHALLENGE", "it is no code of a login that a stranger began"


def test_person_chooses_their_login_where_a_stranger_has_begun_another(
    site: Site, client: Callable[..., Any], victim: tuple[str, Path]
) -> None:
    """Finding S4: the newest login won, so ssh printed the code of the stranger's login."""
    name, key = victim
    vpn, portal = client("freeradius"), client("lemonldap")
    begun = portal.post(f"{site.identity.url}/code-back/init", json={"user": name, "ip": "127.0.0.1"}, timeout=10)
    assert begun.json() == {"result": True}
    vpn.post(f"{site.identity.url}/validate/check", data={"user": name, "pass": "x"}, timeout=10)
    out, asked = choose(site.sshd, key, 2)
    lines = asked.splitlines()
    assert re.search("1  to freeradius.*started [0-9]+ second", lines[1]), asked
    assert re.search("2  to lemonldap.*from a browser at 127.0.0.1, started [0-9]+ second", lines[2]), asked
    code = re.findall(r"\b[0-9]{6}\b", out)[-1]
    answer = portal.post(f"{site.identity.url}/code-back/verify", json={"user": name, "code": code}, timeout=10)
    assert answer.json() == {"result": True}
