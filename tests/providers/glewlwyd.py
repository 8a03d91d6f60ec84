"""Starts the real Glewlwyd of Debian: with an OAuth2 scheme as second factor, or as an OpenID Provider."""

import re
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from joserfc.jwk import RSAKey

from sshaft_demo.host import HostSshd, Terminal
from sshaft_demo.parts import connects, free_port

SCHEMA = Path("/usr/share/dbconfig-common/data/glewlwyd/install/sqlite3")
WEB = Path("/usr/share/glewlwyd/webapp")
CLIENT, SECRET = "ssh-hosts", "s3cret-of-the-hosts"
USER, PASSWORD, SCHEME, SCOPE = "admin", "password", "sshaft", "app"
Browse = Callable[[str], str]
"""Follows the address at our provider, and returns the last address of the browser."""


@dataclass
class Glewlwyd:
    url: str
    log: Path

    @property
    def redirect_uri(self) -> str:
        return f"{self.url}/callback.html"

    def set_up(self, provider: str, client: str, secret: str) -> None:
        """Adds the scheme, and a scope of the person that requires the scheme."""
        admin = Session(self)
        listed = {
            "name": SCHEME, "provider_type": "oidc", "response_type": "code", "userid_property": "sub",
            "scope": "openid", "client_id": client, "client_secret": secret,
            "config_endpoint": f"{provider}/.well-known/openid-configuration",
        }  # fmt: skip
        parameters = {"redirect_uri": self.redirect_uri, "session_expiration": 600, "provider_list": [listed]}
        admin.call("POST", "/mod/scheme", {
            "module": "oauth2", "name": SCHEME, "display_name": SCHEME, "expiration": 600, "max_use": 0,
            "allow_user_register": True, "parameters": parameters,
        })  # fmt: skip
        admin.call("POST", "/scope", {
            "name": SCOPE, "display_name": SCOPE, "description": "needs the second factor", "password_required": True,
            "password_max_age": 0, "scheme": {"2": [{"scheme_name": SCHEME}]}, "scheme_required": {"2": 1},
        })  # fmt: skip
        scopes = ["g_admin", "g_profile", SCOPE]
        admin.call("PUT", f"/user/{USER}", {"username": USER, "name": "A", "scope": scopes, "enabled": True})

    def set_up_provider(self, user: str, client: str, secret: str, full_name: str = "", redirect_uri: str = "") -> str:
        """Makes it an OpenID Provider with the device grant for the user and the client. Returns the issuer.

        The access tokens have the full name. With `redirect_uri`, the client also has the code flow.
        """
        admin, issuer = Session(self), f"{self.url}/api/oidc"
        admin.call("POST", "/user/?source=database", {
            "username": user, "name": full_name or user, "password": PASSWORD, "enabled": True, "scope": ["openid"],
        })  # fmt: skip
        admin.call("POST", "/client/?source=database", {
            "client_id": client, "name": client, "client_secret": secret, "confidential": True, "enabled": True,
            "token_endpoint_auth_method": ["client_secret_basic"],
            "authorization_type": ["device_authorization", "refresh_token", *(["code"] if redirect_uri else [])],
            "redirect_uri": [redirect_uri or self.redirect_uri], "scope": [],
        })  # fmt: skip
        key = RSAKey.generate_key(2048)
        additional = [{"user-parameter": each, "token-parameter": each} for each in ("username", "name")]
        name = {"name": "username", "user-property": "username", "type": "string", "mandatory": True,
                "on-demand": False, "scope": []}  # fmt: skip
        admin.call("POST", "/mod/plugin/", {
            "module": "oidc", "name": "oidc", "display_name": "OIDC", "enabled": True,
            "parameters": {
                "iss": issuer, "jwt-type": "rsa", "jwt-key-size": "256", "key": key.as_pem(private=True).decode(),
                "cert": key.as_pem(private=False).decode(), "default-kid": "k1", "jwks-show": True,
                "access-token-duration": 3600, "refresh-token-duration": 3600, "code-duration": 600,
                "refresh-token-rolling": False, "allow-non-oidc": True, "auth-type-code-enabled": True,
                "auth-type-id-token-enabled": True, "auth-type-device-enabled": True, "auth-type-refresh-enabled": True,
                "device-authorization-expiration": 600, "device-authorization-interval": 1,
                "scope": [{"name": "openid", "refresh-token-rolling": False}], "allowed-scope": ["openid"],
                "claims": [name], "name-claim": "no", "email-claim": "no", "scope-claim": "no",
                "additional-parameters": additional,
                "subject-type": "public", "pkce-allowed": True, "pkce-method-plain-allowed": False,
                "introspection-revocation-allowed": True, "introspection-revocation-auth-scope": [],
                "introspection-revocation-allow-target-client": True,
            },
        })  # fmt: skip
        return issuer

    def approve(self, user: str, client: str, user_code: str) -> None:
        """Signs the person in, and approves the code of a device."""
        person = Session(self, user)
        person.call("PUT", f"/auth/grant/{client}", {"scope": "openid"})
        query = {"code": user_code, "g_continue": ""}
        answer = person.http.get(f"{self.url}/api/oidc/device", params=query, timeout=30, allow_redirects=False)
        assert "deviceComplete" in answer.headers.get("Location", ""), (answer.status_code, answer.headers)

    def tokens(self, user: str, client: str, secret: str) -> dict[str, Any]:
        """Returns the tokens of the person. The access token is a JWT."""
        issuer, own = f"{self.url}/api/oidc", {"auth": (client, secret), "timeout": 30}
        form = {"client_id": client, "scope": "openid"}
        code = requests.post(f"{issuer}/device_authorization", form, **own).json()
        self.approve(user, client, code["user_code"])
        grant = "urn:ietf:params:oauth:grant-type:device_code"
        form = {"grant_type": grant, "device_code": code["device_code"], "client_id": client}
        tokens: dict[str, Any] = requests.post(f"{issuer}/token", form, **own).json()
        return tokens


def approved_login(server: Glewlwyd, sshd: HostSshd) -> tuple[str, int]:
    """Runs `echo in` by ssh, approves the code that it shows, and presses Enter. Returns the output and the status."""
    terminal = Terminal(sshd.command(sshd.place.person, "echo in"))
    said = terminal.wait_for("approved the login: ")
    code = re.search(r"^    ([A-Z0-9-]+)\r?$", said, re.MULTILINE)
    assert code, said + sshd.place.log("agent")
    server.approve(sshd.place.person, CLIENT, code[1])
    terminal.type("\n")
    return terminal.end()


@dataclass
class Session:
    """A browser that is logged in by password."""

    server: Glewlwyd
    user: str = USER
    http: requests.Session = field(default_factory=requests.Session)

    def __post_init__(self) -> None:
        self.http.trust_env = False
        self.call("POST", "/auth/", {"username": self.user, "password": PASSWORD})

    def call(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        answer = self.http.request(method, f"{self.server.url}/api{path}", json=body, timeout=30)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text[:300]}"
        return answer.json() if answer.text.strip() else None

    def register(self, browse: Browse) -> None:
        """Registers the `sub` of the provider for the person."""
        path, callback = "/profile/scheme/register/", self.server.redirect_uri
        end = browse(self.call("POST", path, _step(action="new", complete_url=callback))["redirect_to"])
        self.call("POST", path, _step(action="callback", state=_state(end), redirect_to=end))

    def second_factor(self, browse: Browse, status: int = 200) -> bool:
        """Whether the second factor of the scope has passed. `status` is Glewlwyd's status for our answer."""
        begun = self.call("POST", "/auth/scheme/trigger/", _step(callback_url=self.server.redirect_uri))
        end = browse(begun["redirect_to"])
        self.call("POST", "/auth/", _step(state=_state(end), redirect_to=end), status)
        return self.is_passed

    @property
    def is_passed(self) -> bool:
        schemes = self.call("GET", f"/auth/scheme/?scope={SCOPE}")[SCOPE]["schemes"]["2"]
        return all(each["scheme_authenticated"] for each in schemes)


def _step(**value: str) -> dict[str, Any]:
    value = {"provider": SCHEME, **value}
    return {"username": USER, "scheme_type": "oauth2", "scheme_name": SCHEME, "value": value}


def _state(url: str) -> str:
    return parse_qs(urlsplit(url).query)["state"][0]


def _mime_types() -> list[str]:
    """Returns the entries of static_files_mime_types for the files of the pages."""
    types = {"html": "text/html", "css": "text/css", "js": "application/javascript", "json": "application/json",
             "png": "image/png", "ico": "image/x-icon", "ttf": "font/ttf", "woff2": "font/woff2"}  # fmt: skip
    return [f'{{ extension=".{each}"; mime_type="{kind}"; }}' for each, kind in types.items()]


@contextmanager
def running(directory: Path) -> Iterator[Glewlwyd]:
    program = shutil.which("glewlwyd")
    if program is None or not SCHEMA.exists():
        pytest.skip("needs Glewlwyd: apt-get install glewlwyd")
    with closing(sqlite3.connect(directory / "glewlwyd.db")) as database:
        database.executescript(SCHEMA.read_text())
    shutil.copytree(WEB, directory / "webapp")
    # Debian's package has a folder in place of this file
    shutil.rmtree(directory / "webapp" / "config.json")
    shutil.copy("/usr/share/glewlwyd/templates/config.json", directory / "webapp")
    port = free_port()
    server = Glewlwyd(f"http://localhost:{port}", directory / "log")
    (directory / "glewlwyd.conf").write_text(
        f'port={port}\nbind_address="127.0.0.1"\nexternal_url="{server.url}"\nlogin_url="login.html"\n'
        f'api_prefix="api"\nstatic_files_path="{directory}/webapp/"\nlog_mode="console"\nlog_level="INFO"\n'
        'cookie_secure=0\ncookie_same_site="empty"\nsession_key="GLEWLWYD2_SESSION_ID"\nlogin_api_enabled=true\n'
        'admin_scope="g_admin"\nprofile_scope="g_profile"\nuser_module_path="/usr/lib/glewlwyd/user"\n'
        'client_module_path="/usr/lib/glewlwyd/client"\nuser_auth_scheme_module_path="/usr/lib/glewlwyd/scheme"\n'
        'plugin_module_path="/usr/lib/glewlwyd/plugin"\nhash_algorithm="SHA512"\nuse_secure_connection=false\n'
        'secure_connection_key_file=""\nsecure_connection_pem_file=""\n'
        f"static_files_mime_types=({', '.join(_mime_types())});\n"
        f'database={{ type="sqlite3"; path="{directory}/glewlwyd.db"; }};\n'
    )
    command = [program, f"--config-file={directory}/glewlwyd.conf"]
    with server.log.open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            deadline = time.monotonic() + 60
            while not connects(port):
                assert process.poll() is None, server.log.read_text()
                assert time.monotonic() < deadline, server.log.read_text()
                time.sleep(0.05)
            yield server
        finally:
            process.terminate()
