"""Tests the calls of CAS, IBM Verify and Keycloak's CIBA, with the recipes, a real sshd and a real ssh.

No test uses the real providers: the calls come from their source code or documentation.
"""

import base64
import json
import re
import secrets
import time
from pathlib import Path
from typing import Any

import requests
from e2e.conftest import Keys, Site
from fakes.notified import Endpoint
from web.looking import seconds_until


def code_of(site: Site, key: Path, app: str) -> str:
    """Returns the code that ssh prints."""
    done = site.sshd.ssh(key)
    assert done.returncode == 0, done.stderr
    assert app in done.stdout
    (code,) = re.findall(r"\b\d{6,8}\b", done.stdout)
    return str(code)


def call(method: str, url: str, body: Any = None, **more: Any) -> requests.Response:
    return requests.request(method, url, json=body, timeout=30, **more)


def test_login_with_the_calls_of_cas_passes(site: Site, keys: Keys) -> None:
    printed = site.identity.run("client", "add", f"cas-{secrets.token_hex(4)}", "--for", "cas", "--app", "Our CAS")
    settings = dict(re.findall(r"^  cas\.authn\.mfa\.simple\.token\.rest\.(\S+)= +(\S+)$", printed, re.MULTILINE))
    auth = settings["basic-auth-username"], settings["basic-auth-password"]
    principal = {"@class": "org.apereo.cas.authentication.principal.SimplePrincipal", "id": "alice"}
    token = call("POST", f"{settings['url']}/new?service=https%3A%2F%2Fapp.example.org", principal, auth=auth)
    assert token.status_code == 200
    assert call("POST", settings["url"], {"id": token.text}, auth=auth).status_code == 200
    code = code_of(site, keys("alice"), "Our CAS")
    wrong = f"{(int(code) + 1) % 10**8:08}"
    assert call("GET", f"{settings['url']}/{wrong}", auth=auth).status_code == 403
    assert call("GET", f"{settings['url']}/{code}", auth=auth).json()["id"] == "alice"
    assert call("POST", f"{settings['url']}/{code}", principal, auth=auth).json()["id"] == "alice"
    assert call("POST", f"{settings['url']}/{code}", principal, auth=auth).status_code == 403


def test_login_with_the_calls_of_ibm_verify_passes(site: Site, keys: Keys) -> None:
    printed = site.identity.run(
        "client", "add", f"ibm-{secrets.token_hex(4)}", "--for", "ibm-verify", "--app", "Verify"
    )
    settings = dict(re.findall(r"^    (\S+(?: \S+)*) {2,}(\S+)$", printed, re.MULTILINE))
    url, auth = settings["URL"], (settings["User name"], settings["Password"])
    (factor,) = call("POST", f"{url}/enrollments", {"username": "alice"}, auth=auth).json()
    assert factor["attributes"]["authExecutionFlow"] == "init_then_validate"
    asked = {"capability": factor["capability"], "id": factor["id"], "attributes": {"username": "alice"}}
    begun = call("POST", f"{url}/initiate", asked, auth=auth).json()
    assert begun["status"] == "PENDING"
    code = code_of(site, keys("alice"), "Verify")
    for typed, status in ((f"{(int(code) + 1) % 10**6:06}", "FAILED"), (code, "SUCCESS"), (code, "FAILED")):
        brought = asked | {"transactionId": begun["transactionId"]}
        brought["attributes"] = {"username": "alice", "passvalue": typed}
        assert call("POST", f"{url}/validate", brought, auth=auth).json()["status"] == status


def test_login_with_the_calls_of_keycloaks_ciba_passes(site: Site, keys: Keys) -> None:
    claims = json.dumps({"exp": int(time.time()) + 120, "jti": secrets.token_hex(8)})
    bearer = f"e30.{base64.urlsafe_b64encode(claims.encode()).decode().rstrip('=')}.signature"
    asked = {"binding_message": "48291375", "login_hint": "alice", "is_consent_required": False, "scope": "openid"}
    with Endpoint(status=200) as realm:
        name = f"kc-{secrets.token_hex(4)}"
        printed = site.identity.run(
            "client", "add", name, "--for", "keycloak-ciba", "--notify", realm.url, "--app", "The bank"
        )
        channel = re.search(r"^  spi-ciba-auth-channel--\S+?uri=(\S+)$", printed, re.MULTILINE)
        assert channel
        headers = {"Authorization": f"Bearer {bearer}"}
        assert call("POST", channel[1], asked, headers=headers).status_code == 201
        assert "That is not the code" in site.sshd.ssh(keys("alice"), "48291376").stderr
        assert realm.heard == []
        done = site.sshd.ssh(keys("alice"), "48291375")
        assert done.returncode == 0, done.stderr
        assert "The bank" in done.stderr + done.stdout
        seconds_until(lambda: bool(realm.heard))
        assert realm.heard == [("/ping", f"Bearer {bearer}", {"status": "SUCCEED"})]
