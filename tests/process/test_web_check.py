"""Tests `sshaft web check` at small servers: what it finds, what it says to do, and what it leaves alone."""

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from fakes.motley_cue import MotleyCue
from fakes.openid_provider import CLIENT_ID, CLIENT_SECRET, OpenIdProvider
from fakes.ssh_server import SshServer, line

from sshaft_demo.parts import free_port

PUBLIC_URL = "https://ssh.example.org"
CALLBACK = f"{PUBLIC_URL}/sign-in/callback"
AUDIENCE = "https://hosts.example.org"
KEY = asyncssh.generate_private_key("ssh-ed25519")
OTHER_KEY = asyncssh.generate_private_key("ssh-ed25519")
GOOD = {"code_challenge_methods_supported": ["S256"], "scopes_supported": ["openid", "offline_access"]}


@pytest.fixture
def provider() -> Iterator[OpenIdProvider]:
    with OpenIdProvider(lambda: datetime.now(UTC), CALLBACK) as made:
        made.bend_metadata = {**GOOD, "revocation_endpoint": f"{made.issuer}/revoke"}
        made.bend_answer = {"error": "login_required", "code": None}
        yield made


@pytest.fixture
def api(provider: OpenIdProvider) -> Iterator[MotleyCue]:
    with MotleyCue(issuers={provider.issuer: {"scopes": ["openid"], "audience": AUDIENCE}}) as made:
        yield made


@pytest.fixture
def host() -> Iterator[SshServer]:
    with SshServer(KEY) as made:
        yield made


class Check:
    """web.json for one host, and what `sshaft web check` says of it. `target` and `provider` are changed by a test."""

    def __init__(self, directory: Path, provider: OpenIdProvider, api: MotleyCue, host: SshServer) -> None:
        self.path = directory / "web.json"
        secret = directory / "secret"
        secret.write_text(CLIENT_SECRET)
        secret.chmod(0o600)
        self.provider: dict[str, Any] = {
            "issuer": provider.issuer, "client_id": CLIENT_ID, "client_secret_file": str(secret), "audience": AUDIENCE,
        }  # fmt: skip
        self.target: dict[str, Any] = {
            "host": "127.0.0.1", "port": host.port, "known_hosts": [line(host.port, KEY)], "api": api.url,
        }  # fmt: skip

    def run(self, *options: str) -> "subprocess.CompletedProcess[str]":
        settings = {"public_url": PUBLIC_URL, "provider": self.provider, "targets": {"login": self.target}}
        self.path.write_text(json.dumps(settings))
        command = [sys.executable, "-m", "sshaft", "web", "check", "--config", self.path, *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def findings(self) -> dict[str, tuple[str, str, str]]:
        """Returns the level, the sentence and the remedy by the name of the check."""
        done = self.run("--json")
        assert done.stderr == ""
        found = json.loads(done.stdout)["findings"]
        assert done.returncode == (78 if any(each["level"] == "error" for each in found) else 0)
        return {each["check"]: (each["level"], each["what"], each["remedy"]) for each in found}


@pytest.fixture
def check(tmp_path: Path, provider: OpenIdProvider, api: MotleyCue, host: SshServer) -> Check:
    return Check(tmp_path, provider, api, host)


def test_table_shows_that_all_is_well_and_names_the_addresses_to_register(
    check: Check, provider: OpenIdProvider, api: MotleyCue, host: SshServer
) -> None:
    done = check.run()
    fingerprint = KEY.convert_to_public().get_fingerprint()
    assert (done.returncode, done.stderr) == (0, "")
    lines = [" ".join(each.split()) for each in done.stdout.splitlines()]
    assert lines[0] == "provider"
    assert f"ok metadata {provider.issuer} answers" in lines
    assert "ok client the provider takes the client sshaft and its proof" in lines
    assert "ok sign-in the provider knows the redirect address" in lines
    assert any(CALLBACK in each and f"{PUBLIC_URL}/back-channel-logout" in each for each in lines)
    at = lines.index("login")
    assert lines[at + 1].startswith(f"ok host 127.0.0.1 port {host.port} answers in ")
    assert lines[at + 1].endswith(f"with a known key, ssh-ed25519 {fingerprint}")
    assert lines[at + 2] == f"ok API {api.url} takes tokens of {provider.issuer}"
    assert lines[-1] == "0 errors, 0 warnings, 1 note, 8 ok"


def test_host_counts_no_login_and_the_provider_signs_nobody_in(
    check: Check, provider: OpenIdProvider, api: MotleyCue, host: SshServer
) -> None:
    check.findings()
    assert host.logins == []
    assert api.paths() == ["/info", "/info/op"]
    assert {token for _, token in api.calls} == {""}
    (form,) = provider.forms
    assert form["grant_type"] == "authorization_code"


def test_provider_that_does_not_answer_is_an_error_with_its_remedy(check: Check) -> None:
    check.provider["issuer"] = f"http://127.0.0.1:{free_port()}"
    level, what, remedy = check.findings()["metadata"]
    assert level == "error"
    assert "/.well-known/openid-configuration" in what
    assert "provider.issuer" in remedy


def test_issuer_that_is_not_that_of_the_metadata_is_an_error(check: Check, provider: OpenIdProvider) -> None:
    provider.bend_metadata["issuer"] = f"{provider.issuer}/"
    assert check.findings()["metadata"][:2] == ("error", "the provider's metadata names another issuer")


def test_provider_without_the_parts_that_sshaft_web_wants_is_described(check: Check, provider: OpenIdProvider) -> None:
    provider.bend_metadata = {}
    found = check.findings()
    assert {name: found[name][0] for name in ("PKCE", "renewal", "revocation")} == {
        "PKCE": "warning", "renewal": "note", "revocation": "note",
    }  # fmt: skip
    provider.bend_metadata = {"authorization_endpoint": None}
    found = check.findings()
    assert found["code flow"][0] == "error"
    assert "sign-in" not in found


def test_wrong_secret_is_an_error(check: Check, provider: OpenIdProvider) -> None:
    Path(check.provider["client_secret_file"]).write_text("wrong")
    level, what, remedy = check.findings()["client"]
    assert (level, what) == ("error", "the provider refuses the client sshaft: invalid_client")
    assert "client_id" in remedy
    assert provider.forms


@pytest.mark.parametrize(
    ("answer", "level", "text"),
    [
        (b'{"error": "unauthorized_client"}', "error", "the provider refuses the client sshaft: unauthorized_client"),
        (b'{"error": "invalid_request"}', "note", "not tested: the provider answers invalid_request"),
        (b"<html>", "warning", "not tested: the token endpoint answered 400"),
    ],
)
def test_other_answers_of_the_token_endpoint_prove_nothing(
    check: Check, provider: OpenIdProvider, answer: bytes, level: str, text: str
) -> None:
    provider.raw["/token"] = answer
    found = check.findings()["client"]
    assert found[0] == level
    assert found[1].startswith(text)


def test_request_that_the_provider_refuses_is_an_error(check: Check, provider: OpenIdProvider) -> None:
    provider.bend_answer = {"error": "invalid_scope", "code": None}
    level, what, remedy = check.findings()["sign-in"]
    assert (level, what) == ("error", "the provider refuses the request: invalid_scope")
    assert "openid profile" in remedy


@pytest.mark.parametrize(("path", "level"), [("/nothing-there", "error"), ("/jwks", "note")])
def test_page_in_place_of_a_redirect_is_an_error_if_it_is_one(
    check: Check, provider: OpenIdProvider, path: str, level: str
) -> None:
    provider.bend_metadata["authorization_endpoint"] = f"{provider.issuer}{path}"
    found = check.findings()["sign-in"]
    assert found[0] == level
    assert (CALLBACK in found[2]) is (level == "error")


def test_changed_host_key_is_an_error_that_shows_it(check: Check, host: SshServer) -> None:
    check.target["known_hosts"] = [line(host.port, OTHER_KEY)]
    level, what, remedy = check.findings()["host key"]
    shown = KEY.convert_to_public().get_fingerprint()
    assert level == "error"
    assert what == f"127.0.0.1 port {host.port} shows ssh-ed25519 {shown}, which known_hosts does not have"
    assert "attack" in remedy
    assert host.logins == []


def test_revoked_host_key_is_an_error(check: Check, host: SshServer) -> None:
    check.target["known_hosts"] = [line(host.port, KEY), line(host.port, KEY, "@revoked ")]
    assert check.findings()["host key"][:2] == (
        "error",
        f"127.0.0.1 port {host.port}: Host key is revoked for host 127.0.0.1",
    )


@pytest.mark.parametrize(
    ("principal", "days", "text"),
    [("127.0.0.1", 1, None), ("other.example.org", 1, "principal"), ("127.0.0.1", -1, "expired")],
)
def test_host_certificate_must_name_the_host_and_be_valid(
    check: Check, principal: str, days: int, text: str | None
) -> None:
    end = datetime.now(UTC) + timedelta(days=days)
    begin = end - timedelta(days=30)
    authority = asyncssh.generate_private_key("ssh-ed25519")
    certificate = authority.generate_host_certificate(
        KEY, "host", principals=[principal], valid_after=begin.timestamp(), valid_before=end.timestamp()
    )
    with SshServer((KEY, certificate)) as host:
        check.target |= {"port": host.port, "known_hosts": [line(host.port, authority, "@cert-authority ")]}
        found = check.findings()
    if text is None:
        assert found["host"][0] == "ok"
    else:
        assert found["host key"][0] == "error"
        assert text in found["host key"][1].lower()


def test_host_that_is_away_is_an_error(check: Check) -> None:
    port = free_port()
    check.target |= {"port": port, "known_hosts": [line(port, KEY)]}
    assert check.findings()["host"][:2] == ("error", f"127.0.0.1 port {port}: Connection refused")


def test_server_that_does_not_speak_ssh_is_an_error(check: Check, api: MotleyCue) -> None:
    check.target |= {"port": api.port, "known_hosts": [line(api.port, KEY)]}
    assert check.findings()["host"][0] == "error"


def test_api_that_takes_other_tokens_is_an_error(check: Check, api: MotleyCue) -> None:
    api.issuers = {"https://other.example.org": {}}
    level, what, remedy = check.findings()["API"]
    assert level == "error"
    assert "https://other.example.org" in what
    assert "host_login.tokens" in remedy


def test_audience_that_the_host_does_not_want_is_an_error(check: Check, api: MotleyCue) -> None:
    check.provider["audience"] = "https://elsewhere.example.org"
    level, what, remedy = check.findings()["API"]
    assert level == "error"
    assert AUDIENCE in what
    assert AUDIENCE in remedy
    assert api.paths() == ["/info", "/info/op"]


def test_scope_that_the_host_wants_and_nobody_asks_for_is_a_warning(
    check: Check, api: MotleyCue, provider: OpenIdProvider
) -> None:
    api.issuers[provider.issuer]["scopes"] = ["openid", "entitlements"]
    assert check.findings()["API"] == (
        "warning", f"{api.url} wants the scopes entitlements", "add these to provider.scopes",
    )  # fmt: skip


def test_api_that_is_away_is_an_error(check: Check) -> None:
    check.target["api"] = f"http://127.0.0.1:{free_port()}"
    assert check.findings()["API"][0] == "error"


def test_hostile_answers_reach_the_terminal_escaped(check: Check, api: MotleyCue) -> None:
    api.issuers = {"https://\x1b[2J\u202eevil.example": {}}
    done = check.run()
    assert done.returncode == 78
    assert "\x1b" not in done.stdout
    assert "\\x1b[2J\\u202eevil.example" in done.stdout


def test_host_without_an_api_is_a_note(check: Check) -> None:
    del check.target["api"]
    assert check.findings()["API"][0] == "note"


def test_check_of_the_files_asks_nobody(check: Check, provider: OpenIdProvider, api: MotleyCue) -> None:
    check.target |= {"port": 1, "known_hosts": [line(1, KEY)]}
    done = check.run("--files")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{check.path} is right.\n", "")
    assert (provider.calls, api.calls) == ([], [])


def test_file_that_is_missing_is_named_before_anybody_is_asked(check: Check, provider: OpenIdProvider) -> None:
    Path(check.provider["client_secret_file"]).unlink()
    for options in ((), ("--files",)):
        done = check.run(*options)
        assert done.returncode == 78
        assert "client_secret_file" in done.stderr
        assert done.stderr.count("\n") == 1
    assert provider.calls == []
