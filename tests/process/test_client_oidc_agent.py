"""Tests that tokens come from the real oidc-agent, by an account and by an issuer."""

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote_plus

import pytest
from fakes.motley_cue import MotleyCue
from fakes.openid_provider import CLIENT_ID, CLIENT_SECRET, OpenIdProvider

from sshaft.host_api.service import Service
from sshaft_client import tokens
from sshaft_client.options import Options
from sshaft_client.tokens import TokenError

pytest.importorskip("liboidcagent")
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # those of liboidcagent
SECRET = quote_plus(CLIENT_SECRET)
"""oidc-agent does not encode what it sends."""


@pytest.fixture
def provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenIdProvider]:
    """A provider at which oidc-agent has the account `mine`."""
    if not shutil.which("oidc-agent"):
        pytest.skip("oidc-agent is not installed: apt-get install oidc-agent-cli")
    with OpenIdProvider(lambda: datetime.now(UTC), "http://localhost:4242", keeps_refresh_tokens=True) as provider:
        provider.bend_metadata = {
            "scopes_supported": ["openid", "offline_access"],
            "grant_types_supported": ["refresh_token"],
            "response_types_supported": ["code"],
        }
        monkeypatch.setenv("OIDC_CONFIG_DIR", str(tmp_path))
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        (tmp_path / "password").write_text("of the file\n")
        started = subprocess.run(["oidc-agent", "--no-autoload"], capture_output=True, text=True, check=True).stdout
        variables = dict(re.findall(r"(OIDC\w+)=([^;]+);", started))
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        try:
            _wait_for(variables["OIDC_SOCK"])
            _add_account(provider, tmp_path / "password")
            yield provider
        finally:
            subprocess.run(["oidc-agent", "--kill"], capture_output=True, check=True)


def _wait_for(path: str) -> None:
    """oidc-agent says its address before it listens there."""
    end = time.monotonic() + 10
    while True:
        with socket.socket(socket.AF_UNIX) as connection:
            if connection.connect_ex(path) == 0 or time.monotonic() > end:
                return
        time.sleep(0.02)


def _add_account(provider: OpenIdProvider, password: Path) -> None:
    words = [
        "oidc-gen", "mine", "--manual", "--issuer", provider.issuer, "--client-id", CLIENT_ID,
        "--client-secret", SECRET, "--scope", "openid offline_access", "--flow=refresh",
        f"--rt={provider.new_refresh_token(1)}",
        "--redirect-uri=http://localhost:4242", f"--pw-file={password}", "--prompt=none",
    ]  # fmt: skip
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("by", ["account", "issuer", "only provider"])
def test_token_comes_from_oidc_agent(provider: OpenIdProvider, by: str) -> None:
    wish = {"scopes": ["openid"], "audience": "web1"}
    source = {"account": Options(account="mine"), "issuer": Options(issuer=provider.issuer)}.get(by, Options())
    with MotleyCue(issuers={provider.issuer: wish}) as service:
        assert tokens.obtain(source, Service(service.url, None)) == "access"
    assert provider.forms[-1]["audience"] == "web1"


@pytest.mark.usefixtures("provider")
def test_service_of_another_provider_gets_no_token_of_an_account() -> None:
    with MotleyCue(issuers={"https://other.example": {}}) as service:
        with pytest.raises(TokenError, match="takes no tokens of"):
            tokens.obtain(Options(account="mine"), Service(service.url, None))
        assert {token for _, token in service.calls} == {""}


@pytest.mark.usefixtures("provider")
def test_account_that_oidc_agent_does_not_have_is_named() -> None:
    with MotleyCue() as service, pytest.raises(TokenError, match="oidc-agent, account other: "):
        tokens.obtain(Options(account="other"), Service(service.url, None))
