"""Tests the calls of the privacyIDEA provider for Keycloak: their order, headers and the members that it reads.

No test uses the real Keycloak: the calls come from the published source code of the provider and its client.
"""

import base64
import json
import re
import secrets
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests
from e2e.conftest import Keys, Site

USER = f"kca{secrets.token_hex(2)}"  # another one where the tests are run again


@dataclass
class Plugin:
    """The plugin with the settings of the recipe."""

    settings: dict[str, str]
    user: str = USER
    http: requests.Session = field(default_factory=requests.Session)

    def __post_init__(self) -> None:
        self.http.trust_env = False
        self.http.headers["User-Agent"] = "privacyIDEA-Keycloak/1.8.0 Keycloak/26.0.0"

    def token(self) -> str:
        account = {"username": self.settings["Service Account"], "password": self.settings["Service Account Password"]}
        answer = self._send("POST", "/auth", account)
        token = answer["result"]["value"]["token"]
        middle = token.split(".")[1]
        claims = json.loads(base64.b64decode(middle + "=" * (-len(middle) % 4), validate=True))
        assert claims["exp"] - int(answer["time"]) > 60, "it asks for a new one a minute before the end"
        return str(token)

    def trigger(self) -> dict[str, Any]:
        answer = self._send("POST", "/validate/triggerchallenge", self._named(), self._headers(self.token()))
        assert answer["result"]["authentication"] == "CHALLENGE"
        detail: dict[str, Any] = answer["detail"]
        assert detail["preferred_client_mode"] == "poll", "or it would show a field for a code first"
        (challenge,) = detail["multi_challenge"]
        assert (challenge["type"], challenge["client_mode"], challenge["image"]) == ("push", "poll", "")
        return challenge

    def poll(self, challenge: dict[str, Any]) -> str:
        query = {"transaction_id": challenge["transaction_id"]}
        status = self._send("GET", "/validate/polltransaction", query)["detail"]["challenge_status"]
        assert status in ("accept", "declined", "pending"), "it knows no other"
        return str(status)

    def finish(self, challenge: dict[str, Any]) -> bool:
        form = self._named() | {"pass": "", "transaction_id": challenge["transaction_id"]}
        result = self._send("POST", "/validate/check", form, self._headers())["result"]
        assert result.get("value", False) is (result.get("authentication") == "ACCEPT")
        return result.get("value") is True

    def _named(self) -> dict[str, str]:
        return {"client": "127.0.0.1", "user": self.user}

    def _headers(self, token: str | None = None) -> dict[str, str]:
        name, value = self.settings["Custom Headers"].split("=")
        return {"Accept-Language": "en", name: value} | ({} if token is None else {"Authorization": token})

    def _send(self, method: str, path: str, fields: dict[str, str], headers: dict[str, str] | None = None) -> Any:
        sent = {"data": fields} if method == "POST" else {"params": fields}
        return self.http.request(
            method, self.settings["PrivacyIDEA URL"] + path, headers=headers, timeout=30, **sent
        ).json()


@pytest.fixture(scope="module")
def plugin(site: Site, keys: Keys) -> Plugin:
    site.identity.add_user(USER, keys(USER).with_suffix(".pub"))
    printed = site.identity.run("client", "add", f"kc-{USER}", "--for", "keycloak", "--app", "the company's login")
    return Plugin(dict(re.findall(r"^  (\S.*?\S) {2,}(\S.*)$", printed, re.MULTILINE)))


def words_of(challenge: dict[str, Any]) -> str:
    """Returns the code of the ssh command that the plugin shows."""
    found = re.fullmatch(r"Run: ssh .* (\d{6})", challenge["message"])
    assert found, challenge
    return found[1]


def test_login_continues_once_after_the_ssh_login(site: Site, keys: Keys, plugin: Plugin) -> None:
    challenge = plugin.trigger()
    assert plugin.poll(challenge) == "pending"
    assert not plugin.finish(challenge), "nobody has passed it"
    done = site.sshd.ssh(keys(USER), words_of(challenge))
    assert done.returncode == 0, (done.stderr, site.identity.place.log("identity")[-2000:])
    assert "the company's login" in done.stdout
    assert plugin.poll(challenge) == "accept"
    assert plugin.finish(challenge)
    assert not plugin.finish(challenge)


def test_somebody_elses_ssh_passes_nothing(site: Site, keys: Keys, plugin: Plugin) -> None:
    challenge = plugin.trigger()
    assert site.sshd.ssh(keys("bob"), words_of(challenge)).returncode != 0
    assert plugin.poll(challenge) == "pending"
    assert not plugin.finish(challenge)


def test_a_denied_login_is_declined(site: Site, keys: Keys, plugin: Plugin) -> None:
    challenge = plugin.trigger()
    site.sshd.ssh(keys(USER), "deny")
    assert plugin.poll(challenge) == "declined"
    assert not plugin.finish(challenge)


def test_a_person_without_a_key_waits_like_others(plugin: Plugin) -> None:
    nobody = Plugin(plugin.settings, "nobody-here")
    challenge = nobody.trigger()
    assert nobody.poll(challenge) == "pending"
    assert not nobody.finish(challenge)


def test_plugin_of_another_client_cannot_take_the_result(site: Site, keys: Keys, plugin: Plugin) -> None:
    printed = site.identity.run("client", "add", f"other-{USER}", "--for", "keycloak")
    other = Plugin(dict(re.findall(r"^  (\S.*?\S) {2,}(\S.*)$", printed, re.MULTILINE)))
    challenge = plugin.trigger()
    assert site.sshd.ssh(keys(USER), words_of(challenge)).returncode == 0
    assert not other.finish(challenge)
    assert plugin.finish(challenge)
